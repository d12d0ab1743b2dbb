//! Vectors brought to one size: RMSNorm and LayerNorm.

use super::elementwise::{each, sum};
use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};

/// What `x` is multiplied by first, where squares overflow: the largest float's square is then 2^106, and what gets lost
/// is below the last bit of the sum.
const SMALLER: f32 = 1.0 / (1u128 << 75) as f32;

/// 1 / sqrt(mean + epsilon) of squares that add up to `sum`. In 64 bits, so that only the sum itself is rounded.
fn inverse_root(sum: f32, len: usize, epsilon: f32, factor: f32) -> f32 {
    let factor = f64::from(factor);
    let mean = f64::from(sum) / len as f64;
    (1.0 / (mean + f64::from(epsilon) * factor * factor).sqrt()) as f32
}

struct RmsNorm<'s> {
    x: &'s [f32],
    weight: &'s [f32],
    epsilon: f32,
    out: &'s mut [f32],
}

impl Algorithm for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let squares = |factor: f32| {
            let factor = simd.splat(factor);
            sum(simd, self.x, |sum, x| {
                let x = simd.mul(x, factor);
                simd.mul_add(x, x, sum)
            })
        };
        let (mut factor, mut sum) = (1.0, squares(1.0));
        if sum == f32::INFINITY {
            (factor, sum) = (SMALLER, squares(SMALLER));
        }
        let inverse = inverse_root(sum, self.x.len(), self.epsilon, factor);
        let [factor, inverse] = [factor, inverse].map(|x| simd.splat(x));
        each(simd, self.out, [self.x, self.weight], |_, [x, weight]| {
            simd.mul(simd.mul(simd.mul(x, factor), inverse), weight)
        });
    }
}

struct LayerNorm<'s> {
    x: &'s [f32],
    weight: &'s [f32],
    bias: &'s [f32],
    epsilon: f32,
    out: &'s mut [f32],
}

impl Algorithm for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let len = self.x.len();
        // The mean of x and the sum of the squared differences from it.
        let mut moments = |factor: f32| {
            let factor = simd.splat(factor);
            let total = sum(simd, self.x, |sum, x| simd.mul_add(x, factor, sum));
            let mean = (f64::from(total) / len as f64) as f32;
            each(simd, &mut *self.out, [self.x], |_, [x]| {
                simd.sub(simd.mul(x, factor), simd.splat(mean))
            });
            sum(simd, self.out, |sum, x| simd.mul_add(x, x, sum))
        };
        let (mut factor, mut squares) = (1.0, moments(1.0));
        if !squares.is_finite() {
            (factor, squares) = (SMALLER, moments(SMALLER));
        }
        let inverse = simd.splat(inverse_root(squares, len, self.epsilon, factor));
        each(
            simd,
            self.out,
            [self.weight, self.bias],
            |difference, [weight, bias]| simd.mul_add(simd.mul(difference, inverse), weight, bias),
        );
    }
}

impl Kernels {
    /// Writes `x[i] * weight[i] / sqrt(mean(x^2) + epsilon)` to `out`. Zhang and Sennrich 2019, arXiv 1910.07467.
    ///
    /// Squares that overflow are no matter. `epsilon` is above 0 where all of `x` may be 0.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn rms_norm(
        self,
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        check("rms_norm", "weight", weight.len(), x.len())?;
        check("rms_norm", "out", out.len(), x.len())?;
        self.run(RmsNorm {
            x,
            weight,
            epsilon,
            out,
        });
        Ok(())
    }

    /// Writes `(x[i] - mean(x)) * weight[i] / sqrt(variance(x) + epsilon) + bias[i]` to `out`; the variance is that of
    /// all of them (divided by the length). Ba, Kiros and Hinton 2016, arXiv 1607.06450.
    ///
    /// Sums and squares that overflow are no matter. `epsilon` is above 0 where all of `x` may be equal.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn layer_norm(
        self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        epsilon: f32,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        check("layer_norm", "weight", weight.len(), x.len())?;
        check("layer_norm", "bias", bias.len(), x.len())?;
        check("layer_norm", "out", out.len(), x.len())?;
        self.run(LayerNorm {
            x,
            weight,
            bias,
            epsilon,
            out,
        });
        Ok(())
    }
}
