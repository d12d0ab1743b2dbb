//! The instruction sets: a thin file for each, and the place where one is chosen.
//!
//! All `unsafe` of the kernels is here, `slots` included, which any algorithm may use.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_integers;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_integers;
#[cfg(target_arch = "x86_64")]
mod avx_vnni_integers;
mod half;
#[cfg(test)]
mod integer_tests;
// Big-endian AArch64 numbers the lanes of a load otherwise.
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon_dotprod_integers;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon_integers;
mod proof;
mod registers;
mod scalar;
mod scalar_integers;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
mod slots;
#[cfg(target_arch = "x86_64")]
mod sse41;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_bytes;
#[cfg(target_arch = "x86_64")]
mod x86_sums;

pub(super) use proof::{IntegerProof, Proof};
pub(super) use slots::Slots;
