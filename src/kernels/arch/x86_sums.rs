//! The sums of several vectors at once, as all x86 files with AVX have them.

use super::registers::registers;
use std::arch::x86_64::*;

/// The proof that a processor has AVX.
pub(super) trait Avx: Copy {}

/// The sum of the lanes of each: lane `l` and lane `l + 4`, then `l + 2`, `l + 1`.
#[inline(always)]
pub(super) fn sums<P: Avx>(_proof: P, x: [__m256; 8]) -> [f32; 8] {
    // The halves of two vectors, side by side and added; then the same of pairs of lanes and of lanes.
    #[inline(always)]
    fn halves(x: __m256, y: __m256) -> __m256 {
        registers!(_mm256_add_ps(
            _mm256_permute2f128_ps::<0x20>(x, y),
            _mm256_permute2f128_ps::<0x31>(x, y)
        ))
    }
    #[inline(always)]
    fn pairs(x: __m256, y: __m256) -> __m256 {
        registers!(_mm256_add_ps(
            _mm256_shuffle_ps::<0b01_00_01_00>(x, y),
            _mm256_shuffle_ps::<0b11_10_11_10>(x, y)
        ))
    }
    let [a, b, c, d, e, f, g, h] = x;
    // The first half has a to d in the end, the second e to h.
    let (ae, bf, cg, dh) = (halves(a, e), halves(b, f), halves(c, g), halves(d, h));
    let (ab, cd) = (pairs(ae, bf), pairs(cg, dh));
    let all = registers!(_mm256_add_ps(
        _mm256_shuffle_ps::<0b10_00_10_00>(ab, cd),
        _mm256_shuffle_ps::<0b11_01_11_01>(ab, cd)
    ));
    let mut sums = [0.0; 8];
    // SAFETY: eight floats are 32 bytes, and they need no alignment.
    unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), all) };
    sums
}
