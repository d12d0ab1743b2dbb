//! The instruction sets: a thin file for each, and the place where one is chosen.
//!
//! All `unsafe` of the kernels is here.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use super::isa::Isa;
use super::simd::Algorithm;

/// True where this processor has every feature that the kernels of `isa` use.
pub(super) fn is_available(isa: Isa) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::Avx512::new().is_some(),
        Isa::Scalar => true,
        _ => false,
    }
}

/// Runs an algorithm on `isa`, or without vectors where this processor lacks it.
#[inline]
pub(super) fn run<A: Algorithm>(isa: Isa, algorithm: A) -> A::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => match avx512::Avx512::new() {
            Some(avx512) => avx512.run(algorithm),
            None => algorithm.run(scalar::Scalar),
        },
        _ => algorithm.run(scalar::Scalar),
    }
}
