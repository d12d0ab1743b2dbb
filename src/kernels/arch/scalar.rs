//! No vectors: any processor. Plain loops, from which the compiler may make what the target has.

use super::half::half;
use crate::kernels::simd::Simd;
use std::array::from_fn;

/// Any processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct Scalar;

/// Sixteen 16-bit numbers.
#[inline(always)]
fn load_16_bits(from: &[u8; 32]) -> [i32; 16] {
    let (halves, _) = from.as_chunks::<2>();
    from_fn(|l| i32::from(u16::from_le_bytes(halves[l])))
}

impl Simd for Scalar {
    type F = [f32; 16];
    type I = [i32; 16];
    type B = [u8; 16];
    type M = [bool; 16];

    const VECTORS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [f32; 16] {
        *from
    }

    #[inline(always)]
    fn store(self, x: [f32; 16], to: &mut [f32; 16]) {
        *to = x;
    }

    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|l| a[l] + b[l])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|l| a[l] - b[l])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|l| a[l] * b[l])
    }

    #[inline(always)]
    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|l| a[l] / b[l])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        from_fn(|l| a[l] * b[l] + c[l])
    }

    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }

    #[inline(always)]
    fn sum(self, x: [f32; 16]) -> f32 {
        let eight: [f32; 8] = from_fn(|l| x[l] + x[l + 8]);
        let four: [f32; 4] = from_fn(|l| eight[l] + eight[l + 4]);
        let two: [f32; 2] = from_fn(|l| four[l] + four[l + 2]);
        two[0] + two[1]
    }

    #[inline(always)]
    fn greater(self, a: [f32; 16], b: [f32; 16]) -> [bool; 16] {
        from_fn(|l| a[l] > b[l])
    }

    #[inline(always)]
    fn select(self, mask: [bool; 16], yes: [f32; 16], no: [f32; 16]) -> [f32; 16] {
        from_fn(|l| if mask[l] { yes[l] } else { no[l] })
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> [i32; 16] {
        [x; 16]
    }

    #[inline(always)]
    fn add_int(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        from_fn(|l| a[l].wrapping_add(b[l]))
    }

    #[inline(always)]
    fn and_int(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        from_fn(|l| a[l] & b[l])
    }

    #[inline(always)]
    fn or_int(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        from_fn(|l| a[l] | b[l])
    }

    #[inline(always)]
    fn shift_left_int<const N: u32>(self, x: [i32; 16]) -> [i32; 16] {
        from_fn(|l| x[l] << N)
    }

    #[inline(always)]
    fn shift_right_int<const N: u32>(self, x: [i32; 16]) -> [i32; 16] {
        from_fn(|l| x[l] >> N)
    }

    #[inline(always)]
    fn bits(self, x: [f32; 16]) -> [i32; 16] {
        from_fn(|l| x[l].to_bits() as i32)
    }

    #[inline(always)]
    fn of_bits(self, x: [i32; 16]) -> [f32; 16] {
        from_fn(|l| f32::from_bits(x[l] as u32))
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 64]) -> [f32; 16] {
        let (floats, _) = from.as_chunks::<4>();
        from_fn(|l| f32::from_le_bytes(floats[l]))
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 32]) -> [f32; 16] {
        half(self, load_16_bits(from))
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> [f32; 16] {
        [half(self, [i32::from(bits); 16])[0]; 16]
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 32]) -> [f32; 16] {
        self.of_bits(self.shift_left_int::<16>(load_16_bits(from)))
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; 16]) -> [u8; 16] {
        *from
    }

    #[inline(always)]
    fn splat_byte(self, x: u8) -> [u8; 16] {
        [x; 16]
    }

    #[inline(always)]
    fn and_bytes(self, a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        from_fn(|l| a[l] & b[l])
    }

    #[inline(always)]
    fn or_bytes(self, a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        from_fn(|l| a[l] | b[l])
    }

    #[inline(always)]
    fn sub_bytes(self, a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        from_fn(|l| a[l].wrapping_sub(b[l]))
    }

    #[inline(always)]
    fn equal_bytes(self, a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        from_fn(|l| if a[l] == b[l] { 0xff } else { 0 })
    }

    #[inline(always)]
    fn shift_right_bytes<const N: u32>(self, x: [u8; 16]) -> [u8; 16] {
        from_fn(|l| x[l] >> N)
    }

    #[inline(always)]
    fn shift_left_bytes<const N: u32>(self, x: [u8; 16]) -> [u8; 16] {
        from_fn(|l| x[l] << N)
    }

    #[inline(always)]
    fn look_up(self, table: [u8; 16], index: [u8; 16]) -> [u8; 16] {
        from_fn(|l| table[usize::from(index[l] & 15)])
    }

    #[inline(always)]
    fn unsigned(self, x: [u8; 16]) -> [f32; 16] {
        from_fn(|l| f32::from(x[l]))
    }

    #[inline(always)]
    fn signed(self, x: [u8; 16]) -> [f32; 16] {
        from_fn(|l| f32::from(x[l] as i8))
    }
}
