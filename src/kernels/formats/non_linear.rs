//! The formats whose nibbles mean levels of a table. Nibbles lie as in Q4_0.

use super::levels::{Levels, Times, each_lane, nibbles};
use super::{Format, STEP, Take, field, half, one_part};
use crate::kernels::simd::Simd;

/// Half `d`; nibbles: `d * level`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct IQ4_NL;

/// Half `d`; two high bits, then four low bits, of eight scales; nibbles: `d * (scale - 32) * level`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct IQ4_XS;

/// An exponent; nibbles: OCP Microscaling Formats 1.0, MXFP4.
#[derive(Debug)]
pub(in crate::kernels) struct MXFP4;

/// `kvalues_iq4nl` of ggml-common.h.
const NON_LINEAR: Levels = Levels::new([
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
]);

/// E2M1, doubled. Minus zero is zero, as ggml has it.
const E2M1: Levels = Levels::new([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]);

one_part!(IQ4_NL, 18 bytes, |simd, block| {
    let scale = Times(half(simd, block, 0));
    nibbles(simd, field(block, 2), &NON_LINEAR, scale, scale)
});

one_part!(MXFP4, 17 bytes, |simd, block| {
    // Half of 2^(e - 127), for the levels are doubled; the two least are denormal.
    let exponent = u32::from(block[0]);
    let bits = match exponent {
        0 | 1 => 0x20_0000 << exponent,
        _ => (exponent - 1) << 23,
    };
    let scale = Times(simd.splat(f32::from_bits(bits)));
    nibbles(simd, field(block, 1), &E2M1, scale, scale)
});

impl Format for IQ4_XS {
    type Unit = u8;
    type Block = [u8; 136];
    type Scales = [f32; 16];
    const ELEMENTS: usize = 256;

    #[inline(always)]
    fn scales<S: Simd>(simd: S, block: &[u8; 136]) -> [f32; 16] {
        // Eight pairs of bits and eight nibbles, each moved to a byte of its own.
        let mut high = u64::from(u16::from_le_bytes(*field(block, 2)));
        high = (high | high << 24) & 0x0000_00ff_0000_00ff;
        high = (high | high << 12) & 0x000f_000f_000f_000f;
        high = (high | high << 6) & 0x0303_0303_0303_0303;
        let mut low = u64::from(u32::from_le_bytes(*field(block, 4)));
        low = (low | low << 16) & 0x0000_ffff_0000_ffff;
        low = (low | low << 8) & 0x00ff_00ff_00ff_00ff;
        low = (low | low << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let scales = u128::from(low | high << 4).to_le_bytes();
        let scales = simd.sub_bytes(simd.load_bytes(&scales), simd.splat_byte(32));
        each_lane(simd, simd.mul(half(simd, block, 0), simd.signed(scales)))
    }

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &[u8; 136], scales: &[f32; 16], to: &mut impl Take<S>) {
        let (quants, _) = block[8..].as_chunks::<16>();
        for (part, (quants, &scale)) in quants.iter().zip(scales).enumerate() {
            let scale = Times(simd.splat(scale));
            to.take(part, nibbles(simd, quants, &NON_LINEAR, scale, scale));
        }
    }
}
