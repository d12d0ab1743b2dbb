//! Going over slices sixteen elements at a time: functions of one element, and sums in the canonical order.
//!
//! What is done with an element is a trait's method, not a closure: a method can be inlined whatever it costs, and it must
//! be (see [`Simd`]).

use super::formats::STEP;
use super::simd::{Algorithm, Simd};

/// A function of an element and of the elements of `N` other slices at its place.
pub(super) trait Function<const N: usize>: Copy {
    fn of<S: Simd>(self, simd: S, x: S::F, others: [S::F; N]) -> S::F;
}

/// Sets each element of a slice to a function of it and of the elements of others, all of one length.
pub(super) struct Each<'s, F, const N: usize>(
    pub(super) F,
    pub(super) &'s mut [f32],
    pub(super) [&'s [f32]; N],
);

impl<F: Function<N>, const N: usize> Algorithm for Each<'_, F, N> {
    type Output = ();

    /// The last elements are computed as the others are, in a vector that is filled up with zeros: so an element's bits
    /// do not depend on where it is.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Each(function, x, others) = self;
        let (whole, rest) = x.as_chunks_mut::<16>();
        let others = others.map(|other| other.as_chunks::<16>());
        // All have as many; the compiler is told so.
        let vectors = others.map(|(vectors, _)| &vectors[..whole.len()]);
        let mut elements = [simd.splat(0.0); N];
        for (at, x) in whole.iter_mut().enumerate() {
            for (element, vectors) in elements.iter_mut().zip(&vectors) {
                *element = simd.load(&vectors[at]);
            }
            simd.store(function.of(simd, simd.load(x), elements), x);
        }
        if !rest.is_empty() {
            for (element, (_, rest)) in elements.iter_mut().zip(&others) {
                *element = simd.load(&filled(rest, 0.0));
            }
            let mut last = filled(rest, 0.0);
            simd.store(function.of(simd, simd.load(&last), elements), &mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// What is gathered of many elements.
pub(super) trait Fold: Copy {
    /// What it begins with, which is also an element that changes nothing.
    const NEUTRAL: f32;

    fn add<S: Simd>(self, simd: S, sum: S::F, x: S::F) -> S::F;
}

/// Folds `x` into two accumulators of sixteen lanes, where the canonical order puts each element.
#[inline(always)]
pub(super) fn fold<S: Simd, F: Fold>(simd: S, x: &[f32], fold: F) -> [S::F; 2] {
    let (steps, rest) = x.as_chunks::<STEP>();
    let last = [filled(rest, F::NEUTRAL)];
    let last = if rest.is_empty() { &[][..] } else { &last };
    let [mut even, mut odd] = [simd.splat(F::NEUTRAL); 2];
    for x in steps.iter().chain(last) {
        let (x, _) = x.as_chunks::<16>();
        even = fold.add(simd, even, simd.load(&x[0]));
        odd = fold.add(simd, odd, simd.load(&x[1]));
    }
    [even, odd]
}

/// The canonical sum of what `f` makes of each element.
#[inline(always)]
pub(super) fn sum<S: Simd, F: Fold>(simd: S, x: &[f32], f: F) -> f32 {
    let [even, odd] = fold(simd, x, f);
    simd.sum(simd.add(even, odd))
}

/// `N` elements that begin with `rest`.
#[inline(always)]
fn filled<const N: usize>(rest: &[f32], fill: f32) -> [f32; N] {
    let mut all = [fill; N];
    for (to, &from) in all.iter_mut().zip(rest) {
        *to = from;
    }
    all
}
