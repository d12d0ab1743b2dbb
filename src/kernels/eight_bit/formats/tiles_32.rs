//! The formats of 32 elements, sixteen rows at a time.

use super::blocks_32::{Blocks32, Quants, Scale};
use super::halves_of;
use crate::kernels::arch::Slots;
use crate::kernels::eight_bit::integers::{FloatsOf, Integers};
use crate::kernels::eight_bit::records::Record32;
use crate::kernels::formats::half_of_power;
use crate::kernels::simd::Simd;

/// Of each of sixteen rows a block, taken apart: whatever is of row `l` is in lane `l`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::kernels::eight_bit) struct Apart {
    /// Four elements a lane.
    quants: [[u8; 64]; 8],
    scales: [f32; 16],
    offsets: [f32; 16],
}

impl Apart {
    const NOTHING: Apart = Apart {
        quants: [[0; 64]; 8],
        scales: [0.0; 16],
        offsets: [0.0; 16],
    };
}

/// Blocks of a row in a tile: the quants are 32 KiB.
pub(super) const TILE: usize = 64;

pub(in crate::kernels::eight_bit) type Tile32 = Slots<Apart, TILE>;

/// See [`Packed::fill`].
#[inline(always)]
pub(super) fn fill<N: Integers, T: Blocks32<B>, const B: usize>(
    n: N,
    blocks: [&[u8; B]; 16],
    tile: &mut Tile32,
    at: usize,
) {
    let simd = n.floats();
    let apart = tile.slot(at, &Apart::NOTHING);
    let mut halves = [[n.splat(0); 4]; 2];
    for g in 0..4 {
        // Transposed, quarter `q` of number `g` is in lane `4 * q + g`.
        let four = [blocks[g], blocks[4 + g], blocks[8 + g], blocks[12 + g]];
        let [first, second] = T::quads(n, four).halves;
        halves[0][g] = first;
        halves[1][g] = second;
    }
    for (half, to) in halves.into_iter().zip(apart.quants.chunks_exact_mut(4)) {
        for (quants, to) in n.transpose(half).into_iter().zip(to) {
            n.store(quants, to);
        }
    }
    match T::SCALE {
        Scale::Half(from) => simd.store(halves_of(n, blocks, from), &mut apart.scales),
        Scale::Power(from) => {
            for (scale, block) in apart.scales.iter_mut().zip(blocks) {
                *scale = half_of_power(block[from]);
            }
        }
    }
    if let Some(from) = T::OFFSET {
        simd.store(halves_of(n, blocks, from), &mut apart.offsets);
    }
}

/// See [`Packed::tile_products`].
#[inline(always)]
pub(super) fn tile_products<
    N: Integers,
    T: Blocks32<B>,
    const B: usize,
    const R: usize,
    const C: usize,
>(
    n: N,
    tiles: &[Tile32; R],
    at: usize,
    x: [&Record32; C],
) -> [[FloatsOf<N>; C]; R] {
    let simd = n.floats();
    let above = match T::QUANTS {
        Quants::Above(above) => above,
        Quants::Signed => N::BIAS,
    };
    let mut apart = [&Apart::NOTHING; R];
    for (apart, tile) in apart.iter_mut().zip(tiles) {
        let Some(filled) = tile.get(at) else {
            return [[simd.splat(0.0); C]; R];
        };
        *apart = filled;
    }
    let mut sums = [[n.zero(); C]; R];
    if above != 0 {
        for c in 0..C {
            let first = simd.splat_int(above * x[c].negative);
            for sums in &mut sums {
                sums[c] = first;
            }
        }
    }
    for j in 0..8 {
        let mut weights = [n.splat(0); R];
        for (weights, apart) in weights.iter_mut().zip(apart) {
            *weights = n.load(&apart.quants[j]);
        }
        for c in 0..C {
            let x = n.fours(x[c].quants[j]);
            for (sums, &weights) in sums.iter_mut().zip(&weights) {
                sums[c] = match T::QUANTS {
                    Quants::Above(_) => n.dot(sums[c], weights, x),
                    Quants::Signed => n.dot_signed(sums[c], weights, x),
                };
            }
        }
    }
    let mut products = [[simd.splat(0.0); C]; R];
    for (r, apart) in apart.into_iter().enumerate() {
        let (scales, offsets) = (simd.load(&apart.scales), &apart.offsets);
        for (c, x) in x.iter().enumerate() {
            let sums = n.to_floats(sums[r][c]);
            let scales = simd.mul(scales, simd.splat(x.scale));
            products[r][c] = match T::OFFSET {
                None => simd.mul(scales, sums),
                Some(_) => {
                    let offsets = simd.mul(simd.load(offsets), simd.splat(x.sum));
                    simd.mul_add(scales, sums, offsets)
                }
            };
        }
    }
    products
}
