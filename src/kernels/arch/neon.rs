//! NEON: a vector is four registers. Half precision is converted by integers, for the type is not stable yet.

use super::half::half;
use super::neon_dotprod_integers::NeonDotprod;
use super::neon_integers::NeonIntegers;
use super::proof::proof;
use super::registers::{arrays, each_register, lanewise, parts, registers};
use crate::kernels::simd::Simd;
use std::arch::aarch64::*;

proof! {
    /// The proof that the processor has NEON.
    Neon, is_aarch64_feature_detected: "neon"
}

impl Neon {
    /// Whoever has these has this.
    #[inline(always)]
    pub(super) fn of_integers(_: NeonIntegers) -> Neon {
        Neon(())
    }

    /// Whoever has the dot product has this.
    #[inline(always)]
    pub(super) fn of_dotprod(_: NeonDotprod) -> Neon {
        Neon(())
    }

    /// Sixteen 16-bit numbers, as 32 bits.
    #[inline(always)]
    fn load_16_bits(self, from: &[u8; 32]) -> [int32x4_t; 4] {
        let from = parts!(4 of 8, from);
        let bits = arrays!(each_register!(4; from; vld1_u8(from.as_ptr())));
        registers!(
            each_register!(4; bits; vreinterpretq_s32_u32(vmovl_u16(vreinterpret_u16_u8(bits))))
        )
    }
}

impl Simd for Neon {
    type F = [float32x4_t; 4];
    type I = [int32x4_t; 4];
    type B = uint8x16_t;
    type M = [uint32x4_t; 4];

    const VECTORS: usize = 8;

    lanewise! { 4;
        fn add(a: F, b: F) -> F { vaddq_f32(a, b) }
        fn sub(a: F, b: F) -> F { vsubq_f32(a, b) }
        fn mul(a: F, b: F) -> F { vmulq_f32(a, b) }
        fn div(a: F, b: F) -> F { vdivq_f32(a, b) }
        fn mul_add(a: F, b: F, c: F) -> F { vfmaq_f32(c, a, b) }
        fn max(a: F, b: F) -> F { vmaxq_f32(a, b) }
        fn greater(a: F, b: F) -> M { vcgtq_f32(a, b) }
        fn select(mask: M, yes: F, no: F) -> F { vbslq_f32(mask, yes, no) }
        fn add_int(a: I, b: I) -> I { vaddq_s32(a, b) }
        fn and_int(a: I, b: I) -> I { vandq_s32(a, b) }
        fn or_int(a: I, b: I) -> I { vorrq_s32(a, b) }
        fn shift_left_int<const N: u32>(x: I) -> I { vshlq_s32(x, vdupq_n_s32(N as i32)) }
        fn shift_right_int<const N: u32>(x: I) -> I { vshlq_s32(x, vdupq_n_s32(-(N as i32))) }
        fn bits(x: F) -> I { vreinterpretq_s32_f32(x) }
        fn of_bits(x: I) -> F { vreinterpretq_f32_s32(x) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [float32x4_t; 4] {
        registers!([vdupq_n_f32(x); 4])
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> [int32x4_t; 4] {
        registers!([vdupq_n_s32(x); 4])
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [float32x4_t; 4] {
        let from = parts!(4 of 4, from);
        arrays!(each_register!(4; from; vld1q_f32(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, x: [float32x4_t; 4], to: &mut [f32; 16]) {
        let (to, _) = to.as_chunks_mut::<4>();
        arrays!(vst1q_f32(to[0].as_mut_ptr(), x[0]));
        arrays!(vst1q_f32(to[1].as_mut_ptr(), x[1]));
        arrays!(vst1q_f32(to[2].as_mut_ptr(), x[2]));
        arrays!(vst1q_f32(to[3].as_mut_ptr(), x[3]));
    }

    #[inline(always)]
    fn greatest(self, x: [float32x4_t; 4]) -> f32 {
        let [a, b, c, d] = x;
        registers!(vmaxvq_f32(vmaxq_f32(vmaxq_f32(a, b), vmaxq_f32(c, d))))
    }

    #[inline(always)]
    fn sum(self, x: [float32x4_t; 4]) -> f32 {
        registers!({
            let four = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vpadds_f32(two)
        })
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 64]) -> [float32x4_t; 4] {
        let from = parts!(4 of 16, from);
        arrays!(each_register!(4; from; vreinterpretq_f32_u8(vld1q_u8(from.as_ptr()))))
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 32]) -> [float32x4_t; 4] {
        half(self, self.load_16_bits(from))
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> [float32x4_t; 4] {
        half(self, self.splat_int(i32::from(bits)))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 32]) -> [float32x4_t; 4] {
        self.of_bits(self.shift_left_int::<16>(self.load_16_bits(from)))
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 16]) -> uint8x16_t {
        arrays!(vld1q_u8(from.as_ptr()))
    }

    #[inline(always)]
    fn splat_byte(self, x: u8) -> uint8x16_t {
        registers!(vdupq_n_u8(x))
    }

    #[inline(always)]
    fn and_bytes(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        registers!(vandq_u8(a, b))
    }

    #[inline(always)]
    fn or_bytes(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        registers!(vorrq_u8(a, b))
    }

    #[inline(always)]
    fn sub_bytes(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        registers!(vsubq_u8(a, b))
    }

    #[inline(always)]
    fn equal_bytes(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        registers!(vceqq_u8(a, b))
    }

    #[inline(always)]
    fn shift_right_bytes<const N: u32>(self, x: uint8x16_t) -> uint8x16_t {
        registers!(vshlq_u8(x, vdupq_n_s8(-(N as i8))))
    }

    #[inline(always)]
    fn shift_left_bytes<const N: u32>(self, x: uint8x16_t) -> uint8x16_t {
        registers!(vshlq_u8(x, vdupq_n_s8(N as i8)))
    }

    #[inline(always)]
    fn look_up(self, table: uint8x16_t, index: uint8x16_t) -> uint8x16_t {
        registers!(vqtbl1q_u8(table, index))
    }

    #[inline(always)]
    fn unsigned(self, x: uint8x16_t) -> [float32x4_t; 4] {
        registers!({
            let (low, high) = (vmovl_u8(vget_low_u8(x)), vmovl_u8(vget_high_u8(x)));
            let x = [
                vget_low_u16(low),
                vget_high_u16(low),
                vget_low_u16(high),
                vget_high_u16(high),
            ];
            each_register!(4; x; vcvtq_f32_u32(vmovl_u16(x)))
        })
    }

    #[inline(always)]
    fn signed(self, x: uint8x16_t) -> [float32x4_t; 4] {
        registers!({
            let x = vreinterpretq_s8_u8(x);
            let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_s8(vget_high_s8(x)));
            let x = [
                vget_low_s16(low),
                vget_high_s16(low),
                vget_low_s16(high),
                vget_high_s16(high),
            ];
            each_register!(4; x; vcvtq_f32_s32(vmovl_s16(x)))
        })
    }
}
