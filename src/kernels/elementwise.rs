//! Going over slices sixteen elements at a time: functions of one element, and sums in the canonical order.

use super::formats::STEP;
use super::simd::Simd;

/// Sets each element of `to` to `f` of it and of the elements of `from` at its place. All have one length.
///
/// The last elements are computed as the others are, in a vector that is filled up with zeros: so an element's bits do
/// not depend on where it is.
#[inline(always)]
pub(super) fn each<S: Simd, const N: usize>(
    simd: S,
    to: &mut [f32],
    from: [&[f32]; N],
    f: impl Fn(S::F, [S::F; N]) -> S::F,
) {
    let (whole, rest) = to.as_chunks_mut::<16>();
    let from = from.map(|from| from.as_chunks::<16>());
    // All have as many; the compiler is told so.
    let vectors = from.map(|(vectors, _)| &vectors[..whole.len()]);
    for (at, to) in whole.iter_mut().enumerate() {
        let y = f(simd.load(to), vectors.map(|x| simd.load(&x[at])));
        simd.store(y, to);
    }
    if !rest.is_empty() {
        let load = |rest: &[f32]| simd.load(&filled(rest, 0.0));
        let mut last = [0.0; 16];
        simd.store(f(load(rest), from.map(|(_, rest)| load(rest))), &mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Folds `x` into two accumulators of sixteen lanes, where the canonical order puts each element; `x` is filled up with
/// `neutral`, which both begin with.
#[inline(always)]
pub(super) fn fold<S: Simd>(
    simd: S,
    x: &[f32],
    neutral: f32,
    f: impl Fn(S::F, S::F) -> S::F,
) -> [S::F; 2] {
    let (steps, rest) = x.as_chunks::<STEP>();
    let mut accumulators = [simd.splat(neutral); 2];
    let mut step = |x: &[f32; STEP]| {
        let (halves, _) = x.as_chunks::<16>();
        accumulators = [
            f(accumulators[0], simd.load(&halves[0])),
            f(accumulators[1], simd.load(&halves[1])),
        ];
    };
    steps.iter().for_each(&mut step);
    if !rest.is_empty() {
        step(&filled(rest, neutral));
    }
    accumulators
}

/// The canonical sum of `f` of each element. `f` of 0 must be 0.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, x: &[f32], add: impl Fn(S::F, S::F) -> S::F) -> f32 {
    let [even, odd] = fold(simd, x, 0.0, add);
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
