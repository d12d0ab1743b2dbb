//! Activations of eight bits, laid out as the formats need them.
//!
//! Rows lie one after the other, and their blocks are multiplied sixteen at a time wherever a row ends. So the blocks of a
//! column come round: after the last the first follows again, at least fifteen of them more than there are.

use super::aligned::Aligned;
use crate::kernels::row_format::RowFormat;

/// Blocks that are multiplied together.
pub(super) const CHUNK: usize = 16;

/// Columns of activations, quantized for some row formats. The memory is kept when others are put in their place.
#[derive(Debug, Clone)]
pub struct Activations {
    pub(super) len: usize,
    pub(super) columns: usize,
    pub(super) blocks_32: Blocks<Group, i32>,
    /// One for each [`Order`].
    pub(super) blocks_256: [Blocks<Block, Sums>; ORDERS],
}

/// What was quantized for formats of one kind.
#[derive(Debug, Clone)]
pub(super) struct Blocks<Q, N> {
    /// Blocks of a column. None: it was not quantized for such formats.
    pub(super) count: usize,
    pub(super) quants: Vec<Q>,
    /// Of a column.
    pub(super) quants_len: usize,
    /// As they come: for formats of 32 elements.
    pub(super) plain: Aligned<i8>,
    pub(super) scales: Aligned<f32>,
    /// Rounded to half precision: for formats of 32 elements.
    pub(super) sums: Aligned<f32>,
    /// Minus the sums of the quants.
    pub(super) negative: Aligned<N>,
}

/// Four blocks of 32: their first halves, then their second ones.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Group(pub(super) [[i8; 64]; 2]);

/// 256 elements, in some [`Order`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [[i8; 64]; 4]);

/// Of the sixteens of a block, in their ascending order.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Sums(pub(super) [i16; 16]);

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

const ORDERS: usize = 4;

impl Order {
    pub(super) const ALL: [Order; ORDERS] =
        [Order::Bits, Order::Nibbles, Order::Plain, Order::Blocks];

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

/// A column for formats of 32 elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column32<'x> {
    quants: &'x [Group],
    plain: &'x [i8],
    /// Where a chunk may begin in a group of four blocks: every `1 << apart` blocks.
    apart: u32,
    /// Groups of each such beginning.
    groups: usize,
    scales: &'x [f32],
    sums: &'x [f32],
    negative: &'x [i32],
}

/// What a format of 32 elements multiplies sixteen blocks with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk32<'x> {
    pub(super) quants: &'x [Group; 4],
    /// The same quants, two blocks after the other.
    pub(super) plain: &'x [[i8; 64]; 8],
    pub(super) scales: &'x [f32; CHUNK],
    pub(super) sums: &'x [f32; CHUNK],
    pub(super) negative: &'x [i32; CHUNK],
}

impl<'x> Column32<'x> {
    /// The blocks from number `at` on, which is what a multiple of sixteen leaves by their number.
    #[inline(always)]
    pub(super) fn chunk(&self, at: usize) -> Chunk32<'x> {
        let first = ((at % 4) >> self.apart) * self.groups + at / 4;
        let (quants, _) = self.quants[first..first + 4].as_chunks();
        let plain = &self.plain[32 * at..32 * (at + CHUNK)];
        let (plain, _) = plain.as_chunks::<64>().0.as_chunks();
        Chunk32 {
            quants: &quants[0],
            plain: &plain[0],
            scales: sixteen(self.scales, at),
            sums: sixteen(self.sums, at),
            negative: sixteen(self.negative, at),
        }
    }
}

/// A column for formats of 256 elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column256<'x> {
    quants: &'x [Block],
    scales: &'x [f32],
    negative: &'x [Sums],
}

/// What a format of 256 elements multiplies sixteen blocks with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk256<'x> {
    pub(super) quants: &'x [Block; CHUNK],
    pub(super) scales: &'x [f32; CHUNK],
    pub(super) negative: &'x [Sums; CHUNK],
}

impl<'x> Column256<'x> {
    /// The blocks from number `at` on.
    #[inline(always)]
    pub(super) fn chunk(&self, at: usize) -> Chunk256<'x> {
        Chunk256 {
            quants: sixteen(self.quants, at),
            scales: sixteen(self.scales, at),
            negative: sixteen(self.negative, at),
        }
    }
}

