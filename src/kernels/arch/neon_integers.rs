//! NEON: 64 bytes are four registers. What other instructions can do better is apart, in [`Dots`].

use super::neon::Neon;
use super::proof::proof;
use super::registers::{arrays, each_register, lanewise, parts, registers};
use crate::kernels::eight_bit::{IntegerAlgorithm, Integers};
use std::arch::aarch64::*;

proof! {
    /// The proof that the processor has what [`Neon`] needs.
    NeonIntegers runs IntegerAlgorithm, is_aarch64_feature_detected: "neon"
}

/// What there is more than one way for. Each method is that of [`Integers`] on one register; bytes are signed.
pub(super) trait Dots: Copy {
    /// The proof of NEON, which an implementation must have.
    fn neon(self) -> Neon;

    fn add_dot(self, to: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t;
    /// The scale of a quarter, as `add_dot_scaled` takes it, from what has it in the highest byte of each word.
    fn scale(self, highest: int8x16_t) -> int8x16_t;
    fn add_dot_scaled(
        self,
        to: int32x4_t,
        weights: int8x16_t,
        x: int8x16_t,
        scale: int8x16_t,
    ) -> int32x4_t;
}

/// The sums of two products each: none is beyond sixteen bits.
#[inline(always)]
fn pairs(weights: int8x16_t, x: int8x16_t) -> int16x8_t {
    registers!(vpaddq_s16(
        vmull_s8(vget_low_s8(weights), vget_low_s8(x)),
        vmull_high_s8(weights, x),
    ))
}

impl Dots for NeonIntegers {
    #[inline(always)]
    fn neon(self) -> Neon {
        Neon::of_integers(self)
    }

    #[inline(always)]
    fn add_dot(self, to: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
        registers!(vpadalq_s16(to, pairs(weights, x)))
    }

    #[inline(always)]
    fn scale(self, highest: int8x16_t) -> int8x16_t {
        registers!(vreinterpretq_s8_s16(vshrq_n_s16::<8>(
            vreinterpretq_s16_s8(highest)
        )))
    }

    #[inline(always)]
    fn add_dot_scaled(
        self,
        to: int32x4_t,
        weights: int8x16_t,
        x: int8x16_t,
        scale: int8x16_t,
    ) -> int32x4_t {
        registers!({
            let (pairs, scale) = (pairs(weights, x), vreinterpretq_s16_s8(scale));
            let to = vmlal_s16(to, vget_low_s16(pairs), vget_low_s16(scale));
            vmlal_high_s16(to, pairs, scale)
        })
    }
}

impl<D: Dots> Integers for D {
    type Floats = Neon;
    type Q = [int8x16_t; 4];

    const BIAS: i32 = 0;

    #[inline(always)]
    fn floats(self) -> Neon {
        self.neon()
    }

