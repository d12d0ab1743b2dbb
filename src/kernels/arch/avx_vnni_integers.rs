//! AVX-VNNI: AVX2, but four products are added up by one instruction.

use super::avx2::Avx2;
use super::avx2_integers::Dots;
use super::proof::proof;
use super::registers::registers;
use crate::kernels::eight_bit::IntegerAlgorithm;
use std::arch::x86_64::*;

proof! {
    /// The proof that the processor has AVX-VNNI beside what [`Avx2`] needs.
    AvxVnni runs IntegerAlgorithm, is_x86_feature_detected: "avxvnni" "avx2" "fma" "f16c"
}

impl Dots for AvxVnni {
    const WEIGHTS_BIAS: i32 = 128;

    #[inline(always)]
    fn avx2(self) -> Avx2 {
        Avx2::of_vnni(self)
    }

    #[inline(always)]
    fn add_dot(self, to: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        registers!(_mm256_dpbusd_avx_epi32(to, weights, x))
    }

    #[inline(always)]
    fn add_dot_signed(self, to: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        registers!({
            let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
            _mm256_dpbusd_avx_epi32(to, weights, x)
        })
    }

    #[inline(always)]
    fn add_dot_scaled(self, to: __m256i, weights: __m256i, x: __m256i, scales: __m256i) -> __m256i {
        registers!({
            let pairs = _mm256_maddubs_epi16(weights, x);
            _mm256_dpwssd_avx_epi32(to, pairs, scales)
        })
    }
}
