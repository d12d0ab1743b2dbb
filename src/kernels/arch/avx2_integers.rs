//! AVX2: 64 bytes are two registers. What other instructions can do better is apart, in [`Dots`].

use super::avx2::Avx2;
use super::proof::proof;
use super::registers::{arrays, each_register, lanewise, parts, registers};
use super::x86_bytes::prefetch;
use crate::kernels::eight_bit::{IntegerAlgorithm, Integers};
use std::arch::x86_64::*;

proof! {
    /// The proof that the processor has what [`Avx2`] needs.
    Avx2Integers runs IntegerAlgorithm, is_x86_feature_detected: "avx2" "fma" "f16c"
}

/// Each word of `x` moved down by `N` bits, or up.
#[inline(always)]
fn shift<const N: i32>(x: __m256i) -> __m256i {
    let by = registers!(_mm_cvtsi32_si128(N.abs()));
    if N < 0 {
        registers!(_mm256_sll_epi16(x, by))
    } else {
        registers!(_mm256_srl_epi16(x, by))
    }
}

/// What there is more than one way for. Each method is that of [`Integers`] on one register.
pub(super) trait Dots: Copy {
    /// [`Integers::BIAS`].
    const WEIGHTS_BIAS: i32;

    /// The proof of AVX2, which an implementation must have.
    fn avx2(self) -> Avx2;

    fn add_dot(self, to: __m256i, weights: __m256i, x: __m256i) -> __m256i;
    fn add_dot_signed(self, to: __m256i, weights: __m256i, x: __m256i) -> __m256i;
    fn add_dot_scaled(self, to: __m256i, weights: __m256i, x: __m256i, scales: __m256i) -> __m256i;
}

impl Dots for Avx2Integers {
    const WEIGHTS_BIAS: i32 = 0;

    #[inline(always)]
    fn avx2(self) -> Avx2 {
        Avx2::of_integers(self)
    }

    #[inline(always)]
    fn add_dot(self, to: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        // No sum of two products is beyond sixteen bits.
        self.add_dot_scaled(to, weights, x, registers!(_mm256_set1_epi16(1)))
    }

    #[inline(always)]
    fn add_dot_signed(self, to: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        let x = registers!(_mm256_sign_epi8(x, weights));
        self.add_dot(to, registers!(_mm256_abs_epi8(weights)), x)
    }

    #[inline(always)]
    fn add_dot_scaled(self, to: __m256i, weights: __m256i, x: __m256i, scales: __m256i) -> __m256i {
        registers!({
            let pairs = _mm256_maddubs_epi16(weights, x);
            _mm256_add_epi32(to, _mm256_madd_epi16(pairs, scales))
        })
    }
}

impl<D: Dots> Integers for D {
    type Floats = Avx2;
    type Q = [__m256i; 2];

    const BIAS: i32 = D::WEIGHTS_BIAS;

    #[inline(always)]
    fn floats(self) -> Avx2 {
        self.avx2()
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        prefetch(bytes, at);
    }

