//! The exponential function, which the activations and softmax are made of.

use super::elementwise::{Each, Function};
use super::isa::Kernels;
use super::simd::Simd;

/// e^x within 2 units in the last place, over all floats: 0 below ln(2^-150), infinity above ln(`f32::MAX`), NaN of NaN.
///
/// x = n ln 2 + r with |r| <= ln(2) / 2 (Cody and Waite 1980, chapter 6), e^r by the polynomial of Cephes' `expf`
/// (Moshier 1992), times 2^n in two steps, for 2^n alone may be out of range where the result is not.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    /// Adding it rounds to an integer, which is then in the low bits: 1.5 * 2^23.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts: the first has so few bits that its product with n is exact.
    const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    /// Of (e^r - 1 - r) / r^2, the highest power first.
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ];

    // Selected, because `min` and `max` may lose a NaN.
    let [low, high] = [simd.splat(-104.0), simd.splat(89.0)];
    let x = simd.select(simd.greater(x, high), high, x);
    let x = simd.select(simd.greater(low, x), low, x);

    let round = simd.splat(ROUND);
    let rounded = simd.mul_add(x, simd.splat(std::f32::consts::LOG2_E), round);
    let n = simd.sub(rounded, round);
    let r = simd.mul_add(n, simd.splat(-LN_2[0]), x);
    let r = simd.mul_add(n, simd.splat(-LN_2[1]), r);

    let mut p = simd.splat(POLYNOMIAL[0]);
    for &coefficient in &POLYNOMIAL[1..] {
        p = simd.mul_add(p, r, simd.splat(coefficient));
    }
    let p = simd.mul_add(p, simd.mul(r, r), r);
    let p = simd.add(p, simd.splat(1.0));

    let n = simd.add_int(
        simd.bits(rounded),
        simd.splat_int(-(ROUND.to_bits() as i32)),
    );
    let half = simd.shift_right_int::<1>(n);
    let other = simd.shift_right_int::<1>(simd.add_int(n, simd.splat_int(1)));
    simd.mul(simd.mul(p, power(simd, half)), power(simd, other))
}

/// 2^n, n from -126 to 127.
#[inline(always)]
fn power<S: Simd>(simd: S, n: S::I) -> S::F {
    let exponent = simd.add_int(n, simd.splat_int(127));
    simd.of_bits(simd.shift_left_int::<23>(exponent))
}

#[derive(Clone, Copy)]
struct Exp;

impl Function<0> for Exp {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::F, []: [S::F; 0]) -> S::F {
        exp(simd, x)
    }
}

impl Kernels {
    /// Sets each element to e to the power of it, within 2 units in the last place.
    pub fn exp(self, x: &mut [f32]) {
        self.run(Each(Exp, x, []));
    }
}
