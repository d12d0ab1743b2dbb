//! Q8_0: its bytes are quants as they are, and two blocks are multiplied at a time.

use super::blocks_32::{Blocks32, Quads, Quants, Scale, times};
use super::tiles_32::{TILE, Tile32, fill, tile_products};
use super::{Packed, packed};
use crate::kernels::eight_bit::activations::Activations;
use crate::kernels::eight_bit::integers::{FloatsOf, Integers, Pairs};
use crate::kernels::eight_bit::records::Record32;
use crate::kernels::eight_bit::single::{Column32, Halves, Single};
use crate::kernels::formats::Q8_0;
use crate::kernels::simd::Simd;

impl Blocks32<34> for Q8_0 {
    const QUANTS: Quants = Quants::Signed;
    const SCALE: Scale = Scale::Half(0);
    const OFFSET: Option<usize> = None;
    const HEAD: bool = false;

    #[inline(always)]
    fn quads<N: Integers>(n: N, blocks: [&[u8; 34]; 4]) -> Quads<N> {
        Quads::without_head(n, [n.quarters(blocks, 2), n.quarters(blocks, 18)])
    }
}

/// See [`Packed::products`].
#[inline(always)]
fn products<N: Integers>(n: N, blocks: &[[u8; 34]; 16], column: &mut Column32<'_>) -> FloatsOf<N> {
    let (simd, x) = (n.floats(), column.next());
    let Pairs {
        quants,
        edges,
        scales,
    } = n.pairs(blocks);
    let mut parts = [n.zero(); 4];
    for (g, part) in parts.iter_mut().enumerate() {
        let mut sums = [n.zero(); 2];
        for (i, sum) in sums.iter_mut().enumerate() {
            let x = n.load_signed(&x.quants[2 * g + i]);
            *sum = n.dot_signed(*sum, quants[2 * g + i], x);
        }
        *part = n.sum_halves(sums);
    }
    let mut sums = n.sum_lanes(parts);
    sums = n.dot_signed(sums, edges, n.load_signed(&x.edges));
    if N::BIAS != 0 {
        sums = simd.add_int(sums, times(n, &x.negative, N::BIAS));
    }
    simd.mul(simd.mul(scales, simd.load(&x.scales)), n.to_floats(sums))
}

packed!(Q8_0, 34 bytes, Column32, |x| x.column_32(Halves::Beside), Record32, records_32, Tile32,
    |n, blocks, column| products(n, blocks, column));
