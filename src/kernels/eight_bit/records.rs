//! Several columns of activations, block by block. They are multiplied with sixteen rows at once, each in a lane of its
//! own, so every number of a column goes to all lanes alike.

/// 32 elements of a column.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(16))]
pub(super) struct Record32 {
    /// Four each, the first in the lowest byte.
    pub(super) quants: [i32; 8],
    /// Minus their sum.
    pub(super) negative: i32,
    pub(super) scale: f32,
    /// Rounded to half precision.
    pub(super) sum: f32,
}

/// 256 elements of a column, in their ascending order.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Record256 {
    /// Four each, the first in the lowest byte.
    pub(super) quants: [i32; 64],
    /// Minus the sums of the sixteens, and of the thirty-twos.
    pub(super) negative_16: [i32; 16],
    pub(super) negative_32: [i32; 8],
    pub(super) scale: f32,
}

impl Default for Record256 {
    fn default() -> Record256 {
        Record256 {
            quants: [0; 64],
            negative_16: [0; 16],
            negative_32: [0; 8],
            scale: 0.0,
        }
    }
}
