//! The K formats: 256 elements in parts of 16 or 32, each with a scale of 4, 6 or 8 bits that a half of the block scales.
//!
//! Layouts: `block_q2_K` to `block_q6_K` in ggml-common.h. Where a byte has several elements, its lowest bits are the
//! first one's, and the next ones those of the element 32 (in the nibbles of Q6_K, 64) further on.

use super::levels::{PLAIN, Scale, Times, TimesMinus, each_lane, move_up, nibbles};
use super::{Format, Take, field, half};
use crate::kernels::simd::Simd;

/// Sixteen bytes, scale below and offset above; two bits; halves `d`, `dmin`: `d * scale * q - dmin * offset`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q2_K;

/// Third bits; two bits; sixteen six-bit scales; half `d`: `d * (scale - 32) * (q - 4)`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q3_K;

/// Halves `d`, `dmin`; eight six-bit scales and offsets; nibbles: `d * scale * q - dmin * offset`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q4_K;

/// As Q4_K, with fifth bits before the nibbles.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q5_K;

/// Nibbles; fifth and sixth bits; sixteen signed bytes; half `d`: `d * scale * (q - 32)`.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub(in crate::kernels) struct Q6_K;

/// `d * scale` and `dmin * offset` of each part.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::kernels) struct Parts {
    scales: [f32; 16],
    offsets: [f32; 16],
}

impl Parts {
    /// Those of Q4_K and Q5_K; the offsets are in lanes 8 and up.
    #[inline(always)]
    fn of_32<S: Simd>(simd: S, block: &[u8]) -> Parts {
        const SIX: u32 = 0x3f3f_3f3f;
        const FOUR: u32 = 0x0f0f_0f0f;
        const TWO: u32 = 0x3030_3030;
        // Four bytes with the first four scales, four with the first four offsets, four with the low bits of the
        // others, whose two high bits are above the first ones.
        let a = u32::from_le_bytes(*field(block, 4));
        let b = u32::from_le_bytes(*field(block, 8));
        let c = u32::from_le_bytes(*field(block, 12));
        let scales = u64::from(a & SIX) | u64::from((c & FOUR) | (a >> 2 & TWO)) << 32;
        let offsets = u64::from(b & SIX) | u64::from((c >> 4 & FOUR) | (b >> 2 & TWO)) << 32;
        let all = u128::from(scales) | u128::from(offsets) << 64;
        let all = simd.load_bytes(&all.to_le_bytes());
        let all = simd.unsigned(all);
        Parts {
            scales: each_lane(simd, simd.mul(half(simd, block, 0), all)),
            offsets: each_lane(simd, simd.mul(half(simd, block, 2), all)),
        }
    }

    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, scale: usize, offset: usize) -> TimesMinus<S::F> {
        TimesMinus(
            simd.splat(self.scales[scale]),
            simd.splat(self.offsets[offset]),
        )
    }
}

impl Format for Q4_K {
    type Unit = u8;
    type Block = [u8; 144];
    type Scales = Parts;
    const ELEMENTS: usize = 256;

    #[inline(always)]
    fn scales<S: Simd>(simd: S, block: &[u8; 144]) -> Parts {
        Parts::of_32(simd, block)
    }

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &[u8; 144], scales: &Parts, to: &mut impl Take<S>) {
        for pair in 0..4 {
            let low = scales.of(simd, 2 * pair, 8 + 2 * pair);
            let high = scales.of(simd, 2 * pair + 1, 9 + 2 * pair);
            let first = nibbles(simd, field(block, 16 + 32 * pair), &PLAIN, low, high);
            let second = nibbles(simd, field(block, 32 + 32 * pair), &PLAIN, low, high);
            to.take(2 * pair, [first[0], second[0]]);
            to.take(2 * pair + 1, [first[1], second[1]]);
        }
    }
}

/// The nibbles of sixteen bytes.
#[inline(always)]
fn nibbles_of<S: Simd>(simd: S, bytes: &[u8; 16], high: bool) -> S::B {
    let bytes = simd.load_bytes(bytes);
    if high {
        simd.shift_right_bytes::<4>(bytes)
    } else {
        simd.and_bytes(bytes, simd.splat_byte(15))
    }
}

/// Of sixteen bytes the bits `mask`, once moved up by `up`.
#[inline(always)]
fn bits_of<S: Simd>(simd: S, bytes: &[u8; 16], up: i32, mask: u8) -> S::B {
    let bytes = move_up(simd, simd.load_bytes(bytes), up);
    simd.and_bytes(bytes, simd.splat_byte(mask))
}

/// A format of 256 elements, whose eight parts are decoded one by one: how far bits are moved is then a constant. Not a
/// closure, though it looks like one: it becomes the body of `scales`.
macro_rules! eight_parts {
    ($name:ident, $bytes:literal bytes, $Scales:ty, |$simd:ident, $block:ident| $scales:expr) => {
        impl Format for $name {
            type Unit = u8;
            type Block = [u8; $bytes];
            type Scales = $Scales;
            const ELEMENTS: usize = 256;

            #[inline(always)]
            fn scales<S: Simd>($simd: S, $block: &Self::Block) -> $Scales {
                $scales
            }

            #[inline(always)]
            fn decode<S: Simd>(
                simd: S,
                block: &Self::Block,
                scales: &$Scales,
                to: &mut impl Take<S>,
            ) {
                $name::part(simd, block, 0, scales, to);
                $name::part(simd, block, 1, scales, to);
                $name::part(simd, block, 2, scales, to);
                $name::part(simd, block, 3, scales, to);
                $name::part(simd, block, 4, scales, to);
                $name::part(simd, block, 5, scales, to);
                $name::part(simd, block, 6, scales, to);
                $name::part(simd, block, 7, scales, to);
            }
        }
    };
}

