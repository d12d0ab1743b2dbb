//! The formats of 256 elements, sixteen rows at a time.

use super::blocks_256::{Blocks256, Quants};
use super::halves_of;
use crate::kernels::arch::Slots;
use crate::kernels::eight_bit::integers::{FloatsOf, Integers};
use crate::kernels::eight_bit::records::Record256;
use crate::kernels::simd::Simd;

/// Of each of sixteen rows a block, taken apart: whatever is of row `l` is in lane `l`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::kernels::eight_bit) struct Apart {
    /// Four elements a lane, in their ascending order.
    quants: [[u8; 64]; 64],
    /// Of each sixteen or thirty-two.
    integer_scales: [[i32; 16]; 16],
    integer_offsets: [[i32; 16]; 16],
    scales: [f32; 16],
    offset_scales: [f32; 16],
}

impl Apart {
    const NOTHING: Apart = Apart {
        quants: [[0; 64]; 64],
        integer_scales: [[0; 16]; 16],
        integer_offsets: [[0; 16]; 16],
        scales: [0.0; 16],
        offset_scales: [0.0; 16],
    };
}

/// Blocks of a row in a tile: the quants are 32 KiB.
pub(super) const TILE: usize = 8;

pub(in crate::kernels::eight_bit) type Tile256 = Slots<Apart, TILE>;

/// See [`Packed::fill`].
#[inline(always)]
pub(super) fn fill<N: Integers, T: Blocks256<B>, const B: usize>(
    n: N,
    blocks: [&[u8; B]; 16],
    tile: &mut Tile256,
    at: usize,
) {
    let simd = n.floats();
    let apart = tile.slot(at, &Apart::NOTHING);
    // Of each row the sixteens, in the format's order.
    let mut rows = [[0; 256]; 16];
    for (l, block) in blocks.into_iter().enumerate() {
        let parts = T::parts(n, block);
        let (to, _) = rows[l].as_chunks_mut::<64>();
        for (quants, to) in parts.quants.into_iter().zip(to) {
            n.store(quants, to);
        }
        let mut bytes = [0; 16];
        n.store_bytes(parts.scales, &mut bytes);
        for (scale, to) in bytes.iter().zip(&mut apart.integer_scales) {
            to[l] = i32::from(*scale);
        }
        if let Quants::WithOffsets { .. } = T::QUANTS {
            n.store_bytes(parts.low, &mut bytes);
            let offsets = bytes.iter().step_by(T::SIXTEENS);
            for (offset, to) in offsets.zip(&mut apart.integer_offsets) {
                to[l] = i32::from(*offset);
            }
        }
    }
    let (sixteens, _) = apart.quants.as_chunks_mut::<4>();
    for (place, sixteen) in T::ORDER.sixteens().into_iter().enumerate() {
        let mut four = [n.splat(0); 4];
        for (g, four) in four.iter_mut().enumerate() {
            // Transposed, quarter `q` of number `g` is in lane `4 * q + g`.
            let rows = [&rows[g], &rows[4 + g], &rows[8 + g], &rows[12 + g]];
            *four = n.quarters(rows, 16 * place);
        }
        let four = n.transpose(four);
        for (quants, to) in four.into_iter().zip(&mut sixteens[sixteen]) {
            n.store(quants, to);
        }
    }
    simd.store(halves_of(n, blocks, T::SCALE_AT), &mut apart.scales);
    if let Quants::WithOffsets { at: from } = T::QUANTS {
        simd.store(halves_of(n, blocks, from), &mut apart.offset_scales);
    }
}

/// See [`Packed::tile_products`].
#[inline(always)]
pub(super) fn tile_products<
    N: Integers,
    T: Blocks256<B>,
    const B: usize,
    const R: usize,
    const C: usize,
>(
    n: N,
    tiles: &[Tile256; R],
    at: usize,
    x: [&Record256; C],
) -> [[FloatsOf<N>; C]; R] {
    let simd = n.floats();
    let above = match T::QUANTS {
        Quants::WithOffsets { .. } => 0,
        Quants::Above(bits) => 1 << bits,
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
    let mut low_sums = [[n.zero(); C]; R];
    for part in 0..16 / T::SIXTEENS {
        let mut of_part = [[n.zero(); C]; R];
        for (c, x) in x.iter().enumerate() {
            let negative = match T::SIXTEENS {
                1 => x.negative_16[part],
                _ => x.negative_32[part],
            };
            for (r, apart) in apart.iter().enumerate() {
                if let Quants::WithOffsets { .. } = T::QUANTS {
                    let offsets = n.load_integers(&apart.integer_offsets[part]);
                    let negative = simd.splat_int(negative);
                    low_sums[r][c] = n.multiply_add(low_sums[r][c], offsets, negative);
                } else if above != 0 {
                    of_part[r][c] = simd.splat_int(above * negative);
                }
            }
        }
        let fours = 4 * T::SIXTEENS;
        for j in fours * part..fours * (part + 1) {
            let mut weights = [n.splat(0); R];
            for (weights, apart) in weights.iter_mut().zip(apart) {
                *weights = n.load(&apart.quants[j]);
            }
            for c in 0..C {
                let x = n.fours(x[c].quants[j]);
                for (sums, &weights) in of_part.iter_mut().zip(&weights) {
                    sums[c] = match T::QUANTS {
                        Quants::Signed => n.dot_signed(sums[c], weights, x),
                        _ => n.dot(sums[c], weights, x),
                    };
                }
            }
        }
        for (r, apart) in apart.iter().enumerate() {
            let scales = n.load_integers(&apart.integer_scales[part]);
            for c in 0..C {
                sums[r][c] = n.multiply_add(sums[r][c], of_part[r][c], scales);
            }
        }
    }
    let mut products = [[simd.splat(0.0); C]; R];
    for (r, apart) in apart.iter().enumerate() {
        for (c, x) in x.iter().enumerate() {
            let x_scale = simd.splat(x.scale);
            let scales = simd.mul(simd.load(&apart.scales), x_scale);
            let sums = n.to_floats(sums[r][c]);
            products[r][c] = match T::QUANTS {
                Quants::WithOffsets { .. } => {
                    let low_scales = simd.mul(simd.load(&apart.offset_scales), x_scale);
                    let low_sums = n.to_floats(low_sums[r][c]);
                    simd.mul_add(scales, sums, simd.mul(low_scales, low_sums))
                }
                _ => simd.mul(scales, sums),
            };
        }
    }
    products
}
