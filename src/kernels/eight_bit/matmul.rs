//! Matrix times several columns of eight-bit activations.
//!
//! Sixteen rows at a time are taken apart into a tile, where each has a lane of its own. Then their products with a column
//! need no sums of lanes, and the tile serves all columns.

use super::activations::Activations;
use super::formats::Packed;
use super::integers::{IntegerAlgorithm, Integers};
use super::matvec::prefetch;
use crate::kernels::arch::Slots;
use crate::kernels::simd::Simd;
use std::marker::PhantomData;

/// Rows of a tile: the lanes of a vector.
const ROWS: usize = 16;
/// So many rows, or a multiple, leave no tile half empty.
pub(crate) const ROWS_TOGETHER: usize = 2 * ROWS;
/// So many times the columns that are multiplied together have their sums kept while a row goes from tile to tile.
const KEPT: usize = 8;

pub(super) struct Matmul<'s, T> {
    pub(super) weights: &'s [u8],
    /// Blocks of a row.
    pub(super) blocks: usize,
    pub(super) x: &'s Activations,
    pub(super) out: Out<'s>,
    /// Weights are asked for ahead.
    pub(super) far: bool,
    pub(super) format: PhantomData<T>,
}

/// Where the products go.
#[derive(Debug)]
pub(super) struct Out<'s> {
    pub(super) all: &'s mut [f32],
    /// From a row to the next.
    pub(super) row: usize,
    /// From a column to the next.
    pub(super) column: usize,
}

impl Out<'_> {
    #[inline(always)]
    pub(super) fn of(&mut self, row: usize, column: usize) -> &mut f32 {
        &mut self.all[row * self.row + column * self.column]
    }

    /// Of consecutive rows.
    #[inline(always)]
    fn put(&mut self, row: usize, column: usize, sums: &[f32]) {
        if self.row == 1 {
            let to = &mut self.all[row + column * self.column..][..sums.len()];
            for (to, &sum) in to.iter_mut().zip(sums) {
                *to = sum;
            }
        } else {
            for (number, &sum) in sums.iter().enumerate() {
                *self.of(row + number, column) = sum;
            }
        }
    }
}

/// The sums of a column with sixteen rows: of the blocks whose number leaves `l` by sixteen in number `l`. They are what
/// the lanes of a row by itself have, see the documentation of `kernels`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Sums([[f32; ROWS]; 16]);

impl Sums {
    const NONE: Sums = Sums([[0.0; ROWS]; 16]);

    /// Added up as lanes are.
    #[inline(always)]
    fn add_up<S: Simd>(&self, simd: S) -> S::F {
        let mut sums = [simd.splat(0.0); 8];
        for (l, sum) in sums.iter_mut().enumerate() {
            *sum = simd.add(simd.load(&self.0[l]), simd.load(&self.0[l + 8]));
        }
        let [a, b, c, d, e, f, g, h] = sums;
        let (a, b, c, d) = (
            simd.add(a, e),
            simd.add(b, f),
            simd.add(c, g),
            simd.add(d, h),
        );
        simd.add(simd.add(a, c), simd.add(b, d))
    }
}

