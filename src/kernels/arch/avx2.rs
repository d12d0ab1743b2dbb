//! AVX2: a vector is two registers.

use super::avx_vnni_integers::AvxVnni;
use super::avx2_integers::Avx2Integers;
use super::proof::proof;
use super::registers::{arrays, each_register, lanewise, parts, registers};
use super::x86_bytes::x86_bytes;
use super::x86_sums;
use crate::kernels::simd::Simd;
use std::arch::x86_64::*;

proof! {
    /// The proof that the processor has AVX2, FMA and F16C.
    Avx2, is_x86_feature_detected: "avx2" "fma" "f16c"
}

impl Avx2 {
    /// Whoever has these has this.
    #[inline(always)]
    pub(super) fn of_integers(_: Avx2Integers) -> Avx2 {
        Avx2(())
    }

    /// Whoever has AVX-VNNI has this.
    #[inline(always)]
    pub(super) fn of_vnni(_: AvxVnni) -> Avx2 {
        Avx2(())
    }

    /// Eight 16-bit numbers for each register.
    #[inline(always)]
    fn load_16_bits(self, from: &[u8; 32]) -> [__m128i; 2] {
        let from = parts!(2 of 16, from);
        arrays!(each_register!(2; from; _mm_loadu_si128(from.as_ptr().cast())))
    }

    /// Eight of the bytes for each register, in the low half.
    #[inline(always)]
    fn spread(self, x: __m128i) -> [__m128i; 2] {
        registers!([x, _mm_unpackhi_epi64(x, x)])
    }
}

impl x86_sums::Avx for Avx2 {}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    type B = __m128i;
    type M = [__m256; 2];

    const VECTORS: usize = 8;

    lanewise! { 2;
        fn add(a: F, b: F) -> F { _mm256_add_ps(a, b) }
        fn sub(a: F, b: F) -> F { _mm256_sub_ps(a, b) }
        fn mul(a: F, b: F) -> F { _mm256_mul_ps(a, b) }
        fn div(a: F, b: F) -> F { _mm256_div_ps(a, b) }
        fn mul_add(a: F, b: F, c: F) -> F { _mm256_fmadd_ps(a, b, c) }
        fn max(a: F, b: F) -> F { _mm256_max_ps(a, b) }
        fn greater(a: F, b: F) -> M { _mm256_cmp_ps::<_CMP_GT_OQ>(a, b) }
        fn select(mask: M, yes: F, no: F) -> F { _mm256_blendv_ps(no, yes, mask) }
        fn add_int(a: I, b: I) -> I { _mm256_add_epi32(a, b) }
        fn and_int(a: I, b: I) -> I { _mm256_and_si256(a, b) }
        fn or_int(a: I, b: I) -> I { _mm256_or_si256(a, b) }
        fn shift_left_int<const N: u32>(x: I) -> I { _mm256_sll_epi32(x, _mm_cvtsi32_si128(N as i32)) }
        fn shift_right_int<const N: u32>(x: I) -> I { _mm256_sra_epi32(x, _mm_cvtsi32_si128(N as i32)) }
        fn bits(x: F) -> I { _mm256_castps_si256(x) }
        fn of_bits(x: I) -> F { _mm256_castsi256_ps(x) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        registers!([_mm256_set1_ps(x); 2])
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> [__m256i; 2] {
        registers!([_mm256_set1_epi32(x); 2])
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [__m256; 2] {
        let from = parts!(2 of 8, from);
        arrays!(each_register!(2; from; _mm256_loadu_ps(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, x: [__m256; 2], to: &mut [f32; 16]) {
        let (to, _) = to.as_chunks_mut::<8>();
        arrays!(_mm256_storeu_ps(to[0].as_mut_ptr(), x[0]));
        arrays!(_mm256_storeu_ps(to[1].as_mut_ptr(), x[1]));
    }

    #[inline(always)]
    fn greatest(self, x: [__m256; 2]) -> f32 {
        registers!({
            let eight = _mm256_max_ps(x[0], x[1]);
            let four = _mm_max_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }

    #[inline(always)]
    fn sum(self, x: [__m256; 2]) -> f32 {
        registers!({
            let eight = _mm256_add_ps(x[0], x[1]);
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
    fn sums(self, x: &[[__m256; 2]; 8]) -> [f32; 8] {
        let mut eights = [registers!(_mm256_setzero_ps()); 8];
        for (eight, x) in eights.iter_mut().zip(x) {
            *eight = registers!(_mm256_add_ps(x[0], x[1]));
        }
        x86_sums::sums(self, eights)
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 64]) -> [__m256; 2] {
        let from = parts!(2 of 32, from);
        arrays!(each_register!(2; from; _mm256_loadu_ps(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 32]) -> [__m256; 2] {
        let bits = self.load_16_bits(from);
        registers!(each_register!(2; bits; _mm256_cvtph_ps(bits)))
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> [__m256; 2] {
        registers!([_mm256_cvtph_ps(_mm_set1_epi16(bits as i16)); 2])
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 32]) -> [__m256; 2] {
        let bits = self.load_16_bits(from);
        let low = registers!(each_register!(2; bits; _mm256_cvtepu16_epi32(bits)));
        self.of_bits(self.shift_left_int::<16>(low))
    }

    x86_bytes!();

    #[inline(always)]
    fn unsigned(self, x: __m128i) -> [__m256; 2] {
        let x = self.spread(x);
        registers!(each_register!(2; x; _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x))))
    }

    #[inline(always)]
    fn signed(self, x: __m128i) -> [__m256; 2] {
        let x = self.spread(x);
        registers!(each_register!(2; x; _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x))))
    }
}
