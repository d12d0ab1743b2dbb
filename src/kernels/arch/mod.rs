//! The instruction sets: a thin file for each, and the place where one is chosen.
//!
//! All `unsafe` of the kernels is here.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod half;
// Big-endian AArch64 numbers the lanes of a load otherwise.
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod proof;
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

pub(super) use proof::Proof;
