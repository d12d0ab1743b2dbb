//! The formats of 32 elements: four blocks fill a vector with their first halves and one with their second ones.

use super::tiles_32::{TILE, Tile32, fill, tile_products};
use super::{Packed, packed};
use crate::kernels::eight_bit::activations::Activations;
use crate::kernels::eight_bit::integers::{FloatsOf, Integers, IntegersOf};
use crate::kernels::eight_bit::records::Record32;
use crate::kernels::eight_bit::single::{Column32, Halves, Single};
use crate::kernels::formats::{
    E2M1, IQ4_NL, MXFP4, NON_LINEAR, Q4_0, Q4_1, Q5_0, Q5_1, half_of_power,
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
    /// Whether the first sixteen bytes of a block are loaded with the quants.
    const HEAD: bool;

    fn quads<N: Integers>(n: N, blocks: [&[u8; B]; 4]) -> Quads<N>;
}

/// Of four blocks.
#[derive(Clone, Copy)]
pub(super) struct Quads<N: Integers> {
    /// The quants: the first halves, and the second ones.
    pub(super) halves: [N::Q; 2],
    /// The first sixteen bytes, where [`Blocks32::HEAD`] says so.
    head: N::Q,
}

impl<N: Integers> Quads<N> {
    #[inline(always)]
    pub(super) fn without_head(n: N, halves: [N::Q; 2]) -> Quads<N> {
        Quads {
            halves,
            head: n.splat(0),
        }
    }
}

/// `sums` times `factor`, a power of two.
#[inline(always)]
pub(super) fn times<N: Integers>(n: N, sums: &[i32; 16], factor: i32) -> IntegersOf<N> {
    let (simd, sums) = (n.floats(), n.load_integers(sums));
    match factor {
        8 => simd.shift_left_int::<3>(sums),
        16 => simd.shift_left_int::<4>(sums),
        _ => simd.shift_left_int::<7>(sums),
    }
}

/// See [`Packed::products`].
#[inline(always)]
fn products<N: Integers, T: Blocks32<B>, const B: usize>(
    n: N,
    blocks: &[[u8; B]; 16],
    column: &mut Column32<'_>,
) -> FloatsOf<N> {
    let (simd, x) = (n.floats(), column.next());
    let mut parts = [n.zero(); 4];
    let mut heads = [n.splat(0); 4];
    let (fours, _) = blocks.as_chunks::<4>();
    for (g, [a, b, c, d]) in fours.iter().enumerate() {
        let Quads { halves, head } = T::quads(n, [a, b, c, d]);
        heads[g] = head;
        for (quants, x) in halves.into_iter().zip(&x.quants[2 * g..]) {
            let x = n.load_signed(x);
            parts[g] = match T::QUANTS {
                Quants::Above(_) => n.dot(parts[g], quants, x),
                Quants::Signed => n.dot_signed(parts[g], quants, x),
            };
        }
    }
    let mut sums = n.sum_lanes(parts);
    let above = match T::QUANTS {
        Quants::Above(above) => above,
        Quants::Signed => N::BIAS,
    };
    if above != 0 {
        sums = simd.add_int(sums, times(n, &x.negative, above));
    }
    let scales = match T::SCALE {
        Scale::Half(at) => half::<N, T, B>(n, blocks, at, heads),
        Scale::Power(at) => {
            let mut scales = [0.0; 16];
            for (scale, block) in scales.iter_mut().zip(blocks) {
                *scale = half_of_power(block[at]);
            }
            simd.load(&scales)
        }
    };
    let (scales, sums) = (simd.mul(scales, simd.load(&x.scales)), n.to_floats(sums));
    match T::OFFSET {
        None => simd.mul(scales, sums),
        Some(at) => {
            let offsets = half::<N, T, B>(n, blocks, at, heads);
            simd.mul_add(scales, sums, simd.mul(offsets, simd.load(&x.sums)))
        }
    }
}

/// The half-precision number at `at` of each block.
#[inline(always)]
fn half<N: Integers, T: Blocks32<B>, const B: usize>(
    n: N,
    blocks: &[[u8; B]; 16],
    at: usize,
    heads: [N::Q; 4],
) -> FloatsOf<N> {
    match T::HEAD {
        true => n.halves_of_heads(blocks, at, heads),
        false => n.halves(blocks, at),
    }
}

macro_rules! blocks_32 {
    ($name:ident, $bytes:literal bytes, $quants:expr, scale $scale:expr, offset $offset:expr, $head:literal, |$n:ident, $blocks:ident| $decode:expr) => {
        impl Blocks32<$bytes> for $name {
            const QUANTS: Quants = $quants;
            const SCALE: Scale = $scale;
            const OFFSET: Option<usize> = $offset;
            const HEAD: bool = $head;

            #[inline(always)]
            fn quads<N: Integers>($n: N, $blocks: [&[u8; $bytes]; 4]) -> Quads<N> {
                $decode
            }
        }

        packed!($name, $bytes bytes, Column32, |x| x.column_32(Halves::Apart), Record32, records_32, Tile32,
            |n, blocks, column| products::<N, $name, $bytes>(n, blocks, column));
    };
}

/// Nibbles at `at`.
#[inline(always)]
fn nibbles<N: Integers, const B: usize>(n: N, blocks: [&[u8; B]; 4], at: usize) -> Quads<N> {
    Quads::without_head(n, n.nibbles(n.quarters(blocks, at)))
}

/// Nibbles at `AT + 4`, with the fifth bits at `AT`, two bytes of them for the first halves and two from `SECOND` on.
#[inline(always)]
fn five_bits<N: Integers, const B: usize, const AT: usize, const SECOND: usize>(
    n: N,
    blocks: [&[u8; B]; 4],
) -> Quads<N> {
    let head = n.quarters(blocks, 0);
    let [first, second] = n.nibbles(n.quarters(blocks, AT + 4));
    let halves = [
        n.add_where::<AT>(first, head, 16),
        n.add_where::<SECOND>(second, head, 16),
    ];
    Quads { halves, head }
}

/// The levels of a table that nibbles at `at` name.
#[inline(always)]
fn levels<N: Integers, const B: usize>(
    n: N,
    table: &[i8; 16],
    blocks: [&[u8; B]; 4],
    at: usize,
) -> Quads<N> {
    let [first, second] = n.nibbles(n.quarters(blocks, at));
    Quads::without_head(n, [n.look_up(table, first), n.look_up(table, second)])
}

blocks_32!(Q4_0, 18 bytes, Quants::Above(8), scale Scale::Half(0), offset None, false, |n, blocks| {
    nibbles(n, blocks, 2)
});

blocks_32!(Q4_1, 20 bytes, Quants::Above(0), scale Scale::Half(0), offset Some(2), false, |n, blocks| {
    nibbles(n, blocks, 4)
});

blocks_32!(Q5_0, 22 bytes, Quants::Above(16), scale Scale::Half(0), offset None, true, |n, blocks| {
    five_bits::<N, 22, 2, 4>(n, blocks)
});

blocks_32!(Q5_1, 24 bytes, Quants::Above(0), scale Scale::Half(0), offset Some(2), true, |n, blocks| {
    five_bits::<N, 24, 4, 6>(n, blocks)
});

blocks_32!(IQ4_NL, 18 bytes, Quants::Signed, scale Scale::Half(0), offset None, false, |n, blocks| {
    levels(n, &NON_LINEAR, blocks, 2)
});

blocks_32!(MXFP4, 17 bytes, Quants::Signed, scale Scale::Power(0), offset None, false, |n, blocks| {
    levels(n, &E2M1, blocks, 1)
});
