//! The canonical sum of products, which everything that multiplies matrices is made of.

use super::formats::{Block, Floats, Format, STEP, Take, memory};
use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};

/// Multiplies what it takes with `C` columns.
struct Multiply<'s, S: Simd, const C: usize> {
    simd: S,
    sums: &'s mut [[S::F; 2]; C],
    columns: [&'s [[f32; STEP]]; C],
}

impl<S: Simd, const C: usize> Take<S> for Multiply<'_, S, C> {
    #[inline(always)]
    fn take(&mut self, part: usize, weights: [S::F; 2]) {
        for (x, [even, odd]) in self.columns.iter().zip(self.sums.iter_mut()) {
            let (x, _) = x[part].as_chunks();
            *even = self.simd.mul_add(weights[0], self.simd.load(&x[0]), *even);
            *odd = self.simd.mul_add(weights[1], self.simd.load(&x[1]), *odd);
        }
    }
}

/// Blocks of floats that are multiplied between two branches: 1 KiB. Then each load of the loop comes that far, and the
/// first-level cache's prefetcher does not ask the second-level one for what is already under way: on Zen 5 that doubles
/// what comes from there.
const UNROLLED: usize = 8;

/// `len` elements of each slice, from element `from`.
#[inline(always)]
fn sub_slices<T, const N: usize>(mut slices: [&[T]; N], from: usize, len: usize) -> [&[T]; N] {
    for slice in &mut slices {
        *slice = &slice[from..][..len];
    }
    slices
}

/// Multiplies block `at` of each row with the columns.
#[inline(always)]
fn step<S: Simd, T: Format, const R: usize, const C: usize>(
    simd: S,
    sums: &mut [[[S::F; 2]; C]; R],
    blocks: [&[T::Block]; R],
    x: [&[[f32; STEP]]; C],
    at: usize,
) {
    let parts = const { T::ELEMENTS / STEP };
    let columns = sub_slices(x, at * parts, parts);
    let mut scales = [T::Scales::default(); R];
    for (scales, blocks) in scales.iter_mut().zip(&blocks) {
        *scales = T::scales(simd, &blocks[at]);
    }
    let scales = memory(&scales);
    for ((blocks, scales), sums) in blocks.iter().zip(scales).zip(sums) {
        let to = &mut Multiply {
            simd,
            sums,
            columns,
        };
        T::decode(simd, &blocks[at], scales, to);
    }
}

/// The products of `R` rows with `C` columns, each sum in the canonical order. All rows and columns have one length.
#[inline(always)]
pub(super) fn tile<S: Simd, T: Format, const R: usize, const C: usize>(
    simd: S,
    rows: [&[T::Unit]; R],
    columns: [&[f32]; C],
) -> [[f32; C]; R] {
    let parts = const { T::ELEMENTS / STEP };
    let mut sums = [[[simd.splat(0.0); 2]; C]; R];
    // All have as many blocks; the compiler is told so.
    let mut count = usize::MAX;
    let mut blocks: [&[T::Block]; R] = [&[]; R];
    let mut rests: [&[T::Unit]; R] = [&[]; R];
    for r in 0..R {
        (blocks[r], rests[r]) = T::Block::split(rows[r]);
        count = count.min(blocks[r].len());
    }
    let mut x: [&[[f32; STEP]]; C] = [&[]; C];
    let mut x_rests: [&[f32]; C] = [&[]; C];
    for c in 0..C {
        (x[c], x_rests[c]) = columns[c].as_chunks();
        count = count.min(x[c].len() / parts);
    }
    let blocks = sub_slices(blocks, 0, count);
    let x = sub_slices(x, 0, count * parts);
    let mut at = 0;
    if T::GRAIN == 1 {
        while count - at >= UNROLLED {
            let blocks = sub_slices(blocks, at, UNROLLED);
            let x = sub_slices(x, at * parts, UNROLLED * parts);
            for at in 0..UNROLLED {
                step::<S, T, R, C>(simd, &mut sums, blocks, x, at);
            }
            at += UNROLLED;
        }
    }
    for at in at..count {
        step::<S, T, R, C>(simd, &mut sums, blocks, x, at);
    }
    if T::GRAIN < T::ELEMENTS && x_rests.iter().any(|rest| !rest.is_empty()) {
        let mut last = [[[0.0; STEP]]; C];
        let mut columns: [&[[f32; STEP]]; C] = [&[]; C];
        for (last, rest) in last.iter_mut().zip(x_rests) {
            last[0] = Block::padded(rest);
        }
        for (column, last) in columns.iter_mut().zip(&last) {
            *column = last;
        }
        for (rest, sums) in rests.iter().zip(&mut sums) {
            let to = &mut Multiply {
                simd,
                sums,
                columns,
            };
            let block = T::Block::padded(rest);
            T::decode(simd, &block, &T::scales(simd, &block), to);
        }
    }
    let mut products = [[0.0; C]; R];
    for (products, sums) in products.iter_mut().zip(sums) {
        for (product, [even, odd]) in products.iter_mut().zip(sums) {
            *product = simd.sum(simd.add(even, odd));
        }
    }
    products
}

struct Dot<'s> {
    a: &'s [f32],
    b: &'s [f32],
}

impl Algorithm for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let [[sum]] = tile::<S, Floats, 1, 1>(simd, [self.a], [self.b]);
        sum
    }
}

impl Kernels {
    /// The sum of `a[i] * b[i]`, in the canonical order. 0 for empty slices.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn dot(self, a: &[f32], b: &[f32]) -> Result<f32, ShapeError> {
        check("dot", "b", b.len(), a.len())?;
        Ok(self.run(Dot { a, b }))
    }
}
