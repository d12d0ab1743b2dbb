//! Shares that add up to 1.

use super::elementwise::{Each, Fold, Function, fold, sum};
use super::exp::exp;
use super::isa::Kernels;
use super::simd::{Algorithm, Simd};

#[derive(Clone, Copy)]
struct Highest;

impl Fold for Highest {
    const NEUTRAL: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, highest: S::F, x: S::F) -> S::F {
        simd.max(highest, x)
    }
}

#[derive(Clone, Copy)]
struct Sum;

impl Fold for Sum {
    const NEUTRAL: f32 = 0.0;

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::F, x: S::F) -> S::F {
        simd.add(sum, x)
    }
}

/// e^(x - highest).
#[derive(Clone, Copy)]
struct Weight {
    highest: f32,
}

impl Function<0> for Weight {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, []: [S::F; 0]) -> S::F {
        exp(simd, simd.sub(x, simd.splat(self.highest)))
    }
}

#[derive(Clone, Copy)]
struct Share {
    sum: f32,
}

impl Function<0> for Share {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, weight: S::F, []: [S::F; 0]) -> S::F {
        simd.div(weight, simd.splat(self.sum))
    }
}

struct Softmax<'s>(&'s mut [f32]);

impl Algorithm for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let x = self.0;
        let [even, odd] = fold(simd, x, Highest);
        let mut lanes = [0.0; 16];
        simd.store(simd.max(even, odd), &mut lanes);
        let highest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
        // Not minus infinity: less itself, that is NaN.
        let highest = highest.max(f32::MIN);

        Each(Weight { highest }, x, []).run(simd);
        let sum = sum(simd, x, Sum);
        if sum != 0.0 {
            Each(Share { sum }, x, []).run(simd);
        }
    }
}

impl Kernels {
    /// Sets each element to e^x divided by the sum of them all. The greatest is subtracted first, so that nothing
    /// overflows (Goodfellow, Bengio and Courville 2016, section 4.1).
    ///
    /// Minus infinity masks: it becomes 0. Where everything is masked all become 0. Infinity or NaN makes all NaN.
    pub fn softmax(self, x: &mut [f32]) {
        self.run(Softmax(x));
    }
}
