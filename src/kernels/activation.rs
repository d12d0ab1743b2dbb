//! What a feed-forward layer does between its matrices: ReLU, SiLU, GELU, and the two with a gate.
//!
//! Each errs by at most 5e-7 |x| + 2^-149, is x for x >= 20, at most 2^-126 for x <= -104 and 0 of minus infinity; NaN
//! stays NaN.

use super::elementwise::{Each, Function};
use super::exp::exp;
use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::Simd;

/// Below this all of them are 0. It stands for everything below, minus infinity among it, whose product with 0 is NaN.
const LOWEST: f32 = -104.0;

#[derive(Clone, Copy)]
struct Relu;

impl Function<0> for Relu {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, []: [S::F; 0]) -> S::F {
        let zero = simd.splat(0.0);
        // Selected, because `max` may lose a NaN.
        simd.select(simd.greater(zero, x), zero, x)
    }
}

/// x / (1 + e^-z).
#[inline(always)]
fn times_sigmoid<S: Simd>(simd: S, x: S::F, z: S::F) -> S::F {
    let minus_z = simd.sub(simd.splat(0.0), z);
    simd.div(x, simd.add(simd.splat(1.0), exp(simd, minus_z)))
}

#[inline(always)]
fn at_least_lowest<S: Simd>(simd: S, x: S::F) -> S::F {
    let lowest = simd.splat(LOWEST);
    simd.select(simd.greater(lowest, x), lowest, x)
}

#[derive(Clone, Copy)]
struct Silu;

impl Function<0> for Silu {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, []: [S::F; 0]) -> S::F {
        let x = at_least_lowest(simd, x);
        times_sigmoid(simd, x, x)
    }
}

#[derive(Clone, Copy)]
struct GeluTanh;

impl Function<0> for GeluTanh {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, []: [S::F; 0]) -> S::F {
        /// 2 sqrt(2 / pi), and that times 0.044715.
        const FACTORS: [f32; 2] = [1.595_769_2, 0.071_354_82];
        let x = at_least_lowest(simd, x);
        // (1 + tanh u) / 2 = 1 / (1 + e^-2u); the paper's u is sqrt(2 / pi) (x + 0.044715 x^3).
        let square = simd.mul(x, x);
        let factor = simd.mul_add(square, simd.splat(FACTORS[1]), simd.splat(FACTORS[0]));
        times_sigmoid(simd, x, simd.mul(x, factor))
    }
}

#[derive(Clone, Copy)]
struct GeluErf;

impl Function<0> for GeluErf {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, []: [S::F; 0]) -> S::F {
        /// Abramowitz and Stegun 1964, formula 7.1.26, |error| <= 1.5e-7:
        /// erfc(z) = (a1 t + ... + a5 t^5) e^(-z^2), t = 1 / (1 + p z), z >= 0.
        const P: f32 = 0.327_591_1;
        /// a5 to a1.
        const A: [f32; 5] = [
            1.061_405_4,
            -1.453_152,
            1.421_413_7,
            -0.284_496_74,
            0.254_829_6,
        ];
        let x = at_least_lowest(simd, x);
        let magnitude = simd.of_bits(simd.and_int(simd.bits(x), simd.splat_int(i32::MAX)));
        let z = simd.mul(magnitude, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
        let one = simd.splat(1.0);
        let t = simd.div(one, simd.mul_add(z, simd.splat(P), one));
        let mut sum = simd.splat(A[0]);
        for &a in &A[1..] {
            sum = simd.mul_add(sum, t, simd.splat(a));
        }
        let exponent = simd.mul(simd.mul(x, x), simd.splat(-0.5));
        let erfc = simd.mul(simd.mul(sum, t), exp(simd, exponent));
        // The normal distribution: erfc(-x / sqrt 2) / 2.
        let below = simd.mul(erfc, simd.splat(0.5));
        let above = simd.sub(one, below);
        let positive = simd.greater(x, simd.splat(0.0));
        simd.mul(x, simd.select(positive, above, below))
    }
}

/// An activation times another vector.
#[derive(Clone, Copy)]
struct Gate<A>(A);

impl<A: Function<0>> Function<1> for Gate<A> {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, gate: S::F, [up]: [S::F; 1]) -> S::F {
        simd.mul(self.0.of(simd, gate, []), up)
    }
}

impl Kernels {
    /// Sets each element to max(x, 0).
    pub fn relu(self, x: &mut [f32]) {
        self.run(Each(Relu, x, []));
    }

    /// Sets each element to x / (1 + e^-x). Elfwing, Uchibe and Doya 2017, arXiv 1702.03118.
    pub fn silu(self, x: &mut [f32]) {
        self.run(Each(Silu, x, []));
    }

    /// Sets each element to x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. Hendrycks and Gimpel 2016, arXiv
    /// 1606.08415, section 2.
    pub fn gelu_tanh(self, x: &mut [f32]) {
        self.run(Each(GeluTanh, x, []));
    }

    /// Sets each element to x (1 + erf(x / sqrt 2)) / 2, which [`Kernels::gelu_tanh`] approximates. Hendrycks and Gimpel
    /// 2016, arXiv 1606.08415, section 2.
    pub fn gelu_erf(self, x: &mut [f32]) {
        self.run(Each(GeluErf, x, []));
    }

    /// Sets each element of `gate` to its SiLU times the element of `up`: SwiGLU, Shazeer 2020, arXiv 2002.05202.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn silu_mul(self, gate: &mut [f32], up: &[f32]) -> Result<(), ShapeError> {
        check("silu_mul", "up", up.len(), gate.len())?;
        self.run(Each(Gate(Silu), gate, [up]));
        Ok(())
    }

    /// Sets each element of `gate` to its tanh GELU times the element of `up`: GeGLU, Shazeer 2020, arXiv 2002.05202.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn gelu_tanh_mul(self, gate: &mut [f32], up: &[f32]) -> Result<(), ShapeError> {
        check("gelu_tanh_mul", "up", up.len(), gate.len())?;
        self.run(Each(Gate(GeluTanh), gate, [up]));
        Ok(())
    }
}
