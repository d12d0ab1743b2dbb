//! The formats of 32 elements: four blocks fill a vector with their first halves and one with their second ones.

use super::Packed;
use crate::kernels::eight_bit::activations::{Activations, Chunk32, Column32};
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
    /// The quants of two blocks at a time, as they come.
    const PLAIN: bool;

    /// The quants of four blocks: the first halves and the second ones, or the first two blocks and the others.
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

#[inline(always)]
fn dot<N: Integers, T: Blocks32>(
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
fn sums<N: Integers, T: Blocks32>(
    n: N,
    weights: &[[N::Q; 2]; 4],
    x: &Chunk32<'_>,
) -> IntegersOf<N> {
    let mut parts = [n.zero(); 4];
    for (g, part) in parts.iter_mut().enumerate() {
        let [first, second] = weights[g];
        if T::PLAIN {
            *part = n.sum_halves([
                dot::<N, T>(n, n.zero(), first, &x.plain[2 * g]),
                dot::<N, T>(n, n.zero(), second, &x.plain[2 * g + 1]),
            ]);
        } else {
            let sum = dot::<N, T>(n, n.zero(), first, &x.quants[g].0[0]);
            *part = dot::<N, T>(n, sum, second, &x.quants[g].0[1]);
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
    columns: &[Column32<'_>; C],
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
        let x = columns[c].chunk(at);
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
            const PLAIN: bool = size_of::<Self::Block>() > 32;

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

            type Column<'x> = Column32<'x>;

            fn column(x: &Activations, column: usize) -> Column32<'_> {
                x.column_32(column)
            }

            #[inline(always)]
            fn products<N: Integers, const C: usize>(
                n: N,
                blocks: &[[u8; $bytes]; 16],
                columns: &[Column32<'_>; C],
                at: usize,
            ) -> [FloatsOf<N>; C] {
                products::<N, $name, C>(n, blocks, columns, at)
            }
        }
    };
}

/// Nibbles at `at + 4`, with the fifth bits at `at`.
#[inline(always)]
fn five_bits<N: Integers, const B: usize>(n: N, blocks: &[[u8; B]; 4], at: usize) -> [N::Q; 2] {
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
    blocks: &[[u8; B]; 4],
    at: usize,
) -> [N::Q; 2] {
    let [first, second] = n.nibbles(n.quarters(blocks, at));
    [n.look_up(table, first), n.look_up(table, second)]
}

blocks_32!(Q4_0, 18 bytes, Quants::Above(8), offset None, |n, blocks| {
    n.nibbles(n.quarters(blocks, 2))
});

blocks_32!(Q4_1, 20 bytes, Quants::Above(0), offset Some(2), |n, blocks| {
    n.nibbles(n.quarters(blocks, 4))
});

blocks_32!(Q5_0, 22 bytes, Quants::Above(16), offset None, |n, blocks| {
    five_bits(n, blocks, 2)
});

blocks_32!(Q5_1, 24 bytes, Quants::Above(0), offset Some(2), |n, blocks| {
    five_bits(n, blocks, 4)
});

blocks_32!(Q8_0, 34 bytes, Quants::Signed, offset None, |n, blocks| {
    let [a, b, c, d] = blocks;
    [n.halves_of([field(a, 2), field(b, 2)]), n.halves_of([field(c, 2), field(d, 2)])]
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
