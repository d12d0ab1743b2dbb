//! The instruction sets: a thin file for each, and the place where one is chosen.
//!
//! All `unsafe` of the kernels is here.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod half;
#[cfg(target_arch = "aarch64")]
mod neon;
mod registers;
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(target_arch = "x86_64")]
mod sse41;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_bytes;

use super::isa::Isa;
use super::simd::Algorithm;

/// True where this processor has every feature that the kernels of `isa` use.
pub(super) fn is_available(isa: Isa) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::Avx512::new().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::Avx2::new().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Sse41 => sse41::Sse41::new().is_some(),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::Neon::new().is_some(),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => true,
        Isa::Scalar => true,
        _ => false,
    }
}

/// Runs an algorithm on `isa`, or without vectors where this processor lacks it.
#[inline]
pub(super) fn run<A: Algorithm>(isa: Isa, algorithm: A) -> A::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            if let Some(avx512) = avx512::Avx512::new() {
                return avx512.run(algorithm);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            if let Some(avx2) = avx2::Avx2::new() {
                return avx2.run(algorithm);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Sse41 => {
            if let Some(sse41) = sse41::Sse41::new() {
                return sse41.run(algorithm);
            }
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => {
            if let Some(neon) = neon::Neon::new() {
                return neon.run(algorithm);
            }
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => return algorithm.run(simd128::Simd128),
        _ => {}
    }
    algorithm.run(scalar::Scalar)
}
