//! What an instruction set must be able to do with integers. As [`Simd`], and every rule of it holds here too.

use crate::kernels::formats::field;
use crate::kernels::simd::Simd;

/// Vectors of 64 bytes, beside the floats of a [`Simd`].
pub(in crate::kernels) trait Integers: Copy {
    type Floats: Simd;
    /// 64 bytes, or 32 words of 16 bits: four quarters of sixteen bytes.
    type Q: Copy;

    /// What [`Integers::dot_signed`] adds to each weight.
    const BIAS: i32;

    fn floats(self) -> Self::Floats;

    fn load(self, from: &[u8; 64]) -> Self::Q;
    fn load_signed(self, from: &[i8; 64]) -> Self::Q;
    fn store(self, x: Self::Q, to: &mut [u8; 64]);
    /// The same four bytes in every lane, the first the lowest.
    fn fours(self, bytes: i32) -> Self::Q;
    /// Sixteen bytes at `at` of each block.
    fn quarters<const B: usize>(self, blocks: [&[u8; B]; 4], at: usize) -> Self::Q;
    /// The same bytes in both halves.
    fn twice(self, from: &[u8; 32]) -> Self::Q;
    fn splat(self, x: u8) -> Self::Q;
    /// In quarter `k` of number `j`: lane `j` of quarter `k` of each.
    fn transpose(self, x: [Self::Q; 4]) -> [Self::Q; 4];
    fn and(self, a: Self::Q, b: Self::Q) -> Self::Q;
    fn or(self, a: Self::Q, b: Self::Q) -> Self::Q;
    /// The low nibbles, and the high ones.
    fn nibbles(self, x: Self::Q) -> [Self::Q; 2];
    /// Each word of the first half moved down by `A` bits and of the second by `B`; a negative number moves up. Bits of a
    /// byte's neighbour come over.
    fn shift_words<const A: i32, const B: i32>(self, x: Self::Q) -> Self::Q;
    /// `table[index]` of each byte of `index`, which is below 16.
    fn look_up(self, table: &[i8; 16], index: Self::Q) -> Self::Q;
    /// In each quarter: `x`, and `more` where a bit is set, byte `l`'s being bit `l % 8` of byte `FROM + l / 8` of `bits`.
    fn add_where<const FROM: usize>(self, x: Self::Q, bits: Self::Q, more: u8) -> Self::Q;

    /// To each lane the products of its four bytes of `weights`, 0 to 127, with those of `x`, -127 to 127.
    fn dot(self, to: IntegersOf<Self>, weights: Self::Q, x: Self::Q) -> IntegersOf<Self>;
    /// To each lane the products of its four bytes of `weights`, -128 to 127, each with [`Integers::BIAS`] added, with
    /// those of `x`, -127 to 127.
    fn dot_signed(self, to: IntegersOf<Self>, weights: Self::Q, x: Self::Q) -> IntegersOf<Self>;
    /// As [`Integers::dot`], each product times the scale of its quarter, `scales` being of [`Integers::spread`], added up
    /// in some lanes of that quarter. Negative `weights` must have gone through [`Integers::move_signs`].
    fn dot_scaled(
        self,
        to: IntegersOf<Self>,
        weights: Self::Q,
        x: Self::Q,
        scales: Self::Q,
    ) -> IntegersOf<Self>;
    /// `weights`, -127 to 127, and `x` with the same products, as [`Integers::dot_scaled`] takes them: `weights` without
    /// their signs where it needs that.
    fn move_signs(self, weights: Self::Q, x: Self::Q) -> [Self::Q; 2];
    /// The signed byte of `scales` for each quarter that all words of `index` name there.
    fn spread(self, scales: BytesOf<Self>, index: &[u16; 32]) -> Self::Q;
    /// The products of sixteen signed bytes and sixteen words, added up in some lanes.
    fn dot_words(self, bytes: BytesOf<Self>, words: &[i16; 16]) -> IntegersOf<Self>;

