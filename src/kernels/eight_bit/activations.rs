//! Activations of eight bits, laid out as the formats need them.
//!
//! Rows lie one after the other, and their blocks are multiplied sixteen at a time wherever a row ends. So the blocks of a
//! column come round: after the last the first follows again, fifteen of them more than there are.

use super::integers::{IntegerAlgorithm, Integers};
use crate::kernels::isa::Kernels;
use crate::kernels::row_format::RowFormat;
use crate::kernels::shape::{ShapeError, check};
use crate::kernels::simd::Simd;

/// Blocks that are multiplied together.
pub(super) const CHUNK: usize = 16;

/// Columns of activations, quantized for some row formats. The memory is kept when others are put in their place.
#[derive(Debug, Clone)]
pub struct Activations {
    len: usize,
    columns: usize,
    blocks_32: Blocks<Group, i32>,
    /// One for each [`Order`].
    blocks_256: [Blocks<Block, [i16; 16]>; ORDERS],
}

/// What was quantized for formats of one kind.
#[derive(Debug, Clone)]
struct Blocks<Q, N> {
    /// Blocks of a column. None: it was not quantized for such formats.
    count: usize,
    quants: Vec<Q>,
    /// Of a column.
    quants_len: usize,
    /// As they come: for formats of 32 elements.
    plain: Vec<[i8; 32]>,
    scales: Vec<f32>,
    /// Rounded to half precision: for formats of 32 elements.
    sums: Vec<f32>,
    /// Minus the sums of the quants.
    negative: Vec<N>,
}

/// Four blocks of 32: their first halves, then their second ones.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Group(pub(super) [[i8; 64]; 2]);

/// 256 elements, in some [`Order`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [[i8; 64]; 4]);

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
    const ALL: [Order; ORDERS] = [Order::Bits, Order::Nibbles, Order::Plain, Order::Blocks];

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
    plain: &'x [[i8; 32]],
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
        let plain = sixteen(self.plain, at).as_flattened();
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
    negative: &'x [[i16; 16]],
}