    #[inline(always)]
    fn load(self, from: &[u8; 64]) -> [__m256i; 2] {
        let from = parts!(2 of 32, from);
        arrays!(each_register!(2; from; _mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_signed(self, from: &[i8; 64]) -> [__m256i; 2] {
        let from = parts!(2 of 32, from);
        arrays!(each_register!(2; from; _mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn store(self, x: [__m256i; 2], to: &mut [u8; 64]) {
        let (to, _) = to.as_chunks_mut::<32>();
        for (to, x) in to.iter_mut().zip(x) {
            arrays!(_mm256_storeu_si256(to.as_mut_ptr().cast(), x));
        }
    }

    #[inline(always)]
    fn fours(self, bytes: i32) -> [__m256i; 2] {
        [registers!(_mm256_set1_epi32(bytes)); 2]
    }

    #[inline(always)]
    fn quarters<const B: usize>(self, blocks: [&[u8; B]; 4], at: usize) -> [__m256i; 2] {
        let (first, _) = blocks[0][at..].as_chunks::<16>();
        let (second, _) = blocks[1][at..].as_chunks::<16>();
        let (third, _) = blocks[2][at..].as_chunks::<16>();
        let (fourth, _) = blocks[3][at..].as_chunks::<16>();
        arrays!([
            _mm256_loadu2_m128i(second[0].as_ptr().cast(), first[0].as_ptr().cast()),
            _mm256_loadu2_m128i(fourth[0].as_ptr().cast(), third[0].as_ptr().cast()),
        ])
    }

    #[inline(always)]
    fn twice(self, from: &[u8; 32]) -> [__m256i; 2] {
        [arrays!(_mm256_loadu_si256(from.as_ptr().cast())); 2]
    }

    #[inline(always)]
    fn splat(self, x: u8) -> [__m256i; 2] {
        [registers!(_mm256_set1_epi8(x as i8)); 2]
    }

    #[inline(always)]
    fn transpose(self, x: [[__m256i; 2]; 4]) -> [[__m256i; 2]; 4] {
        let [a, b, c, d] = x;
        let [first, second] = registers!(each_register!(2; a, b, c, d; {
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab, cd),
                _mm256_unpackhi_epi64(ab, cd),
                _mm256_unpacklo_epi64(ab_high, cd_high),
                _mm256_unpackhi_epi64(ab_high, cd_high),
            ]
        }));
        each_register!(4; first, second; [first, second])
    }

    lanewise! { 2;
        fn and(a: Q, b: Q) -> Q { _mm256_and_si256(a, b) }
        fn or(a: Q, b: Q) -> Q { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn nibbles(self, x: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        let low = self.splat(15);
        [self.and(x, low), self.and(self.shift_words::<4, 4>(x), low)]
    }

    #[inline(always)]
    fn shift_words<const A: i32, const B: i32>(self, x: [__m256i; 2]) -> [__m256i; 2] {
        [shift::<A>(x[0]), shift::<B>(x[1])]
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16], index: [__m256i; 2]) -> [__m256i; 2] {
        let table = arrays!(_mm_loadu_si128(table.as_ptr().cast()));
        let table = registers!(_mm256_broadcastsi128_si256(table));
        registers!(each_register!(2; index; _mm256_shuffle_epi8(table, index)))
    }

    #[inline(always)]
    fn add_where<const FROM: usize>(
        self,
        x: [__m256i; 2],
        bits: [__m256i; 2],
        more: u8,
    ) -> [__m256i; 2] {
        registers!({
            let from = FROM as i64 * 0x0101_0101_0101_0101;
            let bytes = _mm_set_epi64x(from + 0x0101_0101_0101_0101, from);
            let bytes = _mm256_broadcastsi128_si256(bytes);
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let more = _mm256_set1_epi8(more as i8);
            each_register!(2; x, bits; {
                let spread = _mm256_and_si256(_mm256_shuffle_epi8(bits, bytes), bit);
                let set = _mm256_cmpeq_epi8(spread, bit);
                _mm256_add_epi8(x, _mm256_and_si256(set, more))
            })
        })
    }

    #[inline(always)]
    fn dot(self, to: [__m256i; 2], weights: [__m256i; 2], x: [__m256i; 2]) -> [__m256i; 2] {
        each_register!(2; to, weights, x; self.add_dot(to, weights, x))
    }

    #[inline(always)]
    fn dot_signed(self, to: [__m256i; 2], weights: [__m256i; 2], x: [__m256i; 2]) -> [__m256i; 2] {
        each_register!(2; to, weights, x; self.add_dot_signed(to, weights, x))
    }

    #[inline(always)]
    fn dot_scaled(
        self,
        to: [__m256i; 2],
        weights: [__m256i; 2],
        x: [__m256i; 2],
        scales: [__m256i; 2],
    ) -> [__m256i; 2] {
        each_register!(2; to, weights, x, scales; self.add_dot_scaled(to, weights, x, scales))
    }

    #[inline(always)]
    fn move_signs(self, weights: [__m256i; 2], x: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        registers!([
            each_register!(2; weights; _mm256_abs_epi8(weights)),
            each_register!(2; weights, x; _mm256_sign_epi8(x, weights)),
        ])
    }

    #[inline(always)]
    fn spread(self, scales: __m128i, index: &[u16; 32]) -> [__m256i; 2] {
        let index = parts!(2 of 16, index);
        let index = arrays!(each_register!(2; index; _mm256_loadu_si256(index.as_ptr().cast())));
        registers!({
            let scales = _mm256_broadcastsi128_si256(scales);
            // The byte above a zero, and then down again with its sign.
            each_register!(2; index; {
                let above = _mm256_or_si256(_mm256_slli_epi16::<8>(index), _mm256_set1_epi16(0x80));
                _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(scales, above))
            })
        })
    }

    #[inline(always)]
    fn dot_words(self, bytes: __m128i, words: &[i16; 16]) -> [__m256i; 2] {
        let words = arrays!(_mm256_loadu_si256(words.as_ptr().cast()));
        registers!([
            _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), words),
            _mm256_setzero_si256(),
        ])
    }

    #[inline(always)]
    fn sum_lanes(self, parts: [[__m256i; 2]; 4]) -> [__m256i; 2] {
        let [a, b, c, d] = parts;
        registers!({
            let [first, second] = each_register!(2; a, b, c, d; {
                // In each quarter: lanes 0 and 2 of a, of b, lanes 1 and 3 of a, of b.
                let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
                _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
            });
            // Quarter k has the sums of quarters k.
            let even = _mm256_permute2x128_si256::<0x20>(first, second);
            let odd = _mm256_permute2x128_si256::<0x31>(first, second);
            [
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpacklo_epi32(even, odd)),
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpackhi_epi32(even, odd)),
            ]
        })
    }

