//! Sums and multiples of vectors.

use super::elementwise::{Each, Function};
use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::Simd;

#[derive(Clone, Copy)]
struct Axpy(f32);

impl Function<1> for Axpy {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, y: S::F, [x]: [S::F; 1]) -> S::F {
        simd.mul_add(simd.splat(self.0), x, y)
    }
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Function<0> for Scale {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, []: [S::F; 0]) -> S::F {
        simd.mul(simd.splat(self.0), x)
    }
}

#[derive(Clone, Copy)]
struct Add;

impl Function<1> for Add {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, y: S::F, [x]: [S::F; 1]) -> S::F {
        simd.add(y, x)
    }
}

impl Kernels {
    /// Adds `a * x[i]` to `y[i]`; rounded once where the instruction set fuses.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn axpy(self, a: f32, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        check("axpy", "y", y.len(), x.len())?;
        self.run(Each(Axpy(a), y, [x]));
        Ok(())
    }

    /// Multiplies each element by `a`.
    pub fn scale(self, a: f32, x: &mut [f32]) {
        self.run(Each(Scale(a), x, []));
    }

    /// Adds `x[i]` to `y[i]`.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn add(self, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        check("add", "y", y.len(), x.len())?;
        self.run(Each(Add, y, [x]));
        Ok(())
    }
}
