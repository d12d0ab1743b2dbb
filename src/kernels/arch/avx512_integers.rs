//! AVX-512 with VNNI: 64 bytes are one register.

use super::avx512::Avx512;
use super::proof::proof;
use super::registers::{arrays, registers};
use super::x86_bytes::prefetch;
use crate::kernels::eight_bit::{IntegerAlgorithm, Integers, Pairs};
use crate::kernels::formats::field;
use std::arch::x86_64::*;

proof! {
    /// The proof that the processor has AVX-512 VNNI beside what [`Avx512`] needs.
    Avx512Vnni runs IntegerAlgorithm, is_x86_feature_detected: "avx512vnni" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx2" "fma" "f16c"
}

/// Which words of a load are blocks' halves: block `l` of those that a load of 64 bytes reaches begins `stride` bytes
/// after the one before.
const fn half_words(stride: usize) -> [u16; 32] {
    let mut index = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        let reached = lane % per_load(stride);
        index[lane] = (reached * stride / 2) as u16;
        lane += 1;
    }
    index
}

/// Blocks whose first two bytes a load of 64 bytes reaches: a power of two.
const fn per_load(stride: usize) -> usize {
    match 62 / stride {
        0 => 1,
        1 | 2 => 2,
        _ => 4,
    }
}

/// The first words of lanes 0, 4, 8, 12, 1 and so on.
const fn words_of_transposed() -> [u16; 32] {
    let mut words = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        words[lane] = (2 * (lane % 4 * 4 + lane / 4)) as u16;
        lane += 1;
    }
    words
}

impl Integers for Avx512Vnni {
    type Floats = Avx512;
    type Q = __m512i;

    const BIAS: i32 = 128;

    #[inline(always)]
    fn floats(self) -> Avx512 {
        Avx512::of_vnni(self)
    }