    #[inline(always)]
    fn sum_halves(self, parts: [[__m256i; 2]; 2]) -> [__m256i; 2] {
        registers!(each_register!(2; parts; _mm256_add_epi32(
            _mm256_permute2x128_si256::<0x20>(parts[0], parts[1]),
            _mm256_permute2x128_si256::<0x31>(parts[0], parts[1]),
        )))
    }

    #[inline(always)]
    fn sum_quarters(self, parts: [[__m256i; 2]; 4]) -> [__m256i; 2] {
        let [a, b, c, d] = parts;
        registers!({
            let [a, b] = [_mm256_add_epi32(a[0], a[1]), _mm256_add_epi32(b[0], b[1])];
            let [c, d] = [_mm256_add_epi32(c[0], c[1]), _mm256_add_epi32(d[0], d[1])];
            [
                _mm256_add_epi32(
                    _mm256_permute2x128_si256::<0x20>(a, b),
                    _mm256_permute2x128_si256::<0x31>(a, b),
                ),
                _mm256_add_epi32(
                    _mm256_permute2x128_si256::<0x20>(c, d),
                    _mm256_permute2x128_si256::<0x31>(c, d),
                ),
            ]
        })
    }

    #[inline(always)]
    fn zero(self) -> [__m256i; 2] {
        [registers!(_mm256_setzero_si256()); 2]
    }

    #[inline(always)]
    fn multiply_add(self, to: [__m256i; 2], a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        registers!(each_register!(2; to, a, b; _mm256_add_epi32(to, _mm256_mullo_epi32(a, b))))
    }

    #[inline(always)]
    fn store_bytes(self, x: __m128i, to: &mut [i8; 16]) {
        arrays!(_mm_storeu_si128(to.as_mut_ptr().cast(), x));
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; 16]) -> [__m256i; 2] {
        let from = parts!(2 of 8, from);
        arrays!(each_register!(2; from; _mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn to_floats(self, x: [__m256i; 2]) -> [__m256; 2] {
        registers!(each_register!(2; x; _mm256_cvtepi32_ps(x)))
    }
}
