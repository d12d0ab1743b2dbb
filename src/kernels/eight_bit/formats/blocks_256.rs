//! The formats of 256 elements: a block is four vectors of quants, each sixteen of which have a scale.

use super::tiles_256::{TILE, Tile256, fill, tile_products};
use super::{Packed, packed};
use crate::kernels::eight_bit::activations::{Activations, Order};
use crate::kernels::eight_bit::integers::{BytesOf, FloatsOf, Integers};
use crate::kernels::eight_bit::records::Record256;
use crate::kernels::eight_bit::single::{Column256, Single};
use crate::kernels::formats::{
    IQ4_XS, NON_LINEAR, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, field, six_bit_pairs,
};
use crate::kernels::simd::Simd;

/// A block, taken apart.
#[derive(Clone, Copy)]
pub(super) struct Parts<N: Integers> {
    /// In the format's order.
    pub(super) quants: [N::Q; 4],
    /// Of each sixteen or thirty-two in their ascending order.
    pub(super) scales: BytesOf<N>,
    /// Of the sixteens in their ascending order: integer offsets where the format has them, else the scales.
    pub(super) low: BytesOf<N>,
}

/// What the quants and the offsets mean.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Quants {
    /// 0 to 127, and each sixteen has an integer offset, which is subtracted.
    WithOffsets {
        /// Where the half-precision scale of the offsets is.
        at: usize,
    },
    /// 0 to 127, each `1 << n` more than it means.
    Above(u32),
    /// -127 to 127.
    Signed,
}

pub(super) trait Blocks256<const B: usize> {
    const QUANTS: Quants;
    const SCALE_AT: usize;
    const ORDER: Order;
    /// Sixteens that a scale is for.
    const SIXTEENS: usize;

    fn parts<N: Integers>(n: N, block: &[u8; B]) -> Parts<N>;
}

/// See [`Packed::products`].
#[inline(always)]
fn products<N: Integers, T: Blocks256<B>, const B: usize>(
    n: N,
    blocks: &[[u8; B]; 16],
    column: &mut Column256<'_>,
) -> FloatsOf<N> {
    let simd = n.floats();
    let x = column.next();
    // In quarter `j` of number `i` four parts of the sum of block `4 * i + j`.
    let mut sums = [n.zero(); 4];
    let mut low_sums = [n.zero(); 4];
    let (fours, _) = blocks.as_chunks::<4>();
    for (i, four) in fours.iter().enumerate() {
        let mut of_four = [n.zero(); 4];
        let mut low_of_four = [n.zero(); 4];
        for (j, block) in four.iter().enumerate() {
            let (parts, number) = (T::parts(n, block), 4 * i + j);
            let index = const { &words_of(T::ORDER, T::SIXTEENS as u16) };
            let mut sum = n.zero();
            for (p, quants) in x.quants[number].0.iter().enumerate() {
                let (mut weights, mut quants) = (parts.quants[p], n.load_signed(quants));
                if T::QUANTS == Quants::Signed {
                    [weights, quants] = n.move_signs(weights, quants);
                }
                let scales = n.spread(parts.scales, &index[p]);
                sum = n.dot_scaled(sum, weights, quants, scales);
            }
            match T::QUANTS {
                Quants::WithOffsets { .. } => {
                    low_of_four[j] = n.dot_words(parts.low, &x.negative[number].0);
                }
                Quants::Above(bits) => {
                    let above = n.dot_words(parts.low, &x.negative[number].0);
                    let above = match bits {
                        2 => simd.shift_left_int::<2>(above),
                        _ => simd.shift_left_int::<5>(above),
                    };
                    sum = simd.add_int(sum, above);
                }
                Quants::Signed => {}
            }
            of_four[j] = sum;
        }
        sums[i] = n.sum_quarters(of_four);
        if let Quants::WithOffsets { .. } = T::QUANTS {
            low_sums[i] = n.sum_quarters(low_of_four);
        }
    }
    let x_scales = simd.load(x.scales);
    let sums = n.to_floats(n.sum_lanes(sums));
    let scales = simd.mul(n.halves(blocks, T::SCALE_AT), x_scales);
    match T::QUANTS {
        Quants::WithOffsets { at } => {
            let low_sums = n.to_floats(n.sum_lanes(low_sums));
            let low_scales = simd.mul(n.halves(blocks, at), x_scales);
            simd.mul_add(scales, sums, simd.mul(low_scales, low_sums))
        }
        _ => simd.mul(scales, sums),
    }
}

/// The words that have the scale of sixteen `which[k]` in quarter `k`.
const fn words(which: [u16; 4]) -> [u16; 32] {
    let mut words = [0; 32];
    let mut at = 0;
    while at < 32 {
        words[at] = which[at / 8];
        at += 1;
    }
    words
}

/// The words for each of the four vectors: of the sixteens in an order, of every sixteen or every other one a scale.
const fn words_of(order: Order, sixteens: u16) -> [[u16; 32]; 4] {
    let order = order.sixteens();
    let mut all = [[0; 32]; 4];
    let mut p = 0;
    while p < 4 {
        let mut which = [0; 4];
        let mut k = 0;
        while k < 4 {
            which[k] = order[4 * p + k] as u16 / sixteens;
            k += 1;
        }
        all[p] = words(which);
        p += 1;
    }
    all
}

