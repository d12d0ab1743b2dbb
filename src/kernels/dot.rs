//! The canonical sum of products, which everything that multiplies matrices is made of.

use super::formats::{Floats, Format, STEP};
use super::isa::Kernels;
use super::shape::{ShapeError, check};
use super::simd::{Algorithm, Simd};

/// The products of `R` rows with `C` columns, each sum in the canonical order. All rows and columns have one length.
#[inline(always)]
pub(super) fn tile<S: Simd, T: Format, const R: usize, const C: usize>(
    simd: S,
    rows: [&[T::Unit]; R],
    columns: [&[f32]; C],
) -> [[f32; C]; R] {
    let mut sums = [[[simd.splat(0.0); 2]; C]; R];
    let step =
        |sums: &mut [[[S::F; 2]; C]; R], blocks: [&T::Block; R], x: [&[f32; STEP]; C], part| {
            let x = x.map(|x| x.as_chunks::<16>().0);
            for r in 0..R {
                let weights = T::decode(simd, blocks[r], part);
                for c in 0..C {
                    let [even, odd] = &mut sums[r][c];
                    *even = simd.mul_add(weights[0], simd.load(&x[c][0]), *even);
                    *odd = simd.mul_add(weights[1], simd.load(&x[c][1]), *odd);
                }
            }
        };

    let columns = columns.map(|column| column.as_chunks::<STEP>());
    let rows = rows.map(T::blocks);
    let parts = const { T::ELEMENTS / STEP };
    // All have as many; the compiler is told so.
    let whole = rows.iter().map(|(blocks, _)| blocks.len());
    let steps = columns.iter().map(|(steps, _)| steps.len() / parts);
    let count = whole.chain(steps).min().unwrap_or(0);
    let blocks = rows.map(|(blocks, _)| &blocks[..count]);
    let x = columns.map(|(steps, _)| &steps[..count * parts]);
    for at in 0..count {
        for part in 0..parts {
            step(
                &mut sums,
                blocks.map(|b| &b[at]),
                x.map(|x| &x[at * parts + part]),
                part,
            );
        }
    }
    if columns.iter().any(|(_, rest)| !rest.is_empty()) {
        let blocks = rows.map(|(_, rest)| T::padded(rest));
        let x = columns.map(|(_, rest)| Floats::padded(rest));
        step(&mut sums, blocks.each_ref(), x.each_ref(), 0);
    }
    sums.map(|row| row.map(|[even, odd]| simd.sum(simd.add(even, odd))))
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
