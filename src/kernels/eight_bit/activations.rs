//! Activations of eight bits, laid out as the formats need them.

use super::records::{Record32, Record256};
use super::single::{Halves, Single};
use crate::kernels::row_format::RowFormat;
use crate::kernels::shape::{ShapeError, check};

/// Columns of activations, quantized for some row formats. The memory is kept when others are put in their place.
#[derive(Debug, Clone)]
pub struct Activations {
    len: usize,
    columns: usize,
    /// Where there is one column.
    pub(super) single: Single,
    /// One column after the other. None where no format needs them.
    pub(super) records_32: Vec<Record32>,
    /// Where there are several columns, as above.
    pub(super) records_256: Vec<Record256>,
}

/// Which sixteens of a block's elements are together when a format's bytes are taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Two bits: the elements of a byte are 32 apart, and 64 bytes are two halves.
    Bits,
    /// Nibbles: the elements of a byte are 32 apart.
    Nibbles,
    /// As they come.
    Plain,
    /// Nibbles: the elements of a byte are 16 apart.
    Blocks,
}

impl Order {
    pub(super) const ALL: [Order; 4] = [Order::Bits, Order::Nibbles, Order::Plain, Order::Blocks];

    /// The sixteens, in their order.
    pub(super) const fn sixteens(self) -> [usize; 16] {
        match self {
            Order::Bits => [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15],
            Order::Nibbles => [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15],
            Order::Plain => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            Order::Blocks => [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15],
        }
    }
}

impl Default for Activations {
    fn default() -> Activations {
        Activations::new()
    }
}

impl Activations {
    /// None yet.
    pub const fn new() -> Activations {
        Activations {
            len: 0,
            columns: 0,
            single: Single::new(),
            records_32: Vec::new(),
            records_256: Vec::new(),
        }
    }

    /// Elements of a column.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where a column has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of memory that it keeps.
    pub fn memory_bytes(&self) -> u64 {
        let records = self.records_32.capacity() * size_of::<Record32>()
            + self.records_256.capacity() * size_of::<Record256>();
        (self.single.memory_bytes() + records) as u64
    }

    /// Makes room for columns of some length, to be quantized for formats piece by piece.
    ///
    /// # Errors
    /// A length that is no whole blocks of a format.
    pub(crate) fn begin(
        &mut self,
        columns: usize,
        len: usize,
        formats: &[RowFormat],
    ) -> Result<(), ShapeError> {
        for format in formats {
            let whole = len.next_multiple_of(format.block_elements());
            check("quantize", "a column of whole blocks", len, whole)?;
        }
        (self.len, self.columns) = (len, columns);
        self.single.clear();
        let (mut of_32, mut of_256) = (0, 0);
        for &format in formats {
            match layout(format) {
                None => {}
                Some(Layout::Of32(_)) => of_32 = columns * (len / 32),
                Some(Layout::Of256(_)) if columns == 1 => {}
                Some(Layout::Of256(_)) => of_256 = columns * (len / 256),
            }
        }
        self.records_32.resize(of_32, Record32::default());
        self.records_256.resize(of_256, Record256::default());
        Ok(())
    }

    /// So many columns each; the last piece has what is left.
    pub(crate) fn pieces(&mut self, columns: usize) -> Pieces<'_> {
        Pieces {
            len: self.len,
            left: self.columns,
            each: columns.max(1),
            single: (self.columns == 1).then_some(&mut self.single),
            records_32: &mut self.records_32,
            records_256: &mut self.records_256,
        }
    }

    /// Blocks of a column for formats of a layout; 0 where it was not quantized for them.
    pub(super) fn blocks(&self, layout: Layout) -> usize {
        match (layout, self.columns) {
            (_, 0) => 0,
            (Layout::Of32(halves), 1) => self.single.chunks_32[halves as usize].count,
            (Layout::Of256(order), 1) => self.single.blocks_256[order as usize].count,
            (Layout::Of32(_), columns) => self.records_32.len() / columns,
            (Layout::Of256(_), columns) => self.records_256.len() / columns,
        }
    }
}

/// Columns that are yet to be quantized. [`crate::kernels::Kernels::quantize_piece`] does it.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(super) len: usize,
    pub(super) columns: usize,
    /// Of one column by itself.
    pub(super) single: Option<&'a mut Single>,
    pub(super) records_32: &'a mut [Record32],
    pub(super) records_256: &'a mut [Record256],
}

/// See [`Activations::pieces`].
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    len: usize,
    /// Columns.
    left: usize,
    each: usize,
    single: Option<&'a mut Single>,
    records_32: &'a mut [Record32],
    records_256: &'a mut [Record256],
}

/// The share of `columns` of those that are left.
fn take<'a, T>(all: &mut &'a mut [T], columns: usize, left: usize) -> &'a mut [T] {
    let count = all.len() / left * columns;
    let (first, rest) = std::mem::take(all).split_at_mut(count);
    *all = rest;
    first
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.left == 0 {
            return None;
        }
        let columns = self.each.min(self.left);
        let piece = Piece {
            len: self.len,
            columns,
            single: self.single.take(),
            records_32: take(&mut self.records_32, columns, self.left),
            records_256: take(&mut self.records_256, columns, self.left),
        };
        self.left -= columns;
        Some(piece)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.left.div_ceil(self.each);
        (count, Some(count))
    }
}

impl ExactSizeIterator for Pieces<'_> {}

/// How a format needs a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Of32(Halves),
    Of256(Order),
}

/// `None` for a format of floats.
pub(super) fn layout(format: RowFormat) -> Option<Layout> {
    match format {
        RowFormat::F32 | RowFormat::F16 | RowFormat::Bf16 => None,
        RowFormat::Q2_K | RowFormat::Q3_K => Some(Layout::Of256(Order::Bits)),
        RowFormat::Q4_K | RowFormat::Q5_K => Some(Layout::Of256(Order::Nibbles)),
        RowFormat::Q6_K => Some(Layout::Of256(Order::Plain)),
        RowFormat::IQ4_XS => Some(Layout::Of256(Order::Blocks)),
        RowFormat::Q8_0 => Some(Layout::Of32(Halves::Beside)),
        _ => Some(Layout::Of32(Halves::Apart)),
    }
}
