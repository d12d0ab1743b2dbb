//! The formats of 32 elements: nibbles, nibbles with a fifth bit, bytes. All with a scale, `_1` with an offset too.
//!
//! Byte `j` of the nibbles has element `j` below and element `j + 16` above; bit `i` of the fifth bits is element `i`'s
//! (`block_q4_0` and its neighbours in ggml-common.h).

use super::levels::{Levels, PLAIN, Scale, Times, TimesPlus, nibbles};
use super::{Format, STEP, Take, field, half, one_part};
use crate::kernels::simd::Simd;

/// Half `d`; nibbles: `d * (q - 8)`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q4_0;

/// Halves `d`, `m`; nibbles: `d * q + m`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q4_1;

/// Half `d`; fifth bits; nibbles: `d * (q - 16)`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q5_0;

/// Halves `d`, `m`; fifth bits; nibbles: `d * q + m`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q5_1;

/// Half `d`; signed bytes: `d * q`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q8_0;

const AROUND_ZERO: Levels = Levels::new([-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7]);

/// Nibbles, with the bits `fifth` in those whose bit of `bits` is set.
#[inline(always)]
fn with_fifth_bits<S: Simd>(simd: S, nibbles: &[u8; 16], bits: u32, fifth: u8) -> [S::B; 2] {
    let nibbles = simd.load_bytes(nibbles);
    let fifth = simd.splat_byte(fifth);
    let low = simd.and_bytes(simd.bytes_of_bits(bits as u16), fifth);
    let high = simd.and_bytes(simd.bytes_of_bits((bits >> 16) as u16), fifth);
    [
        simd.or_bytes(simd.and_bytes(nibbles, simd.splat_byte(15)), low),
        simd.or_bytes(simd.shift_right_bytes::<4>(nibbles), high),
    ]
}

one_part!(Q4_0, 18 bytes, |simd, block| {
    let scale = Times(half(simd, block, 0));
    nibbles(simd, field(block, 2), &AROUND_ZERO, scale, scale)
});

one_part!(Q4_1, 20 bytes, |simd, block| {
    let scale = TimesPlus(half(simd, block, 0), half(simd, block, 2));
    nibbles(simd, field(block, 4), &PLAIN, scale, scale)
});

one_part!(Q5_0, 22 bytes, |simd, block| {
    let scale = Times(half(simd, block, 0));
    let bits = u32::from_le_bytes(*field(block, 2));
    // A nibble less 16 is the signed byte with these bits above it, which fall away where the fifth bit is set.
    let [low, high] = with_fifth_bits(simd, field(block, 6), !bits, 0xf0);
    let low = scale.element(simd, simd.signed(low));
    [low, scale.element(simd, simd.signed(high))]
});

one_part!(Q5_1, 24 bytes, |simd, block| {
    let scale = TimesPlus(half(simd, block, 0), half(simd, block, 2));
    let bits = u32::from_le_bytes(*field(block, 4));
    let [low, high] = with_fifth_bits(simd, field(block, 8), bits, 0x10);
    let low = scale.element(simd, simd.unsigned(low));
    [low, scale.element(simd, simd.unsigned(high))]
});

one_part!(Q8_0, 34 bytes, |simd, block| {
    let scale = Times(half(simd, block, 0));
    let low = simd.signed(simd.load_bytes(field(block, 2)));
    let high = simd.signed(simd.load_bytes(field(block, 18)));
    [scale.element(simd, low), scale.element(simd, high)]
});
