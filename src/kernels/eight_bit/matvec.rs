//! Matrix times columns of eight-bit activations.
//!
//! The blocks of consecutive rows are one stream, multiplied sixteen at a time wherever a row ends: rows are often no
//! multiple of sixteen blocks. What comes out is one `p` for each block, of which each row is then the sum.

use super::activations::{Activations, CHUNK, order};
use super::formats::{Packed, with_packed};
use super::integers::{FloatsOf, IntegerAlgorithm, Integers};
use crate::kernels::isa::Kernels;
use crate::kernels::matvec::check_weights;
use crate::kernels::row_format::RowFormat;
use crate::kernels::shape::{ShapeError, check};
use crate::kernels::simd::Simd;
use std::marker::PhantomData;

/// Blocks whose `p` are kept before they are added up.
const STRIP: usize = 512;
/// Columns that a block is multiplied with once it is taken apart.
pub(crate) const COLUMNS: usize = 8;
/// Vectors whose lanes are added up together.
const SUMS: usize = 8;
/// From so many on, columns are multiplied as if they were `COLUMNS`: to take the blocks apart for each costs more.
const COLUMNS_MIN: usize = 4;

/// From so many bytes on weights are asked for ahead, where the caller does not say: a second-level cache holds fewer, and
/// of those in it nothing need be asked for.
const FAR: usize = 1 << 20;
/// How far ahead, in bytes. A processor by itself stops at the end of each page of 4 KiB.
const AHEAD: usize = 8192;

/// The `p` of a strip's blocks with a column. Sixteen more than there are, and sixteen more because the last lanes of a
/// row are read with those behind them.
type Products = [f32; STRIP + 2 * CHUNK];

struct Matvec<'s, T> {
    weights: &'s [u8],
    /// Blocks of a row.
    blocks: usize,
    x: &'s Activations,
    out: &'s mut [f32],
    /// Weights are asked for ahead.
    far: bool,
    format: PhantomData<T>,
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
fn prefetch<N: Integers>(n: N, weights: &[u8], from: usize, bytes: usize) {
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

impl<'s, T: Packed> Matvec<'s, T> {
    /// `C` columns from `column` on; the last one again where there are not so many.
    #[inline(always)]
    fn views<const C: usize>(&self, column: usize) -> [T::Column<'s>; C] {
        let mut views = [T::column(self.x, column); C];
        for (c, view) in views.iter_mut().enumerate() {
            *view = T::column(self.x, (column + c).min(self.x.columns() - 1));
        }
        views
    }

    /// The sums of a row, of as many of the `C` columns from `column` on as there are.
    #[inline(always)]
    fn sums_of<const C: usize>(&mut self, row: usize, column: usize) -> &mut [f32] {
        let columns = self.x.columns();
        &mut self.out[row * columns + column..][..C.min(columns - column)]
    }

    /// Asks for the sixteen blocks that come `AHEAD` after those from number `block` on.
    #[inline(always)]
    fn prefetch<N: Integers>(&self, n: N, block: usize) {
        if self.far {
            let bytes = CHUNK * size_of::<T::Block>();
            prefetch(
                n,
                self.weights,
                block * size_of::<T::Block>() + AHEAD,
                bytes,
            );
        }
    }

    /// `C` columns from `column` on, of the rows from `row` on, of which there are as many as `weights` has: at most
    /// `STRIP` blocks in all.
    #[inline(always)]
    fn strip<N: Integers, const C: usize>(
        &mut self,
        n: N,
        weights: &[T::Block],
        row: usize,
        column: usize,
        products: &mut [Products],
    ) {
        let simd = n.floats();
        let mut filled = [T::NOTHING; CHUNK];
        let x = self.views(column);
        let mut at = 0;
        for from in (0..weights.len()).step_by(CHUNK) {
            if column == 0 {
                self.prefetch(n, row * self.blocks + from);
            }
            let chunk = chunk::<T>(weights, from, &mut filled);
            let p = T::products::<N, C>(n, chunk, &x, at);
            at += CHUNK;
            while at >= self.blocks {
                at -= self.blocks;
            }
            for (products, p) in products.iter_mut().zip(p) {
                let (to, _) = products[from..].as_chunks_mut();
                simd.store(p, &mut to[0]);
            }
        }
        let (blocks, rows) = (self.blocks, weights.len() / self.blocks);
        // Eight sums are added up together: of several rows where there are fewer columns.
        let together = SUMS / C;
        let whole = rows - rows % together;
        for first in (0..whole).step_by(together) {
            let mut sums = [simd.splat(0.0); SUMS];
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = lanes(simd, blocks, &products[i % C][(first + i / C) * blocks..]);
            }
            let sums = simd.sums(&sums);
            for (number, sums) in sums.chunks_exact(C).enumerate() {
                let out = self.sums_of::<C>(row + first + number, column);
                for (out, &sum) in out.iter_mut().zip(sums) {
                    *out = sum;
                }
            }
        }
        for number in whole..rows {
            let out = self.sums_of::<C>(row + number, column);
            for (c, out) in out.iter_mut().enumerate() {
                *out = simd.sum(lanes(simd, blocks, &products[c][number * blocks..]));
            }
        }
    }

    /// `C` columns from `column` on, of a row by itself: one that is longer than a strip.
    #[inline(always)]
    fn long_row<N: Integers, const C: usize>(
        &mut self,
        n: N,
        weights: &[T::Block],
        row: usize,
        column: usize,
    ) {
        let simd = n.floats();
        let mut sums: [FloatsOf<N>; C] = [simd.splat(0.0); C];
        let mut filled = [T::NOTHING; CHUNK];
        let x = self.views(column);
        for from in (0..weights.len()).step_by(CHUNK) {
            if column == 0 {
                self.prefetch(n, row * self.blocks + from);
            }
            let chunk = chunk::<T>(weights, from, &mut filled);
            let p = T::products::<N, C>(n, chunk, &x, from);
            let left = weights.len() - from;
            for (sum, p) in sums.iter_mut().zip(p) {
                let p = if left < CHUNK {
                    first(simd, left, p)
                } else {
                    p
                };
                *sum = simd.add(*sum, p);
            }
        }
        let out = self.sums_of::<C>(row, column);
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = simd.sum(sum);
        }
    }

    #[inline(always)]
    fn columns<N: Integers, const C: usize>(
        &mut self,
        n: N,
        weights: &[T::Block],
        row: usize,
        column: usize,
        products: &mut [Products],
    ) {
        if self.blocks > STRIP {
            self.long_row::<N, C>(n, weights, row, column);
        } else {
            self.strip::<N, C>(n, weights, row, column, products);
        }
    }
}

