//! Rows, weighed and added: what attention does with values.

use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};

/// Vectors of the sum that are kept in registers at a time.
const VECTORS: usize = 4;

struct WeightedSum<'s> {
    weights: &'s [f32],
    rows: &'s [f32],
    out: &'s mut [f32],
}

/// Elements `from` to `from + 16 N` of the sum.
#[inline(always)]
fn part<S: Simd, const N: usize>(
    simd: S,
    weights: &[f32],
    rows: &[f32],
    len: usize,
    out: &mut [[f32; 16]],
    from: usize,
) {
    let mut sums = [simd.splat(0.0); N];
    for (&weight, row) in weights.iter().zip(rows.chunks_exact(len)) {
        let weight = simd.splat(weight);
        let (row, _) = row[from..from + 16 * N].as_chunks();
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum = simd.mul_add(weight, simd.load(x), *sum);
        }
    }
    for (sum, out) in sums.iter().zip(out) {
        simd.store(*sum, out);
    }
}

impl Algorithm for WeightedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let WeightedSum { weights, rows, out } = self;
        let len = out.len();
        let (whole, rest) = out.as_chunks_mut::<16>();
        let mut from = 0;
        for out in whole.chunks_mut(VECTORS) {
            match out.len() {
                VECTORS => part::<S, VECTORS>(simd, weights, rows, len, out, from),
                _ => {
                    for (at, out) in out.chunks_mut(1).enumerate() {
                        part::<S, 1>(simd, weights, rows, len, out, from + 16 * at);
                    }
                }
            }
            from += 16 * out.len();
        }
        if rest.is_empty() {
            return;
        }
        let mut sum = simd.splat(0.0);
        for (&weight, row) in weights.iter().zip(rows.chunks_exact(len)) {
            let mut last = [0.0; 16];
            last[..rest.len()].copy_from_slice(&row[from..]);
            sum = simd.mul_add(simd.splat(weight), simd.load(&last), sum);
        }
        let mut last = [0.0; 16];
        simd.store(sum, &mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

impl Kernels {
    /// Adds rows, each times its weight: `out[i]` is the sum of `weights[r] * rows[r * n + i]`, the rows in ascending
    /// order, `n` the length of `out`. Each product is fused with its sum, or not, as the instruction set does.
    ///
    /// # Errors
    /// `rows` are not as many rows as there are weights.
    pub fn weighted_sum(
        self,
        weights: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        check(
            "weighted_sum",
            "rows",
            rows.len(),
            weights.len().saturating_mul(out.len()),
        )?;
        if !out.is_empty() {
            self.run(WeightedSum { weights, rows, out });
        }
        Ok(())
    }
}
