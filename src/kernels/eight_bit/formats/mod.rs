//! How each packed format is multiplied: sixteen blocks at a time.

mod blocks_256;
mod blocks_32;

use super::activations::Activations;
use super::integers::{FloatsOf, Integers};

/// A packed format.
pub(super) trait Packed {
    /// An array of bytes.
    type Block: Copy;
    /// A block that is worth nothing.
    const NOTHING: Self::Block;

    /// The blocks of some bytes, and what is left of these.
    fn split(bytes: &[u8]) -> (&[Self::Block], &[u8]);

    /// A column of activations, as the format needs it.
    type Column<'x>: Copy;

    fn column(x: &Activations, column: usize) -> Self::Column<'_>;

    /// `p` of sixteen blocks with each column, whose blocks begin with number `at`.
    fn products<N: Integers, const C: usize>(
        n: N,
        blocks: &[Self::Block; 16],
        columns: &[Self::Column<'_>; C],
        at: usize,
    ) -> [FloatsOf<N>; C];
}

/// Runs an expression with `$T` as the type of a packed format; nothing for a format of floats.
macro_rules! with_packed {
    ($format:expr, $T:ident => $e:expr) => {
        $crate::kernels::eight_bit::formats::with_packed!(
            $format, $T => $e; Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4
        )
    };
    ($format:expr, $T:ident => $e:expr; $($name:ident)*) => {
        match $format {
            RowFormat::F32 | RowFormat::F16 | RowFormat::Bf16 => {}
            $(RowFormat::$name => {
                type $T = $crate::kernels::formats::$name;
                $e
            })*
        }
    };
}
pub(super) use with_packed;
