//! Rows as the floats that they stand for.

use super::formats::{Block, Format, STEP, Take, memory, with_format};
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

/// Writes what it takes.
struct Write<'s, S> {
    simd: S,
    to: &'s mut [[f32; STEP]],
}

impl<S: Simd> Take<S> for Write<'_, S> {
    #[inline(always)]
    fn take(&mut self, part: usize, elements: [S::F; 2]) {
        let (halves, _) = self.to[part].as_chunks_mut::<16>();
        self.simd.store(elements[0], &mut halves[0]);
        self.simd.store(elements[1], &mut halves[1]);
    }
}

/// Writes the elements of a row to `out`, which has as many.
#[inline(always)]
pub(super) fn dequantize<S: Simd, T: Format<Unit = u8>>(simd: S, packed: &[u8], out: &mut [f32]) {
    let (blocks, rest) = T::Block::split(packed);
    let (steps, out_rest) = out.as_chunks_mut::<STEP>();
    let parts = const { T::ELEMENTS / STEP };
    for (block, to) in blocks.iter().zip(steps.chunks_exact_mut(parts)) {
        let scales = T::scales(simd, block);
        T::decode(simd, block, memory(&scales), &mut Write { simd, to });
    }
    if T::GRAIN < T::ELEMENTS && !out_rest.is_empty() {
        let mut last = [[0.0; STEP]];
        let to = &mut last;
        let block = T::Block::padded(rest);
        let scales = T::scales(simd, &block);
        T::decode(simd, &block, &scales, &mut Write { simd, to });
        out_rest.copy_from_slice(&last[0][..out_rest.len()]);
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
