//! SSE4.1: a vector is four registers. It fuses nothing and knows no half precision.

use super::half::half;
use super::proof::proof;
use super::registers::{arrays, each_register, lanewise, parts, registers};
use super::x86_bytes::x86_bytes;
use crate::kernels::simd::{Algorithm, Simd};
use std::arch::x86_64::*;

proof! {
    /// The proof that the processor has SSE4.1 and SSSE3.
    Sse41, is_x86_feature_detected: "sse4.1" "ssse3"
}

impl Sse41 {
    /// Sixteen 16-bit numbers, as 32 bits.
    #[inline(always)]
    fn load_16_bits(self, from: &[u8; 32]) -> [__m128i; 4] {
        let from = parts!(4 of 8, from);
        let bits = arrays!(each_register!(4; from; _mm_loadl_epi64(from.as_ptr().cast())));
        registers!(each_register!(4; bits; _mm_cvtepu16_epi32(bits)))
    }

    /// Four of the bytes for each register, the lowest ones of it.
    #[inline(always)]
    fn spread(self, x: __m128i) -> [__m128i; 4] {
        registers!([
            x,
            _mm_srli_si128::<4>(x),
            _mm_srli_si128::<8>(x),
            _mm_srli_si128::<12>(x),
        ])
    }
}

impl Simd for Sse41 {
    type F = [__m128; 4];
    type I = [__m128i; 4];
    type B = __m128i;
    type M = [__m128; 4];

    const VECTORS: usize = 4;

    lanewise! { 4;
        fn add(a: F, b: F) -> F { _mm_add_ps(a, b) }
        fn sub(a: F, b: F) -> F { _mm_sub_ps(a, b) }
        fn mul(a: F, b: F) -> F { _mm_mul_ps(a, b) }
        fn div(a: F, b: F) -> F { _mm_div_ps(a, b) }
        fn mul_add(a: F, b: F, c: F) -> F { _mm_add_ps(_mm_mul_ps(a, b), c) }
        fn max(a: F, b: F) -> F { _mm_max_ps(a, b) }
        fn greater(a: F, b: F) -> M { _mm_cmpgt_ps(a, b) }
        fn select(mask: M, yes: F, no: F) -> F { _mm_blendv_ps(no, yes, mask) }
        fn add_int(a: I, b: I) -> I { _mm_add_epi32(a, b) }
        fn and_int(a: I, b: I) -> I { _mm_and_si128(a, b) }
        fn or_int(a: I, b: I) -> I { _mm_or_si128(a, b) }
        fn shift_left_int<const N: u32>(x: I) -> I { _mm_sll_epi32(x, _mm_cvtsi32_si128(N as i32)) }
        fn shift_right_int<const N: u32>(x: I) -> I { _mm_sra_epi32(x, _mm_cvtsi32_si128(N as i32)) }
        fn bits(x: F) -> I { _mm_castps_si128(x) }
        fn of_bits(x: I) -> F { _mm_castsi128_ps(x) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [__m128; 4] {
        registers!([_mm_set1_ps(x); 4])
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> [__m128i; 4] {
        registers!([_mm_set1_epi32(x); 4])
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [__m128; 4] {
        let from = parts!(4 of 4, from);
        arrays!(each_register!(4; from; _mm_loadu_ps(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, x: [__m128; 4], to: &mut [f32; 16]) {
        let (to, _) = to.as_chunks_mut::<4>();
        arrays!(_mm_storeu_ps(to[0].as_mut_ptr(), x[0]));
        arrays!(_mm_storeu_ps(to[1].as_mut_ptr(), x[1]));
        arrays!(_mm_storeu_ps(to[2].as_mut_ptr(), x[2]));
        arrays!(_mm_storeu_ps(to[3].as_mut_ptr(), x[3]));
    }

    #[inline(always)]
    fn sum(self, x: [__m128; 4]) -> f32 {
        registers!({
            let four = _mm_add_ps(_mm_add_ps(x[0], x[2]), _mm_add_ps(x[1], x[3]));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
            _mm_cvtss_f32(one)
        })
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 64]) -> [__m128; 4] {
        let from = parts!(4 of 16, from);
        arrays!(each_register!(4; from; _mm_loadu_ps(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 32]) -> [__m128; 4] {
        half(self, self.load_16_bits(from))
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> [__m128; 4] {
        half(self, self.splat_int(i32::from(bits)))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 32]) -> [__m128; 4] {
        self.of_bits(self.shift_left_int::<16>(self.load_16_bits(from)))
    }

    x86_bytes!();

    #[inline(always)]
    fn unsigned(self, x: __m128i) -> [__m128; 4] {
        let x = self.spread(x);
        registers!(each_register!(4; x; _mm_cvtepi32_ps(_mm_cvtepu8_epi32(x))))
    }

    #[inline(always)]
    fn signed(self, x: __m128i) -> [__m128; 4] {
        let x = self.spread(x);
        registers!(each_register!(4; x; _mm_cvtepi32_ps(_mm_cvtepi8_epi32(x))))
    }
}