macro_rules! blocks_256 {
    ($name:ident, $bytes:literal bytes, $quants:expr, scale $scale:literal, $order:expr, $sixteens:literal sixteens, |$n:ident, $block:ident| $parts:expr) => {
        impl Blocks256<$bytes> for $name {
            const QUANTS: Quants = $quants;
            const SCALE_AT: usize = $scale;
            const ORDER: Order = $order;
            const SIXTEENS: usize = $sixteens;

            #[inline(always)]
            fn parts<N: Integers>($n: N, $block: &[u8; $bytes]) -> Parts<N> {
                $parts
            }
        }

        packed!($name, $bytes bytes, Column256, |x| x.column_256($order), Record256, records_256, Tile256,
            |n, blocks, column| products::<N, $name, $bytes>(n, blocks, column));
    };
}

/// The nibbles of 128 bytes.
#[inline(always)]
fn nibbles_128<N: Integers>(n: N, block: &[u8], at: usize) -> [N::Q; 4] {
    let [a, b] = n.nibbles(n.load(field(block, at)));
    let [c, d] = n.nibbles(n.load(field(block, at + 64)));
    [a, b, c, d]
}

/// Eight scales, and each of the eight offsets twice.
#[inline(always)]
fn scales_and_offsets<N: Integers>(n: N, block: &[u8]) -> (BytesOf<N>, BytesOf<N>) {
    const OFFSETS: [u8; 16] = [8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15];
    let simd = n.floats();
    let all = simd.load_bytes(&six_bit_pairs(block).to_le_bytes());
    (all, simd.look_up(all, simd.load_bytes(&OFFSETS)))
}

blocks_256!(Q4_K, 144 bytes, Quants::WithOffsets { at: 2 }, scale 0, Order::Nibbles, 2 sixteens, |n, block| {
    let (scales, low) = scales_and_offsets(n, block);
    Parts { quants: nibbles_128(n, block, 16), scales, low }
});

/// `low` with the bits `mask` of `high` once these are moved down, by `A` in the first half and by `B` in the second.
#[inline(always)]
fn with_bits<N: Integers, const A: i32, const B: i32>(
    n: N,
    low: N::Q,
    high: N::Q,
    mask: u8,
) -> N::Q {
    n.or(low, n.and(n.shift_words::<A, B>(high), n.splat(mask)))
}

blocks_256!(Q5_K, 176 bytes, Quants::WithOffsets { at: 2 }, scale 0, Order::Nibbles, 2 sixteens, |n, block| {
    let (scales, low) = scales_and_offsets(n, block);
    let [a, b, c, d] = nibbles_128(n, block, 48);
    let fifth = n.twice(field(block, 16));
    let quants = [
        with_bits::<N, -4, -2>(n, a, fifth, 16),
        with_bits::<N, -3, -1>(n, b, fifth, 16),
        with_bits::<N, 0, 2>(n, c, fifth, 16),
        with_bits::<N, 1, 3>(n, d, fifth, 16),
    ];
    Parts { quants, scales, low }
});

blocks_256!(Q6_K, 210 bytes, Quants::Above(5), scale 208, Order::Plain, 1 sixteens, |n, block| {
    let low = n.floats().load_bytes(field(block, 192));
    let [a, b, c, d] = nibbles_128(n, block, 0);
    let (first, second) = (n.twice(field(block, 128)), n.twice(field(block, 160)));
    let quants = [
        with_bits::<N, -4, -2>(n, a, first, 0x30),
        with_bits::<N, 0, 2>(n, b, first, 0x30),
        with_bits::<N, -4, -2>(n, c, second, 0x30),
        with_bits::<N, 0, 2>(n, d, second, 0x30),
    ];
    Parts { quants, scales: low, low }
});

/// The four pairs of bits of 64 bytes.
#[inline(always)]
fn pairs_of_bits<N: Integers>(n: N, x: N::Q) -> [N::Q; 4] {
    let three = n.splat(3);
    [
        n.and(x, three),
        n.and(n.shift_words::<2, 2>(x), three),
        n.and(n.shift_words::<4, 4>(x), three),
        n.and(n.shift_words::<6, 6>(x), three),
    ]
}

blocks_256!(Q2_K, 84 bytes, Quants::WithOffsets { at: 82 }, scale 80, Order::Bits, 1 sixteens, |n, block| {
    let simd = n.floats();
    let both = simd.load_bytes(field(block, 0));
    let scales = simd.and_bytes(both, simd.splat_byte(15));
    Parts {
        quants: pairs_of_bits(n, n.load(field(block, 16))),
        scales,
        low: simd.shift_right_bytes::<4>(both),
    }
});

blocks_256!(Q3_K, 110 bytes, Quants::Above(2), scale 108, Order::Bits, 1 sixteens, |n, block| {
    let low = Q3_K::six_bits(n.floats(), block);
    let [a, b, c, d] = pairs_of_bits(n, n.load(field(block, 32)));
    let third = n.twice(field(block, 0));
    let quants = [
        with_bits::<N, -2, 2>(n, a, third, 4),
        with_bits::<N, -1, 3>(n, b, third, 4),
        with_bits::<N, 0, 4>(n, c, third, 4),
        with_bits::<N, 1, 5>(n, d, third, 4),
    ];
    Parts { quants, scales: low, low }
});

blocks_256!(IQ4_XS, 136 bytes, Quants::Signed, scale 0, Order::Blocks, 2 sixteens, |n, block| {
    let low = IQ4_XS::six_bits(n.floats(), block);
    let [a, b, c, d] = nibbles_128(n, block, 8);
    let quants = [
        n.look_up(&NON_LINEAR, a),
        n.look_up(&NON_LINEAR, b),
        n.look_up(&NON_LINEAR, c),
        n.look_up(&NON_LINEAR, d),
    ];
    Parts { quants, scales: low, low }
});