/// Where a chunk may begin in a group of four blocks: at how many places, and how far apart.
pub(super) fn phases(count: usize) -> (usize, usize) {
    match count % 4 {
        0 => (1, 4),
        2 => (2, 2),
        _ => (4, 1),
    }
}

#[inline(always)]
fn sixteen<T>(all: &[T], at: usize) -> &[T; CHUNK] {
    let (chunks, _) = all[at..at + CHUNK].as_chunks();
    &chunks[0]
}

impl Default for Activations {
    fn default() -> Activations {
        Activations::new()
    }
}

impl Activations {
    /// None yet.
    pub const fn new() -> Activations {
        const fn none<Q, N: Copy + Default>() -> Blocks<Q, N> {
            Blocks {
                count: 0,
                quants: Vec::new(),
                quants_len: 0,
                plain: Aligned::new(),
                scales: Aligned::new(),
                sums: Aligned::new(),
                negative: Aligned::new(),
            }
        }
        Activations {
            len: 0,
            columns: 0,
            blocks_32: none(),
            blocks_256: [none(), none(), none(), none()],
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
        let bytes = self.blocks_32.memory_bytes()
            + self
                .blocks_256
                .iter()
                .map(Blocks::memory_bytes)
                .sum::<usize>();
        bytes as u64
    }

    /// A column for formats of 32 elements.
    pub(super) fn column_32(&self, column: usize) -> Column32<'_> {
        let blocks = &self.blocks_32;
        let round = column * blocks.stride()..(column + 1) * blocks.stride();
        Column32 {
            quants: &blocks.quants[column * blocks.quants_len..][..blocks.quants_len],
            plain: &blocks.plain[32 * round.start..32 * round.end],
            apart: phases(blocks.count).1.trailing_zeros(),
            groups: blocks.groups(),
            scales: &blocks.scales[round.clone()],
            sums: &blocks.sums[round.clone()],
            negative: &blocks.negative[round],
        }
    }

    /// A column for formats of 256 elements.
    pub(super) fn column_256(&self, order: Order, column: usize) -> Column256<'_> {
        let blocks = &self.blocks_256[order as usize];
        let round = column * blocks.stride()..(column + 1) * blocks.stride();
        Column256 {
            quants: &blocks.quants[round.clone()],
            scales: &blocks.scales[round.clone()],
            negative: &blocks.negative[round],
        }
    }

    /// Blocks of a column for a format; 0 where it was not quantized for it.
    pub(super) fn blocks(&self, order: Option<Order>) -> usize {
        match order {
            None => self.blocks_32.count,
            Some(order) => self.blocks_256[order as usize].count,
        }
    }
}

impl<Q, N: Copy + Default> Blocks<Q, N> {
    /// Blocks of a column, those included that come round: each column begins where a cache line does.
    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        (self.count + CHUNK - 1).next_multiple_of(CHUNK)
    }

    /// Groups of a phase.
    #[inline(always)]
    pub(super) fn groups(&self) -> usize {
        (self.count - 1) / 4 + 4
    }

    fn memory_bytes(&self) -> usize {
        self.quants.capacity() * size_of::<Q>()
            + self.plain.memory_bytes()
            + self.scales.memory_bytes()
            + self.sums.memory_bytes()
            + self.negative.memory_bytes()
    }
}

/// The order of a format's blocks of 256 elements, `None` for a format of 32; `Err` for one that is not quantized.
pub(super) fn order(format: RowFormat) -> Result<Option<Order>, ()> {
    match format {
        RowFormat::F32 | RowFormat::F16 | RowFormat::Bf16 => Err(()),
        RowFormat::Q2_K | RowFormat::Q3_K => Ok(Some(Order::Bits)),
        RowFormat::Q4_K | RowFormat::Q5_K => Ok(Some(Order::Nibbles)),
        RowFormat::Q6_K => Ok(Some(Order::Plain)),
        RowFormat::IQ4_XS => Ok(Some(Order::Blocks)),
        _ => Ok(None),
    }
}
