//! The formats of 32 elements: four blocks fill a vector with their first halves and one with their second ones.

use super::Packed;
use crate::kernels::eight_bit::activations::{Activations, Chunk32};
use crate::kernels::eight_bit::integers::{FloatsOf, Integers, IntegersOf};
use crate::kernels::formats::{
    E2M1, IQ4_NL, MXFP4, NON_LINEAR, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, field, half_of_power,
};
use crate::kernels::simd::Simd;

/// What is to be known of the quants.
#[derive(Clone, Copy, PartialEq)]
enum Quants {
    /// 0 to 127, each this much more than it means.
    Above(i32),
    /// -128 to 127, as they are meant.
    Signed,
}

trait Blocks32 {
    type Block: Copy;
    const QUANTS: Quants;
    /// Where a half-precision offset is, if there is one.
    const OFFSET: Option<usize>;

    /// The quants of four blocks: the first halves, the second ones.
    fn quants<N: Integers>(n: N, blocks: &[Self::Block; 4]) -> [N::Q; 2];
    fn scales<N: Integers>(n: N, blocks: &[Self::Block; 16]) -> FloatsOf<N>;
    fn offsets<N: Integers>(n: N, blocks: &[Self::Block; 16]) -> FloatsOf<N>;
}

/// `sums` times `factor`, a power of two.
#[inline(always)]
fn times<N: Integers>(n: N, sums: &[i32; 16], factor: i32) -> IntegersOf<N> {
    let (simd, sums) = (n.floats(), n.load_integers(sums));
    match factor {
        8 => simd.shift_left_int::<3>(sums),
        16 => simd.shift_left_int::<4>(sums),
        _ => simd.shift_left_int::<7>(sums),
    }
}

/// The sums of the blocks' products.
#[inline(always)]
fn sums<N: Integers, T: Blocks32>(
    n: N,
    weights: &[[N::Q; 2]; 4],
    x: &Chunk32<'_>,
) -> IntegersOf<N> {
    let mut parts = [n.zero(); 4];
    for ((part, weights), x) in parts.iter_mut().zip(weights).zip(x.quants) {
        for (&weights, x) in weights.iter().zip(&x.0) {
            let x = n.load_signed(x);
            *part = match T::QUANTS {
                Quants::Above(_) => n.dot(*part, weights, x),
                Quants::Signed => n.dot_signed(*part, weights, x),
            };
        }
    }
    let sums = n.sum_lanes(parts);
    let above = match T::QUANTS {
        Quants::Above(above) => above,
        Quants::Signed => N::BIAS,
    };
    match above {
        0 => sums,
        _ => n.floats().add_int(sums, times(n, x.negative, above)),
    }
}

/// See [`Packed::products`].
#[inline(always)]
fn products<N: Integers, T: Blocks32, const C: usize>(
    n: N,
    blocks: &[T::Block; 16],
    x: &Activations,
    column: usize,
    at: usize,
) -> [FloatsOf<N>; C] {
    let simd = n.floats();
    let (fours, _) = blocks.as_chunks::<4>();
    let mut weights = [[n.splat(0); 2]; 4];
    for (weights, blocks) in weights.iter_mut().zip(fours) {
        *weights = T::quants(n, blocks);
    }
    let scales = T::scales(n, blocks);
    let mut products = [simd.splat(0.0); C];
    for (c, product) in products.iter_mut().enumerate() {
        let x = x.chunk_32(column + c, at);
        let sums = n.to_floats(sums::<N, T>(n, &weights, &x));
        let scales = simd.mul(scales, simd.load(x.scales));
        *product = match T::OFFSET {
            None => simd.mul(scales, sums),
            Some(_) => {
                let offsets = simd.mul(T::offsets(n, blocks), simd.load(x.sums));
                simd.mul_add(scales, sums, offsets)
            }
        };
    }
    products
}

