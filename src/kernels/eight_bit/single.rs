//! A single column of activations, laid out as the formats take their bytes apart.
//!
//! Rows lie one after the other, and their blocks are multiplied sixteen at a time wherever a row ends. So the blocks of
//! the column come round: after the last the first follows again.

use super::activations::Order;
use super::aligned::Aligned;
use super::records::Record32;

/// Blocks that are multiplied together.
pub(super) const CHUNK: usize = 16;
/// Rows of more blocks are multiplied each by itself.
pub(super) const STRIP: usize = 512;

/// The column.
#[derive(Debug, Clone)]
pub(super) struct Single {
    /// One for each [`Halves`].
    pub(super) chunks_32: [Chunks32; 2],
    /// One for each [`Order`].
    pub(super) blocks_256: [Blocks256; Order::ALL.len()],
}

/// How the quants of four blocks of 32 elements lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halves {
    /// The first halves of four, then their second ones.
    Apart,
    /// As blocks of 34 bytes are loaded, two at a time from byte 4 on: all but the first two of one, two zeros where the
    /// other's scale is, and that one. The first two of each are in [`Chunk32::edges`].
    Beside,
}

/// For formats of 32 elements: what is multiplied with the first sixteen blocks of some rows, with the next, and so on
/// until it is the same again.
#[derive(Debug, Clone)]
pub(super) struct Chunks32 {
    /// Blocks of the column. None: it was not quantized for such formats.
    pub(super) count: usize,
    pub(super) chunks: Vec<Chunk32>,
}

/// Sixteen blocks of 32 elements.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Chunk32 {
    pub(super) quants: [[i8; 64]; 8],
    /// In lane `2 * j` two zeros and the first two quants of block `2 * j`.
    pub(super) edges: [i8; 64],
    pub(super) scales: [f32; CHUNK],
    /// Rounded to half precision.
    pub(super) sums: [f32; CHUNK],
    /// Minus the sums of the quants.
    pub(super) negative: [i32; CHUNK],
}

/// For formats of 256 elements. At least fifteen blocks more than there are come round.
#[derive(Debug, Clone)]
pub(super) struct Blocks256 {
    /// Blocks of the column. None: it was not quantized for such formats.
    pub(super) count: usize,
    pub(super) quants: Vec<Block>,
    pub(super) scales: Aligned<f32>,
    pub(super) negative: Aligned<Sums>,
}

/// 256 elements, in some [`Order`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [[i8; 64]; 4]);

/// Minus the sums of the sixteens of a block, in their ascending order.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Sums(pub(super) [i16; 16]);

impl Single {
    pub(super) const fn new() -> Single {
        const NONE_32: Chunks32 = Chunks32 {
            count: 0,
            chunks: Vec::new(),
        };
        const NONE_256: Blocks256 = Blocks256 {
            count: 0,
            quants: Vec::new(),
            scales: Aligned::new(),
            negative: Aligned::new(),
        };
        Single {
            chunks_32: [NONE_32; 2],
            blocks_256: [NONE_256; Order::ALL.len()],
        }
    }

    /// Nothing is quantized.
    pub(super) fn clear(&mut self) {
        for chunks in &mut self.chunks_32 {
            chunks.count = 0;
        }
        for blocks in &mut self.blocks_256 {
            blocks.count = 0;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let of_32 = self.chunks_32.iter();
        let of_32 = of_32.map(|of| of.chunks.capacity() * size_of::<Chunk32>());
        let of_256 = self.blocks_256.iter().map(Blocks256::memory_bytes);
        of_32.sum::<usize>() + of_256.sum::<usize>()
    }

    /// As formats of 32 elements need it.
    pub(super) fn column_32(&self, halves: Halves) -> Column32<'_> {
        Column32 {
            chunks: &self.chunks_32[halves as usize].chunks,
            at: 0,
        }
    }

    /// As formats of 256 elements need it.
    pub(super) fn column_256(&self, order: Order) -> Column256<'_> {
        let blocks = &self.blocks_256[order as usize];
        Column256 {
            quants: &blocks.quants,
            scales: &blocks.scales,
            negative: &blocks.negative,
            count: blocks.count,
            at: 0,
        }
    }
}