/// What a format of 256 elements multiplies sixteen blocks with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk256<'x> {
    pub(super) quants: &'x [Block; CHUNK],
    pub(super) scales: &'x [f32; CHUNK],
    pub(super) negative: &'x [[i16; 16]; CHUNK],
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
fn phases(count: usize) -> (usize, usize) {
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
        const fn none<Q, N>() -> Blocks<Q, N> {
            Blocks {
                count: 0,
                quants: Vec::new(),
                quants_len: 0,
                plain: Vec::new(),
                scales: Vec::new(),
                sums: Vec::new(),
                negative: Vec::new(),
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
        let round = column * blocks.round()..(column + 1) * blocks.round();
        Column32 {
            quants: &blocks.quants[column * blocks.quants_len..][..blocks.quants_len],
            plain: &blocks.plain[round.clone()],
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
        let round = column * blocks.round()..(column + 1) * blocks.round();
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

impl<Q, N> Blocks<Q, N> {
    /// Blocks of a column, those included that come round.
    #[inline(always)]
    fn round(&self) -> usize {
        self.count + CHUNK - 1
    }

    /// Groups of a phase.
    #[inline(always)]
    fn groups(&self) -> usize {
        (self.count - 1) / 4 + 4
    }

    fn memory_bytes(&self) -> usize {
        self.quants.capacity() * size_of::<Q>()
            + self.plain.capacity() * 32
            + (self.scales.capacity() + self.sums.capacity()) * size_of::<f32>()
            + self.negative.capacity() * size_of::<N>()
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

impl Kernels {
    /// Quantizes `columns` vectors, one after the other in `x`, for products with rows of `formats`. Formats of floats
    /// among them need nothing.
    ///
    /// A vector that has an element that is not finite gives products that are no numbers.
    ///
    /// # Errors
    /// A length that is no whole blocks of a format, or no multiple of `columns`.
    pub fn quantize(
        self,
        x: &[f32],
        columns: usize,
        formats: &[RowFormat],
        to: &mut Activations,
    ) -> Result<(), ShapeError> {
        const KERNEL: &str = "quantize";
        let len = x.len().checked_div(columns).unwrap_or(0);
        check(KERNEL, "x", x.len(), len * columns)?;
        for format in formats {
            let whole = len.next_multiple_of(format.block_elements());
            check(KERNEL, "a column of whole blocks", len, whole)?;
        }
        let orders = || formats.iter().filter_map(|&format| order(format).ok());
        to.len = len;
        to.columns = columns;
        to.blocks_32.count = 0;
        if orders().any(|order| order.is_none()) {
            self.run_integers(Quantize32 {
                x,
                len,
                to: &mut to.blocks_32,
            });
        }
        for (order, blocks) in Order::ALL.into_iter().zip(&mut to.blocks_256) {
            blocks.count = 0;
            if orders().any(|other| other == Some(order)) {
                self.run_integers(Quantize256 {
                    x,
                    len,
                    order,
                    to: blocks,
                });
            }
        }
        Ok(())
    }
}

/// The nearest integer in the lowest byte, for numbers that are small: 1.5 * 2^23 moves it there.
const ROUND: f32 = 12_582_912.0;

/// The largest element without its sign; NaN where one is not finite.
#[inline(always)]
fn largest<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (vectors, _) = x.as_chunks::<16>();
    let magnitude = simd.splat_int(0x7fff_ffff);
    let mut most = simd.splat(0.0);
    // Zero times what is not finite is no number, and stays none in a sum.
    let mut finite = simd.splat(0.0);
    for x in vectors {
        let x = simd.load(x);
        most = simd.max(most, simd.of_bits(simd.and_int(simd.bits(x), magnitude)));
        finite = simd.mul_add(x, simd.splat(0.0), finite);
    }
    let mut lanes = [0.0; 16];
    simd.store(most, &mut lanes);
    let mut most = 0.0;
    for lane in lanes {
        if lane > most {
            most = lane;
        }
    }
    most + simd.sum(finite)
}

/// `round(x * scale)`, half to even, as bytes.
#[inline(always)]
fn round<S: Simd>(simd: S, x: &[f32], scale: f32, to: &mut [i8]) {
    let (vectors, _) = x.as_chunks::<16>();
    let (bytes, _) = to.as_chunks_mut::<16>();
    for (x, bytes) in vectors.iter().zip(bytes) {
        let x = simd.mul(simd.load(x), simd.splat(scale));
        let mut lanes = [0.0f32; 16];
        simd.store(simd.add(x, simd.splat(ROUND)), &mut lanes);
        for (byte, lane) in bytes.iter_mut().zip(lanes) {
            *byte = lane.to_bits() as i8;
        }
    }
}

fn to_half(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}

struct Quantize32<'s> {
    x: &'s [f32],
    len: usize,
    to: &'s mut Blocks<Group, i32>,
}

impl IntegerAlgorithm for Quantize32<'_> {
    type Output = ();

    /// `quantize_row_q8_0` and `quantize_row_q8_1` of ggml: `d = max / 127`, quants `x * (127 / max)`.
    #[inline(always)]
    fn run<N: Integers>(self, n: N) {
        let simd = n.floats();
        let Quantize32 { x, len, to } = self;
        to.plain.clear();
        to.scales.clear();
        to.sums.clear();
        to.negative.clear();
        to.count = len / 32;
        if len == 0 {
            return;
        }
        let (phases, apart) = phases(to.count);
        let groups = to.groups();
        to.quants_len = phases * groups;
        let columns = x.len() / len;
        to.quants
            .resize(columns * to.quants_len, Group([[0; 64]; 2]));
        for (column, x) in x.chunks_exact(len).enumerate() {
            let first = to.scales.len();
            let quants = &mut to.quants[column * to.quants_len..][..to.quants_len];
            let (blocks, _) = x.as_chunks::<32>();
            for (number, block) in blocks.iter().enumerate() {
                let most = largest(simd, block);
                let scale = most / 127.0;
                let inverse = if most == 0.0 { 0.0 } else { 127.0 / most };
                let mut bytes = [0i8; 32];
                round(simd, block, inverse, &mut bytes);
                let mut sum = 0;
                for byte in bytes {
                    sum += i32::from(byte);
                }
                to.scales.push(to_half(scale));
                to.sums.push(to_half(scale * sum as f32));
                to.negative.push(-sum);
                to.plain.push(bytes);
                let (halves, _) = bytes.as_chunks::<16>();
                for phase in 0..phases {
                    // Wherever it comes round.
                    let mut at = number;
                    while at < phase * apart {
                        at += to.count;
                    }
                    at -= phase * apart;
                    while at < 4 * groups {
                        let Group(group) = &mut quants[phase * groups + at / 4];
                        for (group, half) in group.iter_mut().zip(halves) {
                            group[16 * (at % 4)..][..16].copy_from_slice(half);
                        }
                        at += to.count;
                    }
                }
            }
            for again in first..first + CHUNK - 1 {
                to.scales.push(to.scales[again]);
                to.sums.push(to.sums[again]);
                to.plain.push(to.plain[again]);
                to.negative.push(to.negative[again]);
            }
        }
    }
}

struct Quantize256<'s> {
    x: &'s [f32],
    len: usize,
    order: Order,
    to: &'s mut Blocks<Block, [i16; 16]>,
}

impl IntegerAlgorithm for Quantize256<'_> {
    type Output = ();

    /// `quantize_row_q8_K` of ggml: the quant of the element that is largest without its sign is -127 or, by rounding, 127.
    #[inline(always)]
    fn run<N: Integers>(self, n: N) {
        let simd = n.floats();
        let Quantize256 { x, len, order, to } = self;
        to.quants.clear();
        to.scales.clear();
        to.negative.clear();
        to.count = len / 256;
        if len == 0 {
            return;
        }
        let sixteens = order.sixteens();
        for x in x.chunks_exact(len) {
            let first = to.scales.len();
            let (blocks, _) = x.as_chunks::<256>();
            for block in blocks {
                let most = largest(simd, block);
                let mut signed = most;
                for &x in block {
                    if x.abs() == most {
                        signed = x;
                        break;
                    }
                }
                let inverse = if most == 0.0 { 0.0 } else { -127.0 / signed };
                let scale = if most == 0.0 { 0.0 } else { 1.0 / inverse };
                let mut bytes = [0i8; 256];
                round(simd, block, inverse, &mut bytes);
                let (parts, _) = bytes.as_chunks::<16>();
                let mut negative = [0; 16];
                for (negative, part) in negative.iter_mut().zip(parts) {
                    let mut sum = 0;
                    for &byte in part {
                        sum += i16::from(byte);
                    }
                    *negative = -sum;
                }
                let mut quants = Block([[0; 64]; 4]);
                let (to_parts, _) = quants.0.as_flattened_mut().as_chunks_mut::<16>();
                for (to, sixteen) in to_parts.iter_mut().zip(sixteens) {
                    *to = parts[sixteen];
                }
                to.quants.push(quants);
                to.scales.push(scale);
                to.negative.push(negative);
            }
            for again in first..first + CHUNK - 1 {
                to.quants.push(to.quants[again]);
                to.scales.push(to.scales[again]);
                to.negative.push(to.negative[again]);
            }
        }
    }
}