macro_rules! blocks_32 {
    ($name:ident, $bytes:literal bytes, $quants:expr, offset $offset:expr, |$n:ident, $blocks:ident| $decode:expr) => {
        blocks_32!($name, $bytes bytes, $quants, offset $offset, |$n, $blocks| $decode,
            |n, blocks| n.halves(blocks, 0));
    };
    ($name:ident, $bytes:literal bytes, $quants:expr, offset $offset:expr, |$n:ident, $blocks:ident| $decode:expr,
        |$m:ident, $sixteen:ident| $scales:expr) => {
        impl Blocks32 for $name {
            type Block = [u8; $bytes];
            const QUANTS: Quants = $quants;
            const OFFSET: Option<usize> = $offset;

            #[inline(always)]
            fn quants<N: Integers>($n: N, $blocks: &[[u8; $bytes]; 4]) -> [N::Q; 2] {
                $decode
            }

            #[inline(always)]
            fn scales<N: Integers>($m: N, $sixteen: &[[u8; $bytes]; 16]) -> FloatsOf<N> {
                $scales
            }

            #[inline(always)]
            fn offsets<N: Integers>(n: N, blocks: &[[u8; $bytes]; 16]) -> FloatsOf<N> {
                n.halves(blocks, const { match $offset { Some(at) => at, None => 0usize } })
            }
        }

        impl Packed for $name {
            type Block = [u8; $bytes];
            const NOTHING: [u8; $bytes] = [0; $bytes];

            #[inline(always)]
            fn split(bytes: &[u8]) -> (&[[u8; $bytes]], &[u8]) {
                bytes.as_chunks()
            }

            #[inline(always)]
            fn products<N: Integers, const C: usize>(
                n: N,
                blocks: &[[u8; $bytes]; 16],
                x: &Activations,
                column: usize,
                at: usize,
            ) -> [FloatsOf<N>; C] {
                products::<N, $name, C>(n, blocks, x, column, at)
            }
        }
    };
}

/// Sixteen bytes at `at` of each block.
#[inline(always)]
fn sixteens<N: Integers, const B: usize>(n: N, blocks: &[[u8; B]; 4], at: usize) -> N::Q {
    n.quarters([
        field(&blocks[0], at),
        field(&blocks[1], at),
        field(&blocks[2], at),
        field(&blocks[3], at),
    ])
}

/// Nibbles at `at + 4`, with the fifth bits at `at`.
#[inline(always)]
fn five_bits<N: Integers, const B: usize>(n: N, blocks: &[[u8; B]; 4], at: usize) -> [N::Q; 2] {
    let (mut low, mut high) = (0, 0);
    for (k, block) in blocks.iter().enumerate() {
        let bits = u64::from(u32::from_le_bytes(*field(block, at)));
        low |= (bits & 0xffff) << (16 * k);
        high |= (bits >> 16) << (16 * k);
    }
    let [first, second] = n.nibbles(sixteens(n, blocks, at + 4));
    [n.add_where(first, low, 16), n.add_where(second, high, 16)]
}

/// The levels of a table that nibbles at `at` name.
#[inline(always)]
fn levels<N: Integers, const B: usize>(
    n: N,
    table: &[i8; 16],
    blocks: &[[u8; B]; 4],
    at: usize,
) -> [N::Q; 2] {
    let [first, second] = n.nibbles(sixteens(n, blocks, at));
    [n.look_up(table, first), n.look_up(table, second)]
}

blocks_32!(Q4_0, 18 bytes, Quants::Above(8), offset None, |n, blocks| {
    n.nibbles(sixteens(n, blocks, 2))
});

blocks_32!(Q4_1, 20 bytes, Quants::Above(0), offset Some(2), |n, blocks| {
    n.nibbles(sixteens(n, blocks, 4))
});

blocks_32!(Q5_0, 22 bytes, Quants::Above(16), offset None, |n, blocks| {
    five_bits(n, blocks, 2)
});

blocks_32!(Q5_1, 24 bytes, Quants::Above(0), offset Some(2), |n, blocks| {
    five_bits(n, blocks, 4)
});

blocks_32!(Q8_0, 34 bytes, Quants::Signed, offset None, |n, blocks| {
    [sixteens(n, blocks, 2), sixteens(n, blocks, 18)]
});

blocks_32!(IQ4_NL, 18 bytes, Quants::Signed, offset None, |n, blocks| {
    levels(n, &NON_LINEAR, blocks, 2)
});

blocks_32!(
    MXFP4,
    17 bytes,
    Quants::Signed,
    offset None,
    |n, blocks| levels(n, &E2M1, blocks, 1),
    |n, blocks| {
        let mut scales = [0.0; 16];
        for (scale, block) in scales.iter_mut().zip(blocks) {
            *scale = half_of_power(block[0]);
        }
        n.floats().load(&scales)
    }
);
