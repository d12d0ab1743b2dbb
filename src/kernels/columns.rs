//! Matrix times several vectors: each weight is decoded once for all of them.

use super::dequantize::dequantize;
use super::dot::tile;
use super::formats::{Floats, Format, with_format};
use super::isa::Kernels;
use super::matvec::check_weights;
use super::row_format::RowFormat;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};
use std::marker::PhantomData;

/// Rows that are decoded together.
const ROWS: usize = 2;

struct Columns<'s, T> {
    weights: &'s [u8],
    row_bytes: usize,
    x: &'s [f32],
    /// Length of a column.
    len: usize,
    columns: usize,
    out: &'s mut [f32],
    scratch: &'s mut [f32],
    format: PhantomData<T>,
}

impl<T: Format<Unit = u8>> Columns<'_, T> {
    #[inline(always)]
    fn tiles<S: Simd, const C: usize>(self, simd: S) {
        let rows = self.weights.chunks_exact(self.row_bytes * ROWS);
        let out = self.out.chunks_mut(self.columns * ROWS);
        let whole = rows.len();
        let rest = rows.remainder();
        for (at, (weights, out)) in rows
            .chain((!rest.is_empty()).then_some(rest))
            .zip(out)
            .enumerate()
        {
            let scratch = &mut self.scratch[..self.len
                * if at < whole {
                    ROWS
                } else {
                    weights.len() / self.row_bytes
                }];
            dequantize::<S, T>(simd, weights, scratch);
            if at < whole {
                let (first, second) = scratch.split_at(self.len);
                let (out_first, out_second) = out.split_at_mut(self.columns);
                pass::<S, 2, C>(
                    simd,
                    [first, second],
                    self.x,
                    self.len,
                    [out_first, out_second],
                );
            } else {
                pass::<S, 1, C>(simd, [scratch], self.x, self.len, [out]);
            }
        }
    }
}

/// `R` rows with all columns, `C` at a time; how many does not change a bit of any.
#[inline(always)]
fn pass<S: Simd, const R: usize, const C: usize>(
    simd: S,
    rows: [&[f32]; R],
    x: &[f32],
    len: usize,
    mut out: [&mut [f32]; R],
) {
    let columns = out[0].len();
    let mut at = 0;
    while at + C <= columns {
        let mut columns: [&[f32]; C] = [&[]; C];
        for (c, column) in columns.iter_mut().enumerate() {
            *column = &x[(at + c) * len..][..len];
        }
        let sums = tile::<S, Floats, R, C>(simd, rows, columns);
        for (out, sums) in out.iter_mut().zip(sums) {
            out[at..at + C].copy_from_slice(&sums);
        }
        at += C;
    }
    for at in at..columns {
        let sums = tile::<S, Floats, R, 1>(simd, rows, [&x[at * len..(at + 1) * len]]);
        for (out, [sum]) in out.iter_mut().zip(sums) {
            out[at] = sum;
        }
    }
}

impl<T: Format<Unit = u8>> Algorithm for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match S::VECTORS {
            16.. => self.tiles::<S, 4>(simd),
            _ => self.tiles::<S, 1>(simd),
        }
    }
}

impl Kernels {
    /// Elements of scratch that [`Kernels::matvec_columns`] needs for columns of `len` elements.
    pub const fn scratch_len(len: usize) -> usize {
        len.saturating_mul(ROWS)
    }

    /// Multiplies a matrix by several vectors: `out[r * columns + c]` is what [`Kernels::matvec`] gives for row `r` and
    /// column `c`, bit for bit.
    ///
    /// `x` are `columns` vectors of `len` elements, one after the other; `weights` as many rows of `len` elements as
    /// `out` has room for; `scratch` at least [`Kernels::scratch_len`] of anything. Where `columns` is 0, nothing says how
    /// many rows there are, or how long: `weights` are any whole blocks.
    ///
    /// # Errors
    /// Slices of other lengths, or rows that are no whole blocks.
    #[allow(clippy::too_many_arguments)]
    pub fn matvec_columns(
        self,
        format: RowFormat,
        weights: &[u8],
        x: &[f32],
        columns: usize,
        out: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), ShapeError> {
        const KERNEL: &str = "matvec_columns";
        if columns == 0 {
            check(KERNEL, "x", x.len(), 0)?;
            check(KERNEL, "out", out.len(), 0)?;
            let whole = weights.len().next_multiple_of(format.block_bytes());
            return check(KERNEL, "weights", weights.len(), whole);
        }
        let len = x.len() / columns;
        check(KERNEL, "x", x.len(), len * columns)?;
        let rows = out.len() / columns;
        check(KERNEL, "out", out.len(), rows * columns)?;
        let row_bytes = check_weights(KERNEL, format, weights.len(), rows, len)?;
        if len == 0 {
            out.fill(0.0);
            return Ok(());
        }
        let need = Kernels::scratch_len(len);
        check(KERNEL, "scratch", scratch.len().min(need), need)?;
        with_format!(format, T => self.run(Columns::<T> {
            weights,
            row_bytes,
            x,
            len,
            columns,
            out,
            scratch,
            format: PhantomData,
        }));
        Ok(())
    }
}
