//! Rows as the floats that they stand for.

use super::formats::{Format, STEP, with_format};
use super::isa::Kernels;
use super::row_format::RowFormat;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};
use std::marker::PhantomData;

struct Dequantize<'s, T> {
    packed: &'s [u8],
    out: &'s mut [f32],
    format: PhantomData<T>,
}

/// Writes the elements of a row to `out`, which has as many.
#[inline(always)]
pub(super) fn dequantize<S: Simd, T: Format<Unit = u8>>(simd: S, packed: &[u8], out: &mut [f32]) {
    let (blocks, rest) = T::blocks(packed);
    let (steps, out_rest) = out.as_chunks_mut::<STEP>();
    let parts = const { T::ELEMENTS / STEP };
    let write = |to: &mut [f32; STEP], elements: [S::F; 2]| {
        let (halves, _) = to.as_chunks_mut::<16>();
        simd.store(elements[0], &mut halves[0]);
        simd.store(elements[1], &mut halves[1]);
    };
    for (block, steps) in blocks.iter().zip(steps.chunks_exact_mut(parts)) {
        for (part, to) in steps.iter_mut().enumerate() {
            write(to, T::decode(simd, block, part));
        }
    }
    if !out_rest.is_empty() {
        let mut last = [0.0; STEP];
        write(&mut last, T::decode(simd, &T::padded(rest), 0));
        out_rest.copy_from_slice(&last[..out_rest.len()]);
    }
}

impl<T: Format<Unit = u8>> Algorithm for Dequantize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        dequantize::<S, T>(simd, self.packed, self.out);
    }
}

impl Kernels {
    /// Writes the elements that `packed` stands for to `out`, with the bits of PyPI `gguf.quants.dequantize` on every
    /// instruction set (a NaN may be another NaN).
    ///
    /// # Errors
    /// `packed` is not as many whole blocks as `out` has.
    pub fn dequantize(
        self,
        format: RowFormat,
        packed: &[u8],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let Some(bytes) = format.row_bytes(out.len()) else {
            return Err(ShapeError {
                kernel: "dequantize",
                what: "out",
                have: out.len(),
                need: out.len().next_multiple_of(format.block_elements()),
            });
        };
        check("dequantize", "packed", packed.len(), bytes)?;
        with_format!(format, T => self.run(Dequantize::<T> {
            packed,
            out,
            format: PhantomData,
        }));
        Ok(())
    }
}
