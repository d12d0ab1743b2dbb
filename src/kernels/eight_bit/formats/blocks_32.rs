//! The formats of 32 elements: four blocks fill a vector with their first halves and one with their second ones.

use super::tiles_32::{TILE, Tile32, fill, tile_products};
use super::{Packed, packed};
use crate::kernels::eight_bit::activations::Activations;
use crate::kernels::eight_bit::integers::{FloatsOf, Integers, IntegersOf};
use crate::kernels::eight_bit::records::Record32;
use crate::kernels::eight_bit::single::{Chunk32, Column32, Single};
use crate::kernels::formats::{
    E2M1, IQ4_NL, MXFP4, NON_LINEAR, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, field, half_of_power,
};
use crate::kernels::simd::Simd;

/// What is to be known of the quants.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Quants {
    /// 0 to 127, each this much more than it means.
    Above(i32),
    /// -128 to 127, as they are meant.
    Signed,
}

/// How a block's scale is written, and where.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    /// In half precision.
    Half(usize),
    /// As half a power of two.
    Power(usize),
}

pub(super) trait Blocks32<const B: usize> {
    const QUANTS: Quants;
    const SCALE: Scale;
    /// Where a half-precision offset is, if there is one.
    const OFFSET: Option<usize>;

    /// The quants of four blocks: the first halves and the second ones; but where [`plain`] says so the first two blocks
    /// and the others.
    fn quants<N: Integers>(n: N, blocks: [&[u8; B]; 4]) -> [N::Q; 2];
}

/// Whether the quants of two blocks come at a time, as they are.
pub(super) const fn plain(block_bytes: usize) -> bool {
    block_bytes > 32
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

#[inline(always)]
fn dot<N: Integers, T: Blocks32<B>, const B: usize>(
    n: N,
    to: IntegersOf<N>,
    weights: N::Q,
    x: &[i8; 64],
) -> IntegersOf<N> {
    let x = n.load_signed(x);
    match T::QUANTS {
        Quants::Above(_) => n.dot(to, weights, x),
        Quants::Signed => n.dot_signed(to, weights, x),
    }
}

/// The sums of the blocks' products.
#[inline(always)]
fn sums<N: Integers, T: Blocks32<B>, const B: usize>(
    n: N,
    weights: &[[N::Q; 2]; 4],
    x: &Chunk32<'_>,
) -> IntegersOf<N> {
    let mut parts = [n.zero(); 4];
    for (g, part) in parts.iter_mut().enumerate() {
        let [first, second] = weights[g];
        if plain(B) {
            *part = n.sum_halves([
                dot::<N, T, B>(n, n.zero(), first, &x.plain[2 * g]),
                dot::<N, T, B>(n, n.zero(), second, &x.plain[2 * g + 1]),
            ]);
        } else {
            let sum = dot::<N, T, B>(n, n.zero(), first, &x.quants[g].0[0]);
            *part = dot::<N, T, B>(n, sum, second, &x.quants[g].0[1]);
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
fn products<N: Integers, T: Blocks32<B>, const B: usize>(
    n: N,
    blocks: &[[u8; B]; 16],
    column: &Column32<'_>,
    at: usize,
) -> FloatsOf<N> {
    let simd = n.floats();
    let (fours, _) = blocks.as_chunks::<4>();
    let mut weights = [[n.splat(0); 2]; 4];
    for (weights, [a, b, c, d]) in weights.iter_mut().zip(fours) {
        *weights = T::quants(n, [a, b, c, d]);
    }
    let scales = match T::SCALE {
        Scale::Half(at) => n.halves(blocks, at),
        Scale::Power(at) => {
            let mut scales = [0.0; 16];
            for (scale, block) in scales.iter_mut().zip(blocks) {
                *scale = half_of_power(block[at]);
            }
            simd.load(&scales)
        }
    };
    let x = column.chunk(at);
    let sums = n.to_floats(sums::<N, T, B>(n, &weights, &x));
    let scales = simd.mul(scales, simd.load(x.scales));
    match T::OFFSET {
        None => simd.mul(scales, sums),
        Some(offset) => {
            let offsets = simd.mul(n.halves(blocks, offset), simd.load(x.sums));
            simd.mul_add(scales, sums, offsets)
        }
    }
}

macro_rules! blocks_32 {
    ($name:ident, $bytes:literal bytes, $quants:expr, scale $scale:expr, offset $offset:expr, |$n:ident, $blocks:ident| $decode:expr) => {
        impl Blocks32<$bytes> for $name {
            const QUANTS: Quants = $quants;
            const SCALE: Scale = $scale;
            const OFFSET: Option<usize> = $offset;

            #[inline(always)]
            fn quants<N: Integers>($n: N, $blocks: [&[u8; $bytes]; 4]) -> [N::Q; 2] {
                $decode
            }
        }

        packed!($name, $bytes bytes, Column32, |x| x.column_32(), Record32, records_32, Tile32);
    };
}

/// Nibbles at `at + 4`, with the fifth bits at `at`.
#[inline(always)]
fn five_bits<N: Integers, const B: usize>(n: N, blocks: [&[u8; B]; 4], at: usize) -> [N::Q; 2] {
    let bits = n.quarters(blocks, at);
    let [first, second] = n.nibbles(n.quarters(blocks, at + 4));
    [
        n.add_where::<0>(first, bits, 16),
        n.add_where::<2>(second, bits, 16),
    ]
}

/// The levels of a table that nibbles at `at` name.
#[inline(always)]
fn levels<N: Integers, const B: usize>(
    n: N,
    table: &[i8; 16],
    blocks: [&[u8; B]; 4],
    at: usize,
) -> [N::Q; 2] {
    let [first, second] = n.nibbles(n.quarters(blocks, at));
    [n.look_up(table, first), n.look_up(table, second)]
}

blocks_32!(Q4_0, 18 bytes, Quants::Above(8), scale Scale::Half(0), offset None, |n, blocks| {
    n.nibbles(n.quarters(blocks, 2))
});

blocks_32!(Q4_1, 20 bytes, Quants::Above(0), scale Scale::Half(0), offset Some(2), |n, blocks| {
    n.nibbles(n.quarters(blocks, 4))
});

blocks_32!(Q5_0, 22 bytes, Quants::Above(16), scale Scale::Half(0), offset None, |n, blocks| {
    five_bits(n, blocks, 2)
});

blocks_32!(Q5_1, 24 bytes, Quants::Above(0), scale Scale::Half(0), offset Some(2), |n, blocks| {
    five_bits(n, blocks, 4)
});

blocks_32!(Q8_0, 34 bytes, Quants::Signed, scale Scale::Half(0), offset None, |n, blocks| {
    let [a, b, c, d] = blocks;
    [n.halves_of([field(a, 2), field(b, 2)]), n.halves_of([field(c, 2), field(d, 2)])]
});

blocks_32!(IQ4_NL, 18 bytes, Quants::Signed, scale Scale::Half(0), offset None, |n, blocks| {
    levels(n, &NON_LINEAR, blocks, 2)
});

blocks_32!(MXFP4, 17 bytes, Quants::Signed, scale Scale::Power(0), offset None, |n, blocks| {
    levels(n, &E2M1, blocks, 1)
});
