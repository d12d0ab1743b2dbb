//! AVX-512: a vector is one register.

use super::avx512_integers::Avx512Vnni;
use super::proof::proof;
use super::registers::{arrays, registers};
use super::x86_bytes::x86_bytes;
use super::x86_sums;
use crate::kernels::simd::Simd;
use std::arch::x86_64::*;

proof! {
    /// The proof that the processor has AVX-512 F, BW, DQ and VL, AVX2, FMA and F16C.
    Avx512, is_x86_feature_detected: "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx2" "fma" "f16c"
}

impl Avx512 {
    /// Whoever has VNNI has this.
    #[inline(always)]
    pub(super) fn of_vnni(_: Avx512Vnni) -> Avx512 {
        Avx512(())
    }
}

impl x86_sums::Avx for Avx512 {}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type B = __m128i;
    type M = __mmask16;

    const VECTORS: usize = 32;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        registers!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> __m512 {
        arrays!(_mm512_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; 16]) {
        arrays!(_mm512_storeu_ps(to.as_mut_ptr(), x))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        registers!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        registers!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn greatest(self, x: __m512) -> f32 {
        registers!({
            let eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let four = _mm_max_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        registers!({
            let eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
            _mm_cvtss_f32(one)
        })
    }

    #[inline(always)]
    fn sums(self, x: &[__m512; 8]) -> [f32; 8] {
        let mut eights = [registers!(_mm256_setzero_ps()); 8];
        for (eight, &x) in eights.iter_mut().zip(x) {
            *eight = registers!(_mm256_add_ps(
                _mm512_castps512_ps256(x),
                _mm512_extractf32x8_ps::<1>(x)
            ));
        }
        x86_sums::sums(self, eights)
    }

    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __mmask16 {
        registers!(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b))
    }

    #[inline(always)]
    fn select(self, mask: __mmask16, yes: __m512, no: __m512) -> __m512 {
        registers!(_mm512_mask_blend_ps(mask, no, yes))
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> __m512i {
        registers!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn add_int(self, a: __m512i, b: __m512i) -> __m512i {
        registers!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn and_int(self, a: __m512i, b: __m512i) -> __m512i {
        registers!(_mm512_and_si512(a, b))
    }

    #[inline(always)]
    fn or_int(self, a: __m512i, b: __m512i) -> __m512i {
        registers!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn shift_left_int<const N: u32>(self, x: __m512i) -> __m512i {
        registers!(_mm512_slli_epi32::<N>(x))
    }

    #[inline(always)]
    fn shift_right_int<const N: u32>(self, x: __m512i) -> __m512i {
        registers!(_mm512_srai_epi32::<N>(x))
    }

    #[inline(always)]
    fn bits(self, x: __m512) -> __m512i {
        registers!(_mm512_castps_si512(x))
    }

    #[inline(always)]
    fn of_bits(self, x: __m512i) -> __m512 {
        registers!(_mm512_castsi512_ps(x))
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 64]) -> __m512 {
        arrays!(_mm512_loadu_ps(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 32]) -> __m512 {
        let halves = arrays!(_mm256_loadu_si256(from.as_ptr().cast()));
        registers!(_mm512_cvtph_ps(halves))
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> __m512 {
        registers!(_mm512_cvtph_ps(_mm256_set1_epi16(bits as i16)))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 32]) -> __m512 {
        let halves = arrays!(_mm256_loadu_si256(from.as_ptr().cast()));
        registers!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(
            _mm512_cvtepu16_epi32(halves)
        )))
    }

    x86_bytes!();

    #[inline(always)]
    fn bytes_of_bits(self, bits: u16) -> __m128i {
        registers!(_mm_movm_epi8(bits))
    }

    #[inline(always)]
    fn look_up_nibbles(self, low: __m512, high: __m512, x: __m128i) -> Option<[__m512; 2]> {
        // The permutation heeds the low four bits of its index.
        registers!({
            let index = _mm512_cvtepu8_epi32(x);
            Some([
                _mm512_permutexvar_ps(index, low),
                _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(index), high),
            ])
        })
    }

    #[inline(always)]
    fn unsigned(self, x: __m128i) -> __m512 {
        registers!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x)))
    }

    #[inline(always)]
    fn signed(self, x: __m128i) -> __m512 {
        registers!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x)))
    }
}