/// The rows of `R` tiles.
struct Tiled<'w, T: Packed, const R: usize> {
    /// Blocks; the last row again where there are not so many.
    rows: [[&'w [T::Block]; ROWS]; R],
    first: usize,
    /// How many there are.
    count: usize,
}

impl<'w, T: Packed, const R: usize> Tiled<'w, T, R> {
    /// `blocks`: of a row.
    #[inline(always)]
    fn new(weights: &'w [T::Block], blocks: usize, first: usize) -> Self {
        let count = weights.len() / blocks;
        let mut rows = [[weights; ROWS]; R];
        for (l, row) in rows.as_flattened_mut().iter_mut().enumerate() {
            *row = &weights[l.min(count - 1) * blocks..][..blocks];
        }
        Tiled { rows, first, count }
    }

    /// Takes `count` blocks from number `from` on apart.
    #[inline(always)]
    fn fill<N: Integers>(&self, n: N, (from, count): (usize, usize), tiles: &mut [T::Tile; R]) {
        for (rows, tile) in self.rows.iter().zip(tiles) {
            let mut rows = *rows;
            for row in &mut rows {
                *row = &row[from..from + count];
            }
            for at in 0..count {
                let mut blocks = [&rows[0][at]; ROWS];
                for (block, row) in blocks.iter_mut().zip(rows) {
                    *block = &row[at];
                }
                T::fill(n, blocks, tile, at);
            }
        }
    }
}

impl<T: Packed> Matmul<'_, T> {
    /// Adds the products of the tiles' first `count` blocks, which are those from `from` on, with `C` columns from
    /// `column` on.
    #[inline(always)]
    fn add<N: Integers, const R: usize, const C: usize>(
        &self,
        n: N,
        tiles: &[T::Tile; R],
        (from, count): (usize, usize),
        column: usize,
        sums: &mut [[Sums; R]; C],
    ) {
        let simd = n.floats();
        let records = T::records(self.x);
        let mut columns = [records; C];
        for (c, x) in columns.iter_mut().enumerate() {
            *x = &records[(column + c) * self.blocks + from..][..count];
        }
        for at in 0..count {
            let mut x = [&columns[0][at]; C];
            for (x, column) in x.iter_mut().zip(columns) {
                *x = &column[at];
            }
            let products = T::tile_products(n, tiles, at, x);
            for r in 0..R {
                for c in 0..C {
                    let sum = &mut sums[c][r].0[(from + at) % 16];
                    let before = match from + at {
                        0..16 => simd.splat(0.0),
                        _ => simd.load(sum),
                    };
                    simd.store(simd.add(before, products[r][c]), sum);
                }
            }
        }
    }

    /// `C` columns from `column` on: adds the tiles' blocks, and puts out what is complete.
    #[inline(always)]
    fn columns<N: Integers, const R: usize, const C: usize>(
        &mut self,
        n: N,
        tiles: &[T::Tile; R],
        tiled: &Tiled<'_, T, R>,
        (from, count): (usize, usize),
        column: usize,
        sums: &mut [[Sums; R]; C],
    ) {
        self.add(n, tiles, (from, count), column, sums);
        if from + count == self.blocks {
            for (c, sums) in sums.iter_mut().enumerate() {
                if self.blocks < 16 {
                    // No block has written the others.
                    for sums in &mut *sums {
                        sums.0[self.blocks..].fill([0.0; ROWS]);
                    }
                }
                let mut rows = [[0.0; ROWS]; R];
                for (rows, sums) in rows.iter_mut().zip(sums) {
                    n.floats().store(sums.add_up(n.floats()), rows);
                }
                let rows = &rows.as_flattened()[..tiled.count];
                self.out.put(tiled.first, column + c, rows);
            }
        }
    }

    /// All, in `R` tiles with `C` columns at a time.
    #[inline(always)]
    fn all<N: Integers, const R: usize, const C: usize>(&mut self, n: N) {
        let (weights, _) = T::split(self.weights);
        let (blocks, columns) = (self.blocks, self.x.columns());
        // Tiles that have whole rows serve all columns.
        let most = match blocks <= T::TILE_BLOCKS {
            true => columns,
            false => KEPT * C,
        };
        let mut tiles = [(); R].map(|()| T::tile());
        let mut kept = Slots::<[[Sums; R]; C], KEPT>::new();
        let together = R * ROWS * blocks;
        // What the next rows take is asked for bit by bit, while these are multiplied.
        let bytes = together * size_of::<T::Block>();
        let share = bytes.div_ceil(most.div_ceil(C));
        for (number, weights) in weights.chunks(together).enumerate() {
            let tiled = Tiled::<T, R>::new(weights, blocks, number * R * ROWS);
            for first in (0..columns).step_by(most) {
                let end = columns.min(first + most);
                for from in (0..blocks).step_by(T::TILE_BLOCKS) {
                    let part = (from, (blocks - from).min(T::TILE_BLOCKS));
                    tiled.fill(n, part, &mut tiles);
                    for (group, column) in (first..end).step_by(C).enumerate() {
                        if self.far && first == 0 && from == 0 {
                            let next = (number + 1) * bytes + group * share;
                            prefetch(n, self.weights, next, share);
                        }
                        let sums = kept.slot(group % KEPT, &[[Sums::NONE; R]; C]);
                        if end - column >= C {
                            self.columns(n, &tiles, &tiled, part, column, sums);
                        } else {
                            let (sums, _) = sums.as_chunks_mut::<1>();
                            for (column, sums) in (column..end).zip(sums) {
                                self.columns(n, &tiles, &tiled, part, column, sums);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl<T: Packed> IntegerAlgorithm for Matmul<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<N: Integers>(mut self, n: N) {
        // As many sums at a time as the registers hold beside what is multiplied.
        if <N::Floats as Simd>::VECTORS >= 32 {
            self.all::<N, 2, 4>(n);
        } else {
            self.all::<N, 1, 4>(n);
        }
    }
}