    /// In lane `4 * g + k` the four lanes of quarter `k` of `parts[g]`.
    fn sum_lanes(self, parts: [IntegersOf<Self>; 4]) -> IntegersOf<Self>;
    /// In quarter `2 * g + k` the sums of the quarters of half `k` of `parts[g]`.
    fn sum_halves(self, parts: [IntegersOf<Self>; 2]) -> IntegersOf<Self>;
    /// In lane `4 * g + k` lane `k` of all quarters of `parts[g]`.
    fn sum_quarters(self, parts: [IntegersOf<Self>; 4]) -> IntegersOf<Self>;
    fn zero(self) -> IntegersOf<Self>;
    /// `to + a * b`; no result is beyond 32 bits.
    fn multiply_add(
        self,
        to: IntegersOf<Self>,
        a: IntegersOf<Self>,
        b: IntegersOf<Self>,
    ) -> IntegersOf<Self>;
    fn store_bytes(self, x: BytesOf<Self>, to: &mut [i8; 16]);
    fn load_integers(self, from: &[i32; 16]) -> IntegersOf<Self>;
    fn to_floats(self, x: IntegersOf<Self>) -> FloatsOf<Self>;

    /// [`Integers::halves`] where `heads` has the first sixteen bytes of each block, four blocks' in each: of the first
    /// eight of these bytes.
    #[inline(always)]
    fn halves_of_heads<const B: usize>(
        self,
        blocks: &[[u8; B]; 16],
        at: usize,
        heads: [Self::Q; 4],
    ) -> FloatsOf<Self> {
        let _ = heads;
        self.halves(blocks, at)
    }

    /// Blocks of a half-precision scale and 32 bytes.
    #[inline(always)]
    fn pairs(self, blocks: &[[u8; 34]; 16]) -> Pairs<Self> {
        let (pairs, _) = blocks.as_flattened().as_chunks::<68>();
        let mut quants = [self.splat(0); 8];
        let mut edges = [0; 64];
        let (lanes, _) = edges.as_chunks_mut::<8>();
        for ((pair, quants), lane) in pairs.iter().zip(&mut quants).zip(lanes) {
            *quants = self.load(field(pair, 4));
            *lane = [pair[0], pair[1], pair[2], pair[3], 0, 0, 0, 0];
        }
        Pairs {
            quants,
            edges: self.load(&edges),
            scales: self.halves(blocks, 0),
        }
    }

    /// Asks for the cache line of byte `at`, which will be needed; for none where there are not so many bytes.
    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        let _ = (bytes, at);
    }

    /// The half-precision number at `at` of each block.
    #[inline(always)]
    fn halves<const N: usize>(self, blocks: &[[u8; N]; 16], at: usize) -> FloatsOf<Self> {
        let mut halves = [0; 32];
        let (to, _) = halves.as_chunks_mut::<2>();
        for (to, block) in to.iter_mut().zip(blocks) {
            *to = [block[at], block[at + 1]];
        }
        self.floats().load_f16(&halves)
    }
}

/// What [`Integers::pairs`] gives.
pub(in crate::kernels) struct Pairs<N: Integers> {
    /// Of each two blocks all but the first four bytes.
    pub(in crate::kernels) quants: [N::Q; 8],
    /// Those four bytes, in every other lane.
    pub(in crate::kernels) edges: N::Q,
    pub(in crate::kernels) scales: FloatsOf<N>,
}

pub(in crate::kernels) type FloatsOf<N> = <<N as Integers>::Floats as Simd>::F;
pub(in crate::kernels) type IntegersOf<N> = <<N as Integers>::Floats as Simd>::I;
pub(in crate::kernels) type BytesOf<N> = <<N as Integers>::Floats as Simd>::B;

/// An algorithm on integers; `arch` runs it.
pub(in crate::kernels) trait IntegerAlgorithm {
    type Output;

    /// Must be `#[inline(always)]`, and so must all that it calls.
    fn run<N: Integers>(self, n: N) -> Self::Output;
}
