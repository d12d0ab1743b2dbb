//! Shares that add up to 1.

use super::elementwise::{each, fold, sum};
use super::exp::exp;
use super::isa::Kernels;
use super::simd::{Algorithm, Simd};

struct Softmax<'s>(&'s mut [f32]);

impl Algorithm for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let x = self.0;
        let [even, odd] = fold(simd, x, f32::NEG_INFINITY, |max, x| simd.max(max, x));
        let mut lanes = [0.0; 16];
        simd.store(simd.max(even, odd), &mut lanes);
        let highest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
        // Not minus infinity: less itself, that is NaN.
        let highest = simd.splat(highest.max(f32::MIN));

        each(simd, x, [], |x, []| exp(simd, simd.sub(x, highest)));
        let sum = sum(simd, x, |sum, x| simd.add(sum, x));
        if sum != 0.0 {
            let sum = simd.splat(sum);
            each(simd, x, [], |x, []| simd.div(x, sum));
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
