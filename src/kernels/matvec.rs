//! Matrix times vector: each element of the output is one row's canonical sum.

use super::dot::tile;
use super::formats::{Format, with_format};
use super::isa::Kernels;
use super::row_format::RowFormat;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};
use std::marker::PhantomData;

struct Matvec<'s, T> {
    weights: &'s [u8],
    row_bytes: usize,
    x: &'s [f32],
    out: &'s mut [f32],
    format: PhantomData<T>,
}

impl<T: Format<Unit = u8>> Matvec<'_, T> {
    /// `R` rows at a time; how many does not change a bit of any.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S) {
        let (groups, rest) = self.out.as_chunks_mut::<R>();
        let mut weights = self.weights;
        for group in groups {
            let mut rows: [&[u8]; R] = [&[]; R];
            for row in &mut rows {
                (*row, weights) = weights.split_at(self.row_bytes);
            }
            let sums = tile::<S, T, R, 1>(simd, rows, [self.x]);
            group.copy_from_slice(sums.as_flattened());
        }
        for out in rest {
            let (row, after) = weights.split_at(self.row_bytes);
            weights = after;
            [[*out]] = tile::<S, T, 1, 1>(simd, [row], [self.x]);
        }
    }
}

impl<T: Format<Unit = u8>> Algorithm for Matvec<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        // Weights that need no decoding come fastest as one stream, and the processor computes rows at the same time by
        // itself. Of others as many rows as have room for their sums beside the column and what is decoded.
        match S::VECTORS {
            _ if size_of::<T::Block>() == T::ELEMENTS * size_of::<f32>() => self.rows::<S, 1>(simd),
            16.. => self.rows::<S, 4>(simd),
            8.. => self.rows::<S, 2>(simd),
            _ => self.rows::<S, 1>(simd),
        }
    }
}

/// Checks that `weights` are `rows` rows of `columns` elements; returns the bytes of a row.
pub(super) fn check_weights(
    kernel: &'static str,
    format: RowFormat,
    weights: usize,
    rows: usize,
    columns: usize,
) -> Result<usize, ShapeError> {
    let Some(row_bytes) = format.row_bytes(columns) else {
        let whole = columns.next_multiple_of(format.block_elements());
        return Err(ShapeError {
            kernel,
            what: "a row of whole blocks",
            have: columns,
            need: whole,
        });
    };
    check(kernel, "weights", weights, row_bytes.saturating_mul(rows))?;
    Ok(row_bytes)
}

impl Kernels {
    /// Multiplies a matrix by the vector `x`: `out[r]` is the canonical sum of row `r`.
    ///
    /// `weights` are `out.len()` rows of `x.len()` elements, one after the other, at any address. Each row reads `x` again:
    /// where weights come from a cache, an `x` that begins with a cache line is faster.
    ///
    /// # Errors
    /// Weights of another length, or rows that are no whole blocks.
    pub fn matvec(
        self,
        format: RowFormat,
        weights: &[u8],
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let row_bytes = check_weights("matvec", format, weights.len(), out.len(), x.len())?;
        with_format!(format, T => self.run(Matvec::<T> {
            weights,
            row_bytes,
            x,
            out,
            format: PhantomData,
        }));
        Ok(())
    }

    /// The canonical sum of one packed row and `x`: what [`Kernels::dot`] gives for the row's elements.
    ///
    /// # Errors
    /// As [`Kernels::matvec`].
    pub fn dot_row(self, format: RowFormat, row: &[u8], x: &[f32]) -> Result<f32, ShapeError> {
        let mut sum = [0.0];
        self.matvec(format, row, x, &mut sum)?;
        Ok(sum[0])
    }
}
