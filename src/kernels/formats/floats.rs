//! Rows of floats. A block is 32 of them, for the row's length is any.

use super::{Format, STEP, Take};
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

macro_rules! floats {
    ($name:ident: $unit:ty, $units:literal each, $load:ident) => {
        impl Format for $name {
            type Unit = $unit;
            type Block = [$unit; STEP * $units];
            type Scales = ();
            const ELEMENTS: usize = STEP;
            const GRAIN: usize = 1;

            #[inline(always)]
            fn scales<S: Simd>(_simd: S, _block: &Self::Block) {}

            #[inline(always)]
            fn decode<S: Simd>(simd: S, block: &Self::Block, _scales: &(), to: &mut impl Take<S>) {
                let (halves, _) = block.as_chunks::<{ 16 * $units }>();
                to.take(0, [simd.$load(&halves[0]), simd.$load(&halves[1])]);
            }
        }
    };
}

floats!(F32: u8, 4 each, load_f32);
floats!(F16: u8, 2 each, load_f16);
floats!(Bf16: u8, 2 each, load_bf16);
floats!(Floats: f32, 1 each, load);