impl Chunks32 {
    /// Lays the blocks of a column out.
    pub(super) fn fill(&mut self, blocks: &[Record32], halves: Halves) {
        self.count = blocks.len();
        self.chunks.clear();
        if blocks.is_empty() {
            return;
        }
        let chunks = if blocks.len() > STRIP {
            blocks.len().div_ceil(CHUNK)
        } else {
            // As many as it takes until a chunk begins with the first block again.
            blocks.len() >> blocks.len().trailing_zeros().min(4)
        };
        let mut number = 0;
        for _ in 0..chunks {
            let mut sixteen = [&blocks[0]; CHUNK];
            for of in &mut sixteen {
                *of = &blocks[number];
                number += 1;
                if number == blocks.len() {
                    number = 0;
                }
            }
            self.chunks.push(Chunk32::of(sixteen, halves));
        }
    }
}

impl Chunk32 {
    fn of(blocks: [&Record32; CHUNK], halves: Halves) -> Chunk32 {
        let mut chunk = Chunk32 {
            quants: [[0; 64]; 8],
            edges: [0; 64],
            scales: [0.0; CHUNK],
            sums: [0.0; CHUNK],
            negative: [0; CHUNK],
        };
        for (l, block) in blocks.into_iter().enumerate() {
            chunk.scales[l] = block.scale;
            chunk.sums[l] = block.sum;
            chunk.negative[l] = block.negative;
            let mut quants = [0; 32];
            let (fours, _) = quants.as_chunks_mut::<4>();
            for (to, four) in fours.iter_mut().zip(block.quants) {
                let [a, b, c, d] = four.to_le_bytes();
                *to = [a as i8, b as i8, c as i8, d as i8];
            }
            match halves {
                Halves::Apart => {
                    let (group, place) = (l / 4, 16 * (l % 4));
                    let (first, second) = quants.split_at(16);
                    chunk.quants[2 * group][place..place + 16].copy_from_slice(first);
                    chunk.quants[2 * group + 1][place..place + 16].copy_from_slice(second);
                }
                Halves::Beside => {
                    let pair = &mut chunk.quants[l / 2];
                    if l % 2 == 0 {
                        let (edge, rest) = quants.split_at(2);
                        chunk.edges[4 * l + 2..4 * l + 4].copy_from_slice(edge);
                        pair[..30].copy_from_slice(rest);
                    } else {
                        pair[32..].copy_from_slice(&quants);
                    }
                }
            }
        }
        chunk
    }
}

impl Blocks256 {
    /// Blocks, those included that come round.
    #[inline(always)]
    pub(super) fn round(&self) -> usize {
        (self.count + CHUNK - 1).next_multiple_of(CHUNK)
    }

    fn memory_bytes(&self) -> usize {
        self.quants.capacity() * size_of::<Block>()
            + self.scales.memory_bytes()
            + self.negative.memory_bytes()
    }
}

/// The column for formats of 32 elements, from a row's first block on.
#[derive(Debug)]
pub(super) struct Column32<'x> {
    chunks: &'x [Chunk32],
    at: usize,
}

impl<'x> Column32<'x> {
    /// What is multiplied with the next sixteen blocks.
    #[inline(always)]
    pub(super) fn next(&mut self) -> &'x Chunk32 {
        let chunk = &self.chunks[self.at];
        self.at += 1;
        if self.at == self.chunks.len() {
            self.at = 0;
        }
        chunk
    }
}

/// The column for formats of 256 elements, from a row's first block on.
#[derive(Debug)]
pub(super) struct Column256<'x> {
    quants: &'x [Block],
    scales: &'x [f32],
    negative: &'x [Sums],
    count: usize,
    at: usize,
}

/// What a format of 256 elements multiplies sixteen blocks with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk256<'x> {
    pub(super) quants: &'x [Block; CHUNK],
    pub(super) scales: &'x [f32; CHUNK],
    pub(super) negative: &'x [Sums; CHUNK],
}

impl<'x> Column256<'x> {
    /// What is multiplied with the next sixteen blocks.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Chunk256<'x> {
        let at = self.at;
        self.at += CHUNK;
        while self.at >= self.count {
            self.at -= self.count;
        }
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
