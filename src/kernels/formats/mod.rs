//! What each row format means: 32 elements at a time, as floats.

mod floats;

pub(super) use floats::{Bf16, F16, F32, Floats};

use super::simd::Simd;

/// Elements that are decoded at a time.
pub(super) const STEP: usize = 32;

/// A row format. Decoding rounds as PyPI `gguf.quants.dequantize` does: each operation once, none fused.
pub(super) trait Format {
    /// What a row is a slice of.
    type Unit: Copy;
    /// An array of units: what is decoded together.
    type Block: Copy;
    /// Elements of a block: a multiple of [`STEP`].
    const ELEMENTS: usize;

    /// A row's whole blocks, and what is left.
    fn blocks(row: &[Self::Unit]) -> (&[Self::Block], &[Self::Unit]);

    /// A block that begins with `rest` and is zeros otherwise.
    fn padded(rest: &[Self::Unit]) -> Self::Block;

    /// Elements `32 * part` to `32 * part + 31` of a block, `part` below `ELEMENTS / 32`.
    fn decode<S: Simd>(simd: S, block: &Self::Block, part: usize) -> [S::F; 2];
}

/// Runs an expression with `$T` as the type of a row format.
macro_rules! with_format {
    ($format:expr, $T:ident => $e:expr) => {
        match $format {
            $crate::kernels::RowFormat::F32 => {
                type $T = $crate::kernels::formats::F32;
                $e
            }
            $crate::kernels::RowFormat::F16 => {
                type $T = $crate::kernels::formats::F16;
                $e
            }
            $crate::kernels::RowFormat::Bf16 => {
                type $T = $crate::kernels::formats::Bf16;
                $e
            }
        }
    };
}
pub(super) use with_format;

/// The units of [`Format::padded`].
macro_rules! padded {
    ($rest:expr, $unit:expr) => {{
        let mut block = [$unit; _];
        for (to, &from) in block.iter_mut().zip($rest) {
            *to = from;
        }
        block
    }};
}
pub(super) use padded;
