//! A single column of activations, laid out as the formats take their bytes apart.
//!
//! Rows lie one after the other, and their blocks are multiplied sixteen at a time wherever a row ends. So the blocks of
//! the column come round: after the last the first follows again, at least fifteen of them more than there are.

use super::activations::Order;
use super::aligned::Aligned;

/// Blocks that are multiplied together.
pub(super) const CHUNK: usize = 16;

/// What was quantized for formats of one kind.
#[derive(Debug, Clone)]
pub(super) struct Blocks<Q, N> {
    /// Blocks of the column. None: it was not quantized for such formats.
    pub(super) count: usize,
    pub(super) quants: Vec<Q>,
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

/// The column.
#[derive(Debug, Clone)]
pub(super) struct Single {
    pub(super) blocks_32: Blocks<Group, i32>,
    /// One for each [`Order`].
    pub(super) blocks_256: [Blocks<Block, Sums>; Order::ALL.len()],
}

impl Single {
    pub(super) const fn new() -> Single {
        const fn none<Q, N: Copy + Default>() -> Blocks<Q, N> {
            Blocks {
                count: 0,
                quants: Vec::new(),
                plain: Aligned::new(),
                scales: Aligned::new(),
                sums: Aligned::new(),
                negative: Aligned::new(),
            }
        }
        Single {
            blocks_32: none(),
            blocks_256: [none(), none(), none(), none()],
        }
    }

    /// Nothing is quantized.
    pub(super) fn clear(&mut self) {
        self.blocks_32.count = 0;
        for blocks in &mut self.blocks_256 {
            blocks.count = 0;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let of_256 = self.blocks_256.iter().map(Blocks::memory_bytes);
        self.blocks_32.memory_bytes() + of_256.sum::<usize>()
    }

    /// As formats of 32 elements need it.
    pub(super) fn column_32(&self) -> Column32<'_> {
        let blocks = &self.blocks_32;
        Column32 {
            quants: &blocks.quants,
            plain: &blocks.plain,
            apart: phases(blocks.count).1.trailing_zeros(),
            groups: blocks.groups(),
            scales: &blocks.scales,
            sums: &blocks.sums,
            negative: &blocks.negative,
        }
    }

    /// As formats of 256 elements need it.
    pub(super) fn column_256(&self, order: Order) -> Column256<'_> {
        let blocks = &self.blocks_256[order as usize];
        Column256 {
            quants: &blocks.quants,
            scales: &blocks.scales,
            negative: &blocks.negative,
        }
    }
}

impl<Q, N: Copy + Default> Blocks<Q, N> {
    /// Blocks, those included that come round.
    #[inline(always)]
    pub(super) fn round(&self) -> usize {
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

/// Where a chunk may begin in a group of four blocks: at how many places, and how far apart.
pub(super) fn phases(count: usize) -> (usize, usize) {
    match count % 4 {
        0 => (1, 4),
        2 => (2, 2),
        _ => (4, 1),
    }
}

/// The column for formats of 32 elements.
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

/// The column for formats of 256 elements.
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

#[inline(always)]
fn sixteen<T>(all: &[T], at: usize) -> &[T; CHUNK] {
    let (chunks, _) = all[at..at + CHUNK].as_chunks();
    &chunks[0]
}
