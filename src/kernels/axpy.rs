//! Sums and multiples of vectors.

use super::elementwise::each;
use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};

struct Axpy<'s>(f32, &'s [f32], &'s mut [f32]);

impl Algorithm for Axpy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let a = simd.splat(self.0);
        each(simd, self.2, [self.1], |y, [x]| simd.mul_add(a, x, y));
    }
}

struct Scale<'s>(f32, &'s mut [f32]);

impl Algorithm for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let a = simd.splat(self.0);
        each(simd, self.1, [], |x, []| simd.mul(a, x));
    }
}

struct Add<'s>(&'s [f32], &'s mut [f32]);

impl Algorithm for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        each(simd, self.1, [self.0], |y, [x]| simd.add(y, x));
    }
}

impl Kernels {
    /// Adds `a * x[i]` to `y[i]`; rounded once where the instruction set fuses.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn axpy(self, a: f32, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        check("axpy", "y", y.len(), x.len())?;
        self.run(Axpy(a, x, y));
        Ok(())
    }

    /// Multiplies each element by `a`.
    pub fn scale(self, a: f32, x: &mut [f32]) {
        self.run(Scale(a, x));
    }

    /// Adds `x[i]` to `y[i]`.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn add(self, x: &[f32], y: &mut [f32]) -> Result<(), ShapeError> {
        check("add", "y", y.len(), x.len())?;
        self.run(Add(x, y));
        Ok(())
    }
}