    #[inline(always)]
    fn load(self, from: &[u8; 64]) -> __m512i {
        arrays!(_mm512_loadu_si512(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn load_signed(self, from: &[i8; 64]) -> __m512i {
        arrays!(_mm512_loadu_si512(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn store(self, x: __m512i, to: &mut [u8; 64]) {
        arrays!(_mm512_storeu_si512(to.as_mut_ptr().cast(), x));
    }

    #[inline(always)]
    fn fours(self, bytes: i32) -> __m512i {
        registers!(_mm512_set1_epi32(bytes))
    }

    #[inline(always)]
    fn quarters<const B: usize>(self, blocks: [&[u8; B]; 4], at: usize) -> __m512i {
        let (first, _) = blocks[0][at..].as_chunks::<16>();
        let (second, _) = blocks[1][at..].as_chunks::<16>();
        let (third, _) = blocks[2][at..].as_chunks::<16>();
        let (fourth, _) = blocks[3][at..].as_chunks::<16>();
        arrays!({
            let x = _mm512_castsi128_si512(_mm_loadu_si128(first[0].as_ptr().cast()));
            let x = _mm512_inserti32x4::<1>(x, _mm_loadu_si128(second[0].as_ptr().cast()));
            let x = _mm512_inserti32x4::<2>(x, _mm_loadu_si128(third[0].as_ptr().cast()));
            _mm512_inserti32x4::<3>(x, _mm_loadu_si128(fourth[0].as_ptr().cast()))
        })
    }

    #[inline(always)]
    fn twice(self, from: &[u8; 32]) -> __m512i {
        arrays!(_mm512_broadcast_i64x4(_mm256_loadu_si256(
            from.as_ptr().cast()
        )))
    }

    #[inline(always)]
    fn splat(self, x: u8) -> __m512i {
        registers!(_mm512_set1_epi8(x as i8))
    }

    #[inline(always)]
    fn transpose(self, x: [__m512i; 4]) -> [__m512i; 4] {
        registers!({
            let [a, b, c, d] = x;
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ]
        })
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        registers!(_mm512_and_si512(a, b))
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        registers!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn nibbles(self, x: __m512i) -> [__m512i; 2] {
        registers!({
            let low = _mm512_set1_epi8(15);
            [
                _mm512_and_si512(x, low),
                _mm512_and_si512(_mm512_srli_epi16::<4>(x), low),
            ]
        })
    }

    #[inline(always)]
    fn shift_words<const A: i32, const B: i32>(self, x: __m512i) -> __m512i {
        registers!({
            if A == B {
                // All the same way: by a number in a register, since no constant is one of both ways.
                let by = _mm_cvtsi32_si128(A.abs());
                if A < 0 {
                    _mm512_sll_epi16(x, by)
                } else {
                    _mm512_srl_epi16(x, by)
                }
            } else {
                // A shift by a word or more gives nothing.
                let by = |n: i32| if n < 0 { 99 } else { n as i16 };
                let (a, b) = (_mm256_set1_epi16(by(A)), _mm256_set1_epi16(by(B)));
                let down = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
                let by = |n: i32| if n < 0 { (-n) as i16 } else { 99 };
                let (a, b) = (_mm256_set1_epi16(by(A)), _mm256_set1_epi16(by(B)));
                let up = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
                match (A < 0, B < 0) {
                    (true, true) => _mm512_sllv_epi16(x, up),
                    (false, false) => _mm512_srlv_epi16(x, down),
                    _ => _mm512_or_si512(_mm512_sllv_epi16(x, up), _mm512_srlv_epi16(x, down)),
                }
            }
        })
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16], index: __m512i) -> __m512i {
        let table = arrays!(_mm_loadu_si128(table.as_ptr().cast()));
        registers!(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), index))
    }

    #[inline(always)]
    fn add_where<const FROM: usize>(self, x: __m512i, bits: __m512i, more: u8) -> __m512i {
        registers!({
            let from = FROM as i64 * 0x0101_0101_0101_0101;
            let bytes = _mm_set_epi64x(from + 0x0101_0101_0101_0101, from);
            let spread = _mm512_shuffle_epi8(bits, _mm512_broadcast_i32x4(bytes));
            let bit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
            let set = _mm512_test_epi8_mask(spread, bit);
            _mm512_mask_add_epi8(x, set, x, _mm512_set1_epi8(more as i8))
        })
    }

    #[inline(always)]
    fn dot(self, to: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        registers!(_mm512_dpbusd_epi32(to, weights, x))
    }

    #[inline(always)]
    fn dot_signed(self, to: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        registers!({
            let weights = _mm512_xor_si512(weights, _mm512_set1_epi8(-128));
            _mm512_dpbusd_epi32(to, weights, x)
        })
    }

    #[inline(always)]
    fn dot_scaled(self, to: __m512i, weights: __m512i, x: __m512i, scales: __m512i) -> __m512i {
        registers!(_mm512_dpwssd_epi32(
            to,
            _mm512_maddubs_epi16(weights, x),
            scales
        ))
    }

    #[inline(always)]
    fn move_signs(self, weights: __m512i, x: __m512i) -> [__m512i; 2] {
        registers!({
            let negative = _mm512_movepi8_mask(weights);
            [
                _mm512_abs_epi8(weights),
                _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x),
            ]
        })
    }

    #[inline(always)]
    fn spread(self, scales: __m128i, index: &[u16; 32]) -> __m512i {
        let index = arrays!(_mm512_loadu_si512(index.as_ptr().cast()));
        registers!({
            let words = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(scales));
            _mm512_permutexvar_epi16(index, words)
        })
    }

    #[inline(always)]
    fn dot_words(self, bytes: __m128i, words: &[i16; 16]) -> __m512i {
        let words = arrays!(_mm256_loadu_si256(words.as_ptr().cast()));
        registers!(_mm512_zextsi256_si512(_mm256_madd_epi16(
            _mm256_cvtepi8_epi16(bytes),
            words
        )))
    }

    #[inline(always)]
    fn sum_lanes(self, parts: [__m512i; 4]) -> __m512i {
        registers!({
            let [a, b, c, d] = parts;
            // In each quarter: lanes 0 and 2 of a, of b, lanes 1 and 3 of a, of b.
            let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let sums =
                _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            // Quarter k has the sums of quarters k.
            let index = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(index, sums)
        })
    }

    #[inline(always)]
    fn sum_halves(self, parts: [__m512i; 2]) -> __m512i {
        registers!({
            let [a, b] = parts;
            _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0x88>(a, b),
                _mm512_shuffle_i32x4::<0xdd>(a, b),
            )
        })
    }