impl<T: Packed> IntegerAlgorithm for Matvec<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<N: Integers>(mut self, n: N) {
        let (weights, _) = T::split(self.weights);
        // As many rows as give whole chunks, where so many are less than a strip.
        let most = (STRIP / self.blocks).max(1);
        let whole = CHUNK >> self.blocks.trailing_zeros().min(4);
        let rows = if most < whole {
            most
        } else {
            most - most % whole
        };
        let (mut of_one, mut of_all);
        let products: &mut [Products] = if self.x.columns() < COLUMNS_MIN {
            of_one = [[0.0; STRIP + 2 * CHUNK]];
            &mut of_one
        } else {
            of_all = [[0.0; STRIP + 2 * CHUNK]; COLUMNS];
            &mut of_all
        };
        for (strip, weights) in weights.chunks(rows * self.blocks).enumerate() {
            let (row, mut column) = (strip * rows, 0);
            while self.x.columns() >= column + COLUMNS_MIN {
                self.columns::<N, COLUMNS>(n, weights, row, column, products);
                column += COLUMNS;
            }
            while column < self.x.columns() {
                self.columns::<N, 1>(n, weights, row, column, products);
                column += 1;
            }
        }
    }
}

impl Kernels {
    /// Multiplies a matrix by columns of eight-bit activations: `out[r * columns + c]` is the product of row `r` and
    /// column `c`, the same whatever other columns there are.
    ///
    /// `weights` are rows of as many elements as the columns have, as many as `out` has room for.
    ///
    /// # Errors
    /// Slices of other lengths; columns that were not quantized for `format`, or a format of floats, which is multiplied
    /// with [`Kernels::matvec`]. Columns of no elements fit every format, and give zeros.
    pub fn matvec_quantized(
        self,
        format: RowFormat,
        weights: &[u8],
        x: &Activations,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.matvec_quantized_from(format, weights, x, out, weights.len() >= FAR)
    }

    /// As [`Kernels::matvec_quantized`]. `far`: the weights are in no cache, and are asked for ahead.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn matvec_quantized_from(
        self,
        format: RowFormat,
        weights: &[u8],
        x: &Activations,
        out: &mut [f32],
        far: bool,
    ) -> Result<(), ShapeError> {
        const KERNEL: &str = "matvec_quantized";
        let columns = x.columns();
        let rows = out.len().checked_div(columns).unwrap_or(0);
        check(KERNEL, "out", out.len(), rows * columns)?;
        check_weights(KERNEL, format, weights.len(), rows, x.len())?;
        let need = x.len() / format.block_elements();
        let blocks = order(format).map_or(0, |order| x.blocks(order));
        if blocks != need {
            return Err(ShapeError {
                kernel: KERNEL,
                what: "x, as `quantize` made it for this format,",
                have: blocks * format.block_elements(),
                need: x.len(),
            });
        }
        if blocks == 0 {
            out.fill(0.0);
            return Ok(());
        }
        with_packed!(format, T => self.run_integers(Matvec::<T> {
            weights,
            blocks,
            x,
            out,
            far,
            format: PhantomData,
        }));
        Ok(())
    }
}
