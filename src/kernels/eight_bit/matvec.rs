//! Matrix times a single column of eight-bit activations.
//!
//! The blocks of consecutive rows are one stream, multiplied sixteen at a time wherever a row ends: rows are often no
//! multiple of sixteen blocks. What comes out is one `p` for each block, of which each row is then the sum.

use super::formats::Packed;
use super::integers::{IntegerAlgorithm, Integers};
use super::single::{CHUNK, STRIP, Single};
use crate::kernels::simd::Simd;
use std::marker::PhantomData;

/// Vectors whose lanes are added up together.
const SUMS: usize = 8;
/// How far ahead, in bytes. A processor by itself stops at the end of each page of 4 KiB.
const AHEAD: usize = 8192;

/// The `p` of a strip's blocks. Sixteen more than there are, and sixteen more because the last lanes of a
/// row are read with those behind them.
type Products = [f32; STRIP + 2 * CHUNK];

pub(super) struct Matvec<'s, T> {
    pub(super) weights: &'s [u8],
    /// Blocks of a row.
    pub(super) blocks: usize,
    pub(super) x: &'s Single,
    pub(super) out: &'s mut [f32],
    /// Weights are asked for ahead.
    pub(super) far: bool,
    pub(super) format: PhantomData<T>,
}

/// The blocks from number `from` on, sixteen of them; blocks of nothing where there are no more.
#[inline(always)]
fn chunk<'w, T: Packed>(
    weights: &'w [T::Block],
    from: usize,
    filled: &'w mut [T::Block; CHUNK],
) -> &'w [T::Block; CHUNK] {
    let (chunks, rest) = weights[from..].as_chunks();
    if let [chunk, ..] = chunks {
        return chunk;
    }
    filled[..rest.len()].copy_from_slice(rest);
    filled
}

/// The first `count` lanes, and zeros.
#[inline(always)]
fn first<S: Simd>(simd: S, count: usize, x: S::F) -> S::F {
    const LANES: [f32; 16] = [
        0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
    ];
    let kept = simd.greater(simd.splat(count as f32), simd.load(&LANES));
    simd.select(kept, x, simd.splat(0.0))
}

/// Asks for the cache lines of so many bytes from one on. Apart from the loops, which need every register.
#[inline(never)]
pub(super) fn prefetch<N: Integers>(n: N, weights: &[u8], from: usize, bytes: usize) {
    for line in (from..from + bytes).step_by(64) {
        n.prefetch(weights, line);
    }
}

/// The lanes' sums of a row's products, behind which there are others.
#[inline(always)]
fn lanes<S: Simd>(simd: S, blocks: usize, products: &[f32]) -> S::F {
    let (chunks, _) = products.as_chunks::<CHUNK>();
    let mut sum = simd.splat(0.0);
    for chunk in &chunks[..blocks / CHUNK] {
        sum = simd.add(sum, simd.load(chunk));
    }
    match blocks % CHUNK {
        0 => sum,
        rest => simd.add(sum, first(simd, rest, simd.load(&chunks[blocks / CHUNK]))),
    }
}

impl<T: Packed> Matvec<'_, T> {
    /// Asks for the sixteen blocks that come `AHEAD` after those from number `block` on.
    #[inline(always)]
    fn prefetch<N: Integers>(&self, n: N, block: usize) {
        if self.far {
            let bytes = CHUNK * size_of::<T::Block>();
            let from = block * size_of::<T::Block>() + AHEAD;
            prefetch(n, self.weights, from, bytes);
        }
    }

    /// The rows from `row` on, of which there are as many as `weights` has: at most `STRIP` blocks in all.
    #[inline(always)]
    fn strip<N: Integers>(
        &mut self,
        n: N,
        weights: &[T::Block],
        row: usize,
        products: &mut Products,
    ) {
        let simd = n.floats();
        let mut filled = [T::NOTHING; CHUNK];
        let mut x = T::column(self.x);
        for from in (0..weights.len()).step_by(CHUNK) {
            self.prefetch(n, row * self.blocks + from);
            let chunk = chunk::<T>(weights, from, &mut filled);
            let p = T::products(n, chunk, &mut x);
            let (to, _) = products[from..].as_chunks_mut();
            simd.store(p, &mut to[0]);
        }
        let (blocks, rows) = (self.blocks, weights.len() / self.blocks);
        let (eights, rest) = self.out[row..row + rows].as_chunks_mut::<SUMS>();
        let mut from = 0;
        for out in eights {
            let mut sums = [simd.splat(0.0); SUMS];
            for sum in &mut sums {
                *sum = lanes(simd, blocks, &products[from..]);
                from += blocks;
            }
            *out = simd.sums(&sums);
        }
        for out in rest {
            *out = simd.sum(lanes(simd, blocks, &products[from..]));
            from += blocks;
        }
    }

    /// A row by itself: one that is longer than a strip.
    #[inline(always)]
    fn long_row<N: Integers>(&mut self, n: N, weights: &[T::Block], row: usize) {
        let simd = n.floats();
        let mut sum = simd.splat(0.0);
        let mut filled = [T::NOTHING; CHUNK];
        let mut x = T::column(self.x);
        for from in (0..weights.len()).step_by(CHUNK) {
            self.prefetch(n, row * self.blocks + from);
            let chunk = chunk::<T>(weights, from, &mut filled);
            let mut p = T::products(n, chunk, &mut x);
            if weights.len() - from < CHUNK {
                p = first(simd, weights.len() - from, p);
            }
            sum = simd.add(sum, p);
        }
        self.out[row] = simd.sum(sum);
    }
}

impl<T: Packed> IntegerAlgorithm for Matvec<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<N: Integers>(mut self, n: N) {
        let (weights, _) = T::split(self.weights);
        if self.blocks > STRIP {
            for (row, weights) in weights.chunks_exact(self.blocks).enumerate() {
                self.long_row(n, weights, row);
            }
            return;
        }
        // As many rows as give whole chunks, where so many are less than a strip.
        let most = STRIP / self.blocks;
        let whole = CHUNK >> self.blocks.trailing_zeros().min(4);
        let rows = if most < whole {
            most
        } else {
            most - most % whole
        };
        let mut products = [0.0; STRIP + 2 * CHUNK];
        for (strip, weights) in weights.chunks(rows * self.blocks).enumerate() {
            self.strip(n, weights, strip * rows, &mut products);
        }
    }
}
