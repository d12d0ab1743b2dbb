//! Rows of floats. A block is 32 of them, for the row's length is any.

use super::{Format, STEP, padded};
use crate::kernels::simd::Simd;

/// 32-bit floats, little-endian bytes.
#[derive(Debug)]
pub(in crate::kernels) struct F32;

/// IEEE half precision.
#[derive(Debug)]
pub(in crate::kernels) struct F16;

/// The upper half of a 32-bit float.
#[derive(Debug)]
pub(in crate::kernels) struct Bf16;

/// A slice of floats.
#[derive(Debug)]
pub(in crate::kernels) struct Floats;

macro_rules! float_bytes {
    ($name:ident, $bytes:literal, $load:ident) => {
        impl Format for $name {
            type Unit = u8;
            type Block = [u8; STEP * $bytes];
            const ELEMENTS: usize = STEP;

            #[inline(always)]
            fn blocks(row: &[u8]) -> (&[Self::Block], &[u8]) {
                row.as_chunks()
            }

            #[inline(always)]
            fn padded(rest: &[u8]) -> Self::Block {
                padded!(rest, 0)
            }

            #[inline(always)]
            fn decode<S: Simd>(simd: S, block: &Self::Block, _part: usize) -> [S::F; 2] {
                let (halves, _) = block.as_chunks::<{ 16 * $bytes }>();
                [simd.$load(&halves[0]), simd.$load(&halves[1])]
            }
        }
    };
}

float_bytes!(F32, 4, load_f32);
float_bytes!(F16, 2, load_f16);
float_bytes!(Bf16, 2, load_bf16);

impl Format for Floats {
    type Unit = f32;
    type Block = [f32; STEP];
    const ELEMENTS: usize = STEP;

    #[inline(always)]
    fn blocks(row: &[f32]) -> (&[[f32; STEP]], &[f32]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn padded(rest: &[f32]) -> [f32; STEP] {
        padded!(rest, 0.0)
    }

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &[f32; STEP], _part: usize) -> [S::F; 2] {
        let (halves, _) = block.as_chunks::<16>();
        [simd.load(&halves[0]), simd.load(&halves[1])]
    }
}
