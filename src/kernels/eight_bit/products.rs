//! Products of packed rows with activations of eight bits: one column goes one way, several another.

use super::activations::{Activations, layout};
use super::formats::with_packed;
use super::matmul::{Matmul, Out};
use super::matvec::Matvec;
use crate::kernels::isa::Kernels;
use crate::kernels::matvec::check_weights;
use crate::kernels::row_format::RowFormat;
use crate::kernels::shape::{ShapeError, check};
use std::marker::PhantomData;

/// From so many bytes on weights are asked for ahead, where the caller does not say: a second-level cache holds fewer, and
/// of those in it nothing need be asked for.
const FAR: usize = 1 << 20;

const KERNEL: &str = "matvec_quantized";

impl Kernels {
    /// Multiplies a matrix by columns of eight-bit activations: `out[r * columns + c]` is the product of row `r` and
    /// column `c`, the same whatever other columns there are.
    ///
    /// `weights` are rows of as many elements as the columns have, as many as `out` has room for. Several columns take
    /// 170 KiB of stack.
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
        let columns = x.columns();
        let rows = out.len().checked_div(columns).unwrap_or(0);
        check(KERNEL, "out", out.len(), rows * columns)?;
        let far = weights.len() >= FAR;
        let out = Out {
            all: out,
            row: columns,
            column: 1,
        };
        self.products(format, weights, rows, x, out, far)
    }

    /// As [`Kernels::matvec_quantized`], column by column: row `r` and column `c` give `out[c * stride + r]`, and what is
    /// between the columns stays. The weights are in no cache.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn matvec_quantized_by_column(
        self,
        format: RowFormat,
        weights: &[u8],
        rows: usize,
        x: &Activations,
        (out, stride): (&mut [f32], usize),
    ) -> Result<(), ShapeError> {
        if let Some(before) = x.columns().checked_sub(1) {
            let need = before * stride + rows;
            check(KERNEL, "out", out.len().min(need), need)?;
        }
        let out = Out {
            all: out,
            row: 1,
            column: stride,
        };
        self.products(format, weights, rows, x, out, true)
    }

    /// `far`: the weights are in no cache, and are asked for ahead.
    fn products(
        self,
        format: RowFormat,
        weights: &[u8],
        rows: usize,
        x: &Activations,
        mut out: Out<'_>,
        far: bool,
    ) -> Result<(), ShapeError> {
        check_weights(KERNEL, format, weights.len(), rows, x.len())?;
        let need = x.len() / format.block_elements();
        let blocks = layout(format).map_or(0, |layout| x.blocks(layout));
        if blocks != need {
            return Err(ShapeError {
                kernel: KERNEL,
                what: "x, as `quantize` made it for this format,",
                have: blocks * format.block_elements(),
                need: x.len(),
            });
        }
        if blocks == 0 {
            for column in 0..x.columns() {
                for row in 0..rows {
                    *out.of(row, column) = 0.0;
                }
            }
        } else if x.columns() == 1 {
            with_packed!(format, T => self.run_integers(Matvec::<T> {
                weights,
                blocks,
                x: &x.single,
                out: &mut out.all[..rows],
                far,
                format: PhantomData,
            }));
        } else {
            with_packed!(format, T => self.run_integers(Matmul::<T> {
                weights,
                blocks,
                x,
                out,
                far,
                format: PhantomData,
            }));
        }
        Ok(())
    }
}
