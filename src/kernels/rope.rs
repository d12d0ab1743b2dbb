//! Rotary positions: pairs of a head's elements turned by an angle for each pair. Su et al. 2021, arXiv 2104.09864.
//!
//! The angles come as tables of their cosines and sines: a host computes them once a position, for all heads. Elements
//! after the last pair stay as they are (a partial rotary dimension).

use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};

/// Turns `(a, b)`. Each product is rounded, so that all instruction sets give the same bits.
#[inline(always)]
fn turn(a: &mut f32, b: &mut f32, cos: f32, sin: f32) {
    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
}

/// Pairs `x[2 i]` and `x[2 i + 1]`. The compiler makes vectors of the loop.
struct Interleaved<'s>(&'s mut [f32], &'s [f32], &'s [f32]);

impl Algorithm for Interleaved<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Interleaved(x, cos, sin) = self;
        let (pairs, _) = x.as_chunks_mut::<2>();
        for (([a, b], &cos), &sin) in pairs.iter_mut().zip(cos).zip(sin) {
            turn(a, b, cos, sin);
        }
    }
}

/// Pairs `x[i]` and `x[i + half]`, in two slices. The compiler makes vectors of the loop.
struct Halves<'s>(&'s mut [f32], &'s mut [f32], &'s [f32], &'s [f32]);

impl Algorithm for Halves<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Halves(first, second, cos, sin) = self;
        for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            turn(a, b, cos, sin);
        }
    }
}

/// Checks that the tables are for one dimension, which `x` has; returns the dimension.
fn check_tables(
    kernel: &'static str,
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
) -> Result<usize, ShapeError> {
    let dimension = 2 * cos.len();
    check(kernel, "sin", sin.len(), cos.len())?;
    check(kernel, "x", x.len().min(dimension), dimension)?;
    Ok(dimension)
}

impl Kernels {
    /// Turns the pairs `(x[2 i], x[2 i + 1])` of one head by the angles whose cosines and sines are given: RoPE as the
    /// paper and Llama's GGUF models have it. `cos` and `sin` have half as many elements as are turned.
    ///
    /// # Errors
    /// Tables of different lengths, or with more pairs than `x` has.
    pub fn rope_interleaved(
        self,
        x: &mut [f32],
        cos: &[f32],
        sin: &[f32],
    ) -> Result<(), ShapeError> {
        check_tables("rope_interleaved", x, cos, sin)?;
        self.run(Interleaved(x, cos, sin));
        Ok(())
    }

    /// Turns the pairs `(x[i], x[i + d / 2])` of one head, where d elements are turned: RoPE as GPT-NeoX (Black et al.
    /// 2022, arXiv 2204.06745) and Gemma have it. `cos` and `sin` have d / 2 elements.
    ///
    /// # Errors
    /// Tables of different lengths, or with more pairs than `x` has.
    pub fn rope_neox(self, x: &mut [f32], cos: &[f32], sin: &[f32]) -> Result<(), ShapeError> {
        let dimension = check_tables("rope_neox", x, cos, sin)?;
        let (first, second) = x[..dimension].split_at_mut(dimension / 2);
        self.run(Halves(first, second, cos, sin));
        Ok(())
    }
}
