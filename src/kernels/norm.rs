//! Vectors brought to one size: RMSNorm and LayerNorm.

use super::elementwise::{Each, Fold, Function, sum};
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

/// The sum of factor x.
#[derive(Clone, Copy)]
struct Sum(f32);

impl Fold for Sum {
    const NEUTRAL: f32 = 0.0;

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::F, x: S::F) -> S::F {
        simd.mul_add(x, simd.splat(self.0), sum)
    }
}

/// The sum of (factor x)^2.
#[derive(Clone, Copy)]
struct Squares(f32);

impl Fold for Squares {
    const NEUTRAL: f32 = 0.0;

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::F, x: S::F) -> S::F {
        let x = simd.mul(x, simd.splat(self.0));
        simd.mul_add(x, x, sum)
    }
}

#[derive(Clone, Copy)]
struct Rms {
    factor: f32,
    inverse: f32,
}

impl Function<2> for Rms {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, _: S::F, [x, weight]: [S::F; 2]) -> S::F {
        // Not by the factor first: small elements would lose bits. And nothing overflows before it, for no element is
        // larger than the root of the sum of squares.
        let x = simd.mul(x, simd.splat(self.inverse));
        simd.mul(simd.mul(x, simd.splat(self.factor)), weight)
    }
}

/// From the mean.
#[derive(Clone, Copy)]
struct Difference {
    factor: f32,
    mean: f32,
}

impl Function<1> for Difference {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, _: S::F, [x]: [S::F; 1]) -> S::F {
        simd.sub(simd.mul(x, simd.splat(self.factor)), simd.splat(self.mean))
    }
}

/// Of differences from the mean.
#[derive(Clone, Copy)]
struct Layer {
    inverse: f32,
}

impl Function<2> for Layer {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, difference: S::F, [weight, bias]: [S::F; 2]) -> S::F {
        simd.mul_add(simd.mul(difference, simd.splat(self.inverse)), weight, bias)
    }
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
        let mut factor = 1.0;
        let mut squares = sum(simd, self.x, Squares(factor));
        if squares == f32::INFINITY {
            factor = SMALLER;
            squares = sum(simd, self.x, Squares(factor));
        }
        let inverse = inverse_root(squares, self.x.len(), self.epsilon, factor);
        Each(Rms { factor, inverse }, self.out, [self.x, self.weight]).run(simd);
    }
}

struct LayerNorm<'s> {
    x: &'s [f32],
    weight: &'s [f32],
    bias: &'s [f32],
    epsilon: f32,
    out: &'s mut [f32],
}

impl LayerNorm<'_> {
    /// Writes the differences from the mean of factor x to `out`; returns the sum of their squares.
    #[inline(always)]
    fn differences<S: Simd>(&mut self, simd: S, factor: f32) -> f32 {
        let total = sum(simd, self.x, Sum(factor));
        let mean = (f64::from(total) / self.x.len() as f64) as f32;
        Each(Difference { factor, mean }, self.out, [self.x]).run(simd);
        sum(simd, self.out, Squares(1.0))
    }
}

impl Algorithm for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let mut factor = 1.0;
        let mut squares = self.differences(simd, factor);
        if !squares.is_finite() {
            factor = SMALLER;
            squares = self.differences(simd, factor);
        }
        let inverse = inverse_root(squares, self.x.len(), self.epsilon, factor);
        Each(Layer { inverse }, self.out, [self.weight, self.bias]).run(simd);
    }
}

impl Kernels {
    /// Writes `x[i] * weight[i] / sqrt(mean(x^2) + epsilon)` to `out`. Zhang and Sennrich 2019, arXiv 1910.07467.
    ///
    /// Squares that overflow are no matter. Those that underflow are lost: elements below 2^-63 count with fewer bits in
    /// the mean, below 2^-75 not at all, which an `epsilon` of 1e-30 or more hides. Where no square counts and `epsilon`
    /// is 0, it is a division by 0: zeros become NaN, other elements infinities.
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
    /// Sums and squares that overflow are no matter. Squares of differences that underflow are lost, as in
    /// [`Kernels::rms_norm`]: where all of `x` are equal and `epsilon` is 0, all become NaN.
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