    #[inline(always)]
    fn load(self, from: &[u8; 64]) -> [int8x16_t; 4] {
        let from = parts!(4 of 16, from);
        arrays!(each_register!(4; from; vld1q_s8(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_signed(self, from: &[i8; 64]) -> [int8x16_t; 4] {
        let from = parts!(4 of 16, from);
        arrays!(each_register!(4; from; vld1q_s8(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, x: [int8x16_t; 4], to: &mut [u8; 64]) {
        let (to, _) = to.as_chunks_mut::<16>();
        for (to, x) in to.iter_mut().zip(x) {
            arrays!(vst1q_s8(to.as_mut_ptr().cast(), x));
        }
    }

    #[inline(always)]
    fn fours(self, bytes: i32) -> [int8x16_t; 4] {
        [registers!(vreinterpretq_s8_s32(vdupq_n_s32(bytes))); 4]
    }

    #[inline(always)]
    fn quarters<const B: usize>(self, blocks: [&[u8; B]; 4], at: usize) -> [int8x16_t; 4] {
        each_register!(4; blocks; {
            let (from, _) = blocks[at..].as_chunks::<16>();
            arrays!(vld1q_s8(from[0].as_ptr().cast()))
        })
    }

    #[inline(always)]
    fn twice(self, from: &[u8; 32]) -> [int8x16_t; 4] {
        let [a, b] = parts!(2 of 16, from);
        let from = [a, b, a, b];
        arrays!(each_register!(4; from; vld1q_s8(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn splat(self, x: u8) -> [int8x16_t; 4] {
        [registers!(vdupq_n_s8(x as i8)); 4]
    }

    #[inline(always)]
    fn transpose(self, x: [[int8x16_t; 4]; 4]) -> [[int8x16_t; 4]; 4] {
        let [a, b, c, d] = x;
        let [first, second, third, fourth] = registers!(each_register!(4; a, b, c, d; {
            let (a, b) = (vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b));
            let (c, d) = (vreinterpretq_s32_s8(c), vreinterpretq_s32_s8(d));
            let ab = vreinterpretq_s64_s32(vzip1q_s32(a, b));
            let cd = vreinterpretq_s64_s32(vzip1q_s32(c, d));
            let ab_high = vreinterpretq_s64_s32(vzip2q_s32(a, b));
            let cd_high = vreinterpretq_s64_s32(vzip2q_s32(c, d));
            [
                vreinterpretq_s8_s64(vzip1q_s64(ab, cd)),
                vreinterpretq_s8_s64(vzip2q_s64(ab, cd)),
                vreinterpretq_s8_s64(vzip1q_s64(ab_high, cd_high)),
                vreinterpretq_s8_s64(vzip2q_s64(ab_high, cd_high)),
            ]
        }));
        each_register!(4; first, second, third, fourth; [first, second, third, fourth])
    }

    lanewise! { 4;
        fn and(a: Q, b: Q) -> Q { vandq_s8(a, b) }
        fn or(a: Q, b: Q) -> Q { vorrq_s8(a, b) }
    }

    #[inline(always)]
    fn nibbles(self, x: [int8x16_t; 4]) -> [[int8x16_t; 4]; 2] {
        let low = self.splat(15);
        let high = registers!(each_register!(4; x; {
            vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(x)))
        }));
        [self.and(x, low), high]
    }

    #[inline(always)]
    fn shift_words<const A: i32, const B: i32>(self, x: [int8x16_t; 4]) -> [int8x16_t; 4] {
        // A positive number moves up here.
        let by = [-A as i16, -A as i16, -B as i16, -B as i16];
        registers!(each_register!(4; x, by; {
            vreinterpretq_s8_u16(vshlq_u16(vreinterpretq_u16_s8(x), vdupq_n_s16(by)))
        }))
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16], index: [int8x16_t; 4]) -> [int8x16_t; 4] {
        let table = arrays!(vld1q_s8(table.as_ptr()));
        registers!(each_register!(4; index; vqtbl1q_s8(table, vreinterpretq_u8_s8(index))))
    }

    #[inline(always)]
    fn add_where<const FROM: usize>(
        self,
        x: [int8x16_t; 4],
        bits: [int8x16_t; 4],
        more: u8,
    ) -> [int8x16_t; 4] {
        registers!({
            let bytes = vcombine_u8(vdup_n_u8(FROM as u8), vdup_n_u8(FROM as u8 + 1));
            let bit = vreinterpretq_s8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
            let more = vdupq_n_s8(more as i8);
            each_register!(4; x, bits; {
                let set = vtstq_s8(vqtbl1q_s8(bits, bytes), bit);
                vaddq_s8(x, vandq_s8(vreinterpretq_s8_u8(set), more))
            })
        })
    }

    #[inline(always)]
    fn dot(self, to: [int32x4_t; 4], weights: [int8x16_t; 4], x: [int8x16_t; 4]) -> [int32x4_t; 4] {
        each_register!(4; to, weights, x; self.add_dot(to, weights, x))
    }

    #[inline(always)]
    fn dot_signed(
        self,
        to: [int32x4_t; 4],
        weights: [int8x16_t; 4],
        x: [int8x16_t; 4],
    ) -> [int32x4_t; 4] {
        self.dot(to, weights, x)
    }

    #[inline(always)]
    fn dot_scaled(
        self,
        to: [int32x4_t; 4],
        weights: [int8x16_t; 4],
        x: [int8x16_t; 4],
        scales: [int8x16_t; 4],
    ) -> [int32x4_t; 4] {
        each_register!(4; to, weights, x, scales; self.add_dot_scaled(to, weights, x, scales))
    }

    #[inline(always)]
    fn move_signs(self, weights: [int8x16_t; 4], x: [int8x16_t; 4]) -> [[int8x16_t; 4]; 2] {
        [weights, x]
    }

    #[inline(always)]
    fn spread(self, scales: uint8x16_t, index: &[u16; 32]) -> [int8x16_t; 4] {
        let index = parts!(4 of 8, index);
        let index = arrays!(each_register!(4; index; vld1q_u16(index.as_ptr())));
        let highest = registers!({
            let scales = vreinterpretq_s8_u8(scales);
            each_register!(4; index; {
                vqtbl1q_s8(scales, vreinterpretq_u8_u16(vshlq_n_u16::<8>(index)))
            })
        });
        each_register!(4; highest; self.scale(highest))
    }

    #[inline(always)]
    fn dot_words(self, bytes: uint8x16_t, words: &[i16; 16]) -> [int32x4_t; 4] {
        let words = parts!(2 of 8, words);
        let [a, b] = arrays!(each_register!(2; words; vld1q_s16(words.as_ptr())));
        registers!({
            let bytes = vreinterpretq_s8_u8(bytes);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vmull_s16(vget_low_s16(low), vget_low_s16(a)),
                vmull_high_s16(low, a),
                vmull_s16(vget_low_s16(high), vget_low_s16(b)),
                vmull_high_s16(high, b),
            ]
        })
    }

    #[inline(always)]
    fn sum_lanes(self, parts: [[int32x4_t; 4]; 4]) -> [int32x4_t; 4] {
        registers!(each_register!(4; parts; {
            let [a, b, c, d] = parts;
            vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
        }))
    }

    #[inline(always)]
    fn sum_halves(self, parts: [[int32x4_t; 4]; 2]) -> [int32x4_t; 4] {
        let [[a, b, c, d], [e, f, g, h]] = parts;
        registers!([
            vaddq_s32(a, b),
            vaddq_s32(c, d),
            vaddq_s32(e, f),
            vaddq_s32(g, h),
        ])
    }

    #[inline(always)]
    fn sum_quarters(self, parts: [[int32x4_t; 4]; 4]) -> [int32x4_t; 4] {
        registers!(each_register!(4; parts; {
            let [a, b, c, d] = parts;
            vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d))
        }))
    }

    #[inline(always)]
    fn zero(self) -> [int32x4_t; 4] {
        [registers!(vdupq_n_s32(0)); 4]
    }

    #[inline(always)]
    fn multiply_add(
        self,
        to: [int32x4_t; 4],
        a: [int32x4_t; 4],
        b: [int32x4_t; 4],
    ) -> [int32x4_t; 4] {
        registers!(each_register!(4; to, a, b; vmlaq_s32(to, a, b)))
    }

    #[inline(always)]
    fn store_bytes(self, x: uint8x16_t, to: &mut [i8; 16]) {
        arrays!(vst1q_s8(to.as_mut_ptr(), vreinterpretq_s8_u8(x)));
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; 16]) -> [int32x4_t; 4] {
        let from = parts!(4 of 4, from);
        arrays!(each_register!(4; from; vld1q_s32(from.as_ptr())))
    }

    #[inline(always)]
    fn to_floats(self, x: [int32x4_t; 4]) -> [float32x4_t; 4] {
        registers!(each_register!(4; x; vcvtq_f32_s32(x)))
    }
}