impl Q5_K {
    #[inline(always)]
    fn part<S: Simd>(simd: S, block: &[u8], part: usize, parts: &Parts, to: &mut impl Take<S>) {
        let scale = parts.of(simd, part, 8 + part);
        let mut elements = [simd.splat(0.0); 2];
        for (v, element) in elements.iter_mut().enumerate() {
            let quants = field(block, 48 + 32 * (part / 2) + 16 * v);
            let quants = nibbles_of(simd, quants, part % 2 == 1);
            let fifth = bits_of(simd, field(block, 16 + 16 * v), 4 - part as i32, 0x10);
            *element = scale.element(simd, simd.unsigned(simd.or_bytes(quants, fifth)));
        }
        to.take(part, elements);
    }
}

eight_parts!(Q5_K, 176 bytes, Parts, |simd, block| Parts::of_32(simd, block));

impl Q6_K {
    #[inline(always)]
    fn part<S: Simd>(
        simd: S,
        block: &[u8],
        part: usize,
        scales: &[f32; 16],
        to: &mut impl Take<S>,
    ) {
        let (half, quarter) = (part / 4, part % 4);
        let mut elements = [simd.splat(0.0); 2];
        for (v, element) in elements.iter_mut().enumerate() {
            let low = field(block, 64 * half + 32 * (quarter % 2) + 16 * v);
            let low = nibbles_of(simd, low, quarter >= 2);
            let high = field(block, 128 + 32 * half + 16 * v);
            let high = bits_of(simd, high, 4 - 2 * quarter as i32, 0x30);
            let level = simd.sub_bytes(simd.or_bytes(low, high), simd.splat_byte(32));
            let scale = Times(simd.splat(scales[2 * part + v]));
            *element = scale.element(simd, simd.signed(level));
        }
        to.take(part, elements);
    }
}

eight_parts!(Q6_K, 210 bytes, [f32; 16], |simd, block| {
    let scales = simd.signed(simd.load_bytes(field(block, 192)));
    each_lane(simd, simd.mul(half(simd, block, 208), scales))
});

impl Q2_K {
    #[inline(always)]
    fn part<S: Simd>(simd: S, block: &[u8], part: usize, parts: &Parts, to: &mut impl Take<S>) {
        let (half, quarter) = (part / 4, part % 4);
        let mut elements = [simd.splat(0.0); 2];
        for (v, element) in elements.iter_mut().enumerate() {
            let quants = field(block, 16 + 32 * half + 16 * v);
            let level = bits_of(simd, quants, -2 * quarter as i32, 3);
            let scale = parts.of(simd, 2 * part + v, 2 * part + v);
            *element = scale.element(simd, simd.unsigned(level));
        }
        to.take(part, elements);
    }
}

eight_parts!(Q2_K, 84 bytes, Parts, |simd, block| {
    let scales = simd.unsigned(nibbles_of(simd, field(block, 0), false));
    let offsets = simd.unsigned(nibbles_of(simd, field(block, 0), true));
    Parts {
        scales: each_lane(simd, simd.mul(half(simd, block, 80), scales)),
        offsets: each_lane(simd, simd.mul(half(simd, block, 82), offsets)),
    }
});

impl Q3_K {
    #[inline(always)]
    fn part<S: Simd>(
        simd: S,
        block: &[u8],
        part: usize,
        scales: &[f32; 16],
        to: &mut impl Take<S>,
    ) {
        let (half, quarter) = (part / 4, part % 4);
        let mut elements = [simd.splat(0.0); 2];
        for (v, element) in elements.iter_mut().enumerate() {
            let quants = field(block, 32 + 32 * half + 16 * v);
            let low = bits_of(simd, quants, -2 * quarter as i32, 3);
            let third = bits_of(simd, field(block, 16 * v), 2 - part as i32, 4);
            let level = simd.sub_bytes(simd.or_bytes(low, third), simd.splat_byte(4));
            let scale = Times(simd.splat(scales[2 * part + v]));
            *element = scale.element(simd, simd.signed(level));
        }
        to.take(part, elements);
    }

    /// The sixteen scales: low nibbles of the first eight, which are high nibbles of the others; then, from four bytes,
    /// two high bits of each four.
    #[inline(always)]
    fn six_bits<S: Simd>(simd: S, block: &[u8]) -> S::B {
        const FOUR: u64 = 0x0f0f_0f0f_0f0f_0f0f;
        const TWO: u32 = 0x0303_0303;
        let low = u64::from_le_bytes(*field(block, 96));
        let high = u32::from_le_bytes(*field(block, 104));
        // The first four's bits in the lower half.
        let first = u64::from(high & TWO) | u64::from(high >> 2 & TWO) << 32;
        let second = u64::from(high >> 4 & TWO) | u64::from(high >> 6 & TWO) << 32;
        let (first, second) = (low & FOUR | first << 4, low >> 4 & FOUR | second << 4);
        let scales = u128::from(first) | u128::from(second) << 64;
        simd.sub_bytes(simd.load_bytes(&scales.to_le_bytes()), simd.splat_byte(32))
    }
}

eight_parts!(Q3_K, 110 bytes, [f32; 16], |simd, block| {
    let scales = simd.signed(Q3_K::six_bits(simd, block));
    each_lane(simd, simd.mul(half(simd, block, 108), scales))
});