    #[inline(always)]
    fn sum_quarters(self, parts: [__m512i; 4]) -> __m512i {
        registers!({
            let [a, b, c, d] = parts;
            let ab = _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0x88>(a, b),
                _mm512_shuffle_i32x4::<0xdd>(a, b),
            );
            let cd = _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0x88>(c, d),
                _mm512_shuffle_i32x4::<0xdd>(c, d),
            );
            _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0x88>(ab, cd),
                _mm512_shuffle_i32x4::<0xdd>(ab, cd),
            )
        })
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        registers!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn multiply_add(self, to: __m512i, a: __m512i, b: __m512i) -> __m512i {
        registers!(_mm512_add_epi32(to, _mm512_mullo_epi32(a, b)))
    }

    #[inline(always)]
    fn store_bytes(self, x: __m128i, to: &mut [i8; 16]) {
        arrays!(_mm_storeu_si128(to.as_mut_ptr().cast(), x));
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; 16]) -> __m512i {
        arrays!(_mm512_loadu_si512(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn to_floats(self, x: __m512i) -> __m512 {
        registers!(_mm512_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        prefetch(bytes, at);
    }

    #[inline(always)]
    fn halves_of_heads<const B: usize>(
        self,
        _blocks: &[[u8; B]; 16],
        at: usize,
        heads: [__m512i; 4],
    ) -> __m512 {
        // Lane `4 * k + g` of the transposed has the first bytes of quarter `k` of number `g`, or those behind them.
        let first = const { &words_of_transposed() };
        let first = arrays!(_mm512_loadu_si512(first.as_ptr().cast()));
        registers!({
            let [a, b, c, d] = heads;
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let four = if at < 4 {
                _mm512_unpacklo_epi64(ab, cd)
            } else {
                _mm512_unpackhi_epi64(ab, cd)
            };
            let index = _mm512_add_epi16(first, _mm512_set1_epi16((at % 4 / 2) as i16));
            let words = _mm512_permutexvar_epi16(index, four);
            _mm512_cvtph_ps(_mm512_castsi512_si256(words))
        })
    }

    #[inline(always)]
    fn pairs(self, blocks: &[[u8; 34]; 16]) -> Pairs<Avx512Vnni> {
        let (pairs, _) = blocks.as_flattened().as_chunks::<68>();
        let mut quants = [self.splat(0); 8];
        let mut first = [0; 8];
        for ((pair, quants), first) in pairs.iter().zip(&mut quants).zip(&mut first) {
            *quants = self.load(field(pair, 4));
            *first = i32::from_le_bytes(*field(pair, 0));
        }
        registers!({
            let [a, b, c, d, e, f, g, h] = first;
            let edges = _mm256_setr_epi32(a, b, c, d, e, f, g, h);
            // The second block's scale is the upper word of lane 7, and the first one's the lower word of the edge.
            let [a, b, c, d, e, f, g, h] = quants;
            let [a, b] = [_mm512_castsi512_si256(a), _mm512_castsi512_si256(b)];
            let [c, d] = [_mm512_castsi512_si256(c), _mm512_castsi512_si256(d)];
            let [e, f] = [_mm512_castsi512_si256(e), _mm512_castsi512_si256(f)];
            let [g, h] = [_mm512_castsi512_si256(g), _mm512_castsi512_si256(h)];
            let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            let (ef, gh) = (_mm256_unpackhi_epi32(e, f), _mm256_unpackhi_epi32(g, h));
            let sevenths = _mm256_permute2x128_si256::<0x31>(
                _mm256_unpackhi_epi64(ab, cd),
                _mm256_unpackhi_epi64(ef, gh),
            );
            let scales = _mm256_blend_epi16::<0b1010_1010>(edges, sevenths);
            Pairs {
                quants,
                edges: _mm512_cvtepu32_epi64(edges),
                scales: _mm512_cvtph_ps(scales),
            }
        })
    }

    #[inline(always)]
    fn halves<const B: usize>(self, blocks: &[[u8; B]; 16], at: usize) -> __m512 {
        if !B.is_multiple_of(2) || per_load(B) == 1 {
            let mut halves = [0; 32];
            let (to, _) = halves.as_chunks_mut::<2>();
            for (to, block) in to.iter_mut().zip(blocks) {
                *to = [block[at], block[at + 1]];
            }
            let halves = arrays!(_mm256_loadu_si256(halves.as_ptr().cast()));
            return registers!(_mm512_cvtph_ps(halves));
        }
        // Several blocks' halves lie in a load, at places that are the same for each load.
        let bytes = blocks.as_flattened();
        let index = const { &half_words(B) };
        let index = arrays!(_mm512_loadu_si512(index.as_ptr().cast()));
        let mut words = registers!(_mm512_setzero_si512());
        let mut block = 0;
        while block < 16 {
            // The last load may begin earlier, so as to end with the blocks.
            let from = (block * B + at).min(16 * B - 64);
            let moved = ((block * B + at - from) / 2) as i16;
            let (load, _) = bytes[from..].as_chunks::<64>();
            let load = self.load(&load[0]);
            let lanes = ((1u32 << per_load(B)) - 1) << block;
            words = registers!({
                let index = _mm512_add_epi16(index, _mm512_set1_epi16(moved));
                _mm512_mask_permutexvar_epi16(words, lanes, index, load)
            });
            block += per_load(B);
        }
        registers!(_mm512_cvtph_ps(_mm512_castsi512_si256(words)))
    }
}
