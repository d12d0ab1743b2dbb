//! What each row format means: 32 elements at a time, as floats.

mod floats;
mod k_quants;
mod legacy;
mod levels;
mod non_linear;

pub(super) use floats::{Bf16, F16, F32, Floats};
pub(super) use k_quants::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
pub(super) use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(super) use non_linear::{IQ4_NL, IQ4_XS, MXFP4};

use super::simd::Simd;
use std::hint::black_box;

/// Elements that are decoded at a time.
pub(super) const STEP: usize = 32;

/// A row format. Decoding rounds as PyPI `gguf.quants.dequantize` does: each operation once, none fused.
pub(super) trait Format {
    /// What a row is a slice of.
    type Unit: Copy;
    /// What is decoded together.
    type Block: Block<Self::Unit>;
    /// What a block's parts are scaled by; nothing where it has one part.
    type Scales: Copy + Default;
    /// Elements of a block: a multiple of [`STEP`].
    const ELEMENTS: usize;
    /// A row has a multiple of this many elements. Only where it is one can the last block of a row be a part of one.
    const GRAIN: usize = Self::ELEMENTS;

    /// Computes the scales of a block's parts. Products of several rows do it for all of them first, so that none waits.
    fn scales<S: Simd>(simd: S, block: &Self::Block) -> Self::Scales;

    /// Gives `to` the elements of a block, in ascending order.
    fn decode<S: Simd>(simd: S, block: &Self::Block, scales: &Self::Scales, to: &mut impl Take<S>);
}

/// What is done with elements once they are decoded.
///
/// A trait, not a closure: a method can be inlined whatever it costs, and it must be (see [`Simd`]).
pub(super) trait Take<S: Simd> {
    /// Elements `32 * part` to `32 * part + 31` of the block.
    fn take(&mut self, part: usize, elements: [S::F; 2]);
}

/// An array of a row's units.
pub(super) trait Block<U>: Copy {
    /// A row's whole blocks, and what is left.
    fn split(row: &[U]) -> (&[Self], &[U]);

    /// A block that begins with `rest` and is zeros otherwise.
    fn padded(rest: &[U]) -> Self;
}

impl<U: Copy + Default, const N: usize> Block<U> for [U; N] {
    #[inline(always)]
    fn split(row: &[U]) -> (&[[U; N]], &[U]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn padded(rest: &[U]) -> [U; N] {
        let mut block = [U::default(); N];
        for (to, &from) in block.iter_mut().zip(rest) {
            *to = from;
        }
        block
    }
}

/// A format of 32 elements: `$elements` of a block. It has no scales but those that decoding reads. Not a closure, though it
/// looks like one: it becomes the body of `decode`.
macro_rules! one_part {
    ($name:ident, $bytes:literal bytes, |$simd:ident, $block:ident| $elements:expr) => {
        impl Format for $name {
            type Unit = u8;
            type Block = [u8; $bytes];
            type Scales = ();
            const ELEMENTS: usize = STEP;

            #[inline(always)]
            fn scales<S: Simd>(_simd: S, _block: &Self::Block) {}

            #[inline(always)]
            fn decode<S: Simd>($simd: S, $block: &Self::Block, _: &(), to: &mut impl Take<S>) {
                to.take(0, $elements);
            }
        }
    };
}
use one_part;

/// Keeps the compiler from knowing what it has just written. A number is splat as it is loaded from memory; but where
/// it is known to be a lane of some vector, the compiler shuffles that vector, with several instructions for each.
#[inline(always)]
pub(super) fn memory<T>(written: &T) -> &T {
    if size_of::<T>() == 0 {
        return written;
    }
    black_box(written)
}

/// `N` bytes of a block. `at` is a place in its layout, so the check is done when this is compiled.
#[inline(always)]
fn field<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    let (fields, _) = block[at..].as_chunks();
    &fields[0]
}

/// A half-precision number of a block, in each lane.
#[inline(always)]
fn half<S: Simd>(simd: S, block: &[u8], at: usize) -> S::F {
    simd.splat_f16(u16::from_le_bytes(*field(block, at)))
}

/// Runs an expression with `$T` as the type of a row format.
macro_rules! with_format {
    ($format:expr, $T:ident => $e:expr) => {
        $crate::kernels::row_format::row_formats!(match_format! { $format, $T => $e })
    };
}
pub(super) use with_format;

macro_rules! match_format {
    ($format:expr, $T:ident => $e:expr; $($name:ident $text:literal,)*) => {
        match $format {
            $($crate::kernels::RowFormat::$name => {
                type $T = $crate::kernels::formats::$name;
                $e
            })*
        }
    };
}
pub(super) use match_format;
