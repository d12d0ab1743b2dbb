//! WebAssembly's SIMD128: a vector is four registers. It fuses nothing and knows no half precision.
//!
//! A module is compiled with it or without it (`-C target-feature=+simd128`): there is nothing to look for at run time.

use super::half::half;
use super::registers::{arrays, each_register, lanewise, parts, registers};
use crate::kernels::simd::Simd;
use std::arch::wasm32::*;

/// This module is compiled with SIMD128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct Simd128;

impl Simd128 {
    /// Sixteen 16-bit numbers, as 32 bits.
    #[inline(always)]
    fn load_16_bits(self, from: &[u8; 32]) -> [v128; 4] {
        let from = parts!(4 of 8, from);
        arrays!(each_register!(4; from; u32x4_load_extend_u16x4(from.as_ptr().cast())))
    }
}

impl Simd for Simd128 {
    type F = [v128; 4];
    type I = [v128; 4];
    type B = v128;
    type M = [v128; 4];

    const VECTORS: usize = 4;

    lanewise! { 4;
        fn add(a: F, b: F) -> F { f32x4_add(a, b) }
        fn sub(a: F, b: F) -> F { f32x4_sub(a, b) }
        fn mul(a: F, b: F) -> F { f32x4_mul(a, b) }
        fn div(a: F, b: F) -> F { f32x4_div(a, b) }
        fn mul_add(a: F, b: F, c: F) -> F { f32x4_add(f32x4_mul(a, b), c) }
        fn max(a: F, b: F) -> F { f32x4_pmax(a, b) }
        fn greater(a: F, b: F) -> M { f32x4_gt(a, b) }
        fn select(mask: M, yes: F, no: F) -> F { v128_bitselect(yes, no, mask) }
        fn add_int(a: I, b: I) -> I { i32x4_add(a, b) }
        fn and_int(a: I, b: I) -> I { v128_and(a, b) }
        fn or_int(a: I, b: I) -> I { v128_or(a, b) }
        fn shift_left_int<const N: u32>(x: I) -> I { i32x4_shl(x, N) }
        fn shift_right_int<const N: u32>(x: I) -> I { i32x4_shr(x, N) }
    }

    #[inline(always)]
    fn bits(self, x: [v128; 4]) -> [v128; 4] {
        x
    }

    #[inline(always)]
    fn of_bits(self, x: [v128; 4]) -> [v128; 4] {
        x
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [v128; 4] {
        [f32x4_splat(x); 4]
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> [v128; 4] {
        [i32x4_splat(x); 4]
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [v128; 4] {
        let from = parts!(4 of 4, from);
        arrays!(each_register!(4; from; v128_load(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn store(self, x: [v128; 4], to: &mut [f32; 16]) {
        let (to, _) = to.as_chunks_mut::<4>();
        arrays!(v128_store(to[0].as_mut_ptr().cast(), x[0]));
        arrays!(v128_store(to[1].as_mut_ptr().cast(), x[1]));
        arrays!(v128_store(to[2].as_mut_ptr().cast(), x[2]));
        arrays!(v128_store(to[3].as_mut_ptr().cast(), x[3]));
    }

    #[inline(always)]
    fn sum(self, x: [v128; 4]) -> f32 {
        let four = f32x4_add(f32x4_add(x[0], x[2]), f32x4_add(x[1], x[3]));
        let two = f32x4_add(four, i32x4_shuffle::<2, 3, 0, 1>(four, four));
        f32x4_extract_lane::<0>(two) + f32x4_extract_lane::<1>(two)
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 64]) -> [v128; 4] {
        let from = parts!(4 of 16, from);
        arrays!(each_register!(4; from; v128_load(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 32]) -> [v128; 4] {
        half(self, self.load_16_bits(from))
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> [v128; 4] {
        half(self, self.splat_int(i32::from(bits)))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 32]) -> [v128; 4] {
        self.of_bits(self.shift_left_int::<16>(self.load_16_bits(from)))
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 16]) -> v128 {
        arrays!(v128_load(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn splat_byte(self, x: u8) -> v128 {
        u8x16_splat(x)
    }

    #[inline(always)]
    fn and_bytes(self, a: v128, b: v128) -> v128 {
        v128_and(a, b)
    }

    #[inline(always)]
    fn or_bytes(self, a: v128, b: v128) -> v128 {
        v128_or(a, b)
    }

    #[inline(always)]
    fn sub_bytes(self, a: v128, b: v128) -> v128 {
        u8x16_sub(a, b)
    }

    #[inline(always)]
    fn equal_bytes(self, a: v128, b: v128) -> v128 {
        u8x16_eq(a, b)
    }

    #[inline(always)]
    fn shift_right_bytes<const N: u32>(self, x: v128) -> v128 {
        u8x16_shr(x, N)
    }

    #[inline(always)]
    fn shift_left_bytes<const N: u32>(self, x: v128) -> v128 {
        u8x16_shl(x, N)
    }

    #[inline(always)]
    fn look_up(self, table: v128, index: v128) -> v128 {
        u8x16_swizzle(table, index)
    }

    #[inline(always)]
    fn unsigned(self, x: v128) -> [v128; 4] {
        let (low, high) = (u16x8_extend_low_u8x16(x), u16x8_extend_high_u8x16(x));
        let x = [
            u32x4_extend_low_u16x8(low),
            u32x4_extend_high_u16x8(low),
            u32x4_extend_low_u16x8(high),
            u32x4_extend_high_u16x8(high),
        ];
        registers!(each_register!(4; x; f32x4_convert_u32x4(x)))
    }

    #[inline(always)]
    fn signed(self, x: v128) -> [v128; 4] {
        let (low, high) = (i16x8_extend_low_i8x16(x), i16x8_extend_high_i8x16(x));
        let x = [
            i32x4_extend_low_i16x8(low),
            i32x4_extend_high_i16x8(low),
            i32x4_extend_low_i16x8(high),
            i32x4_extend_high_i16x8(high),
        ];
        registers!(each_register!(4; x; f32x4_convert_i32x4(x)))
    }
}
