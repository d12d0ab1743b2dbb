//! Half-precision floats where no instruction converts them.

use crate::kernels::simd::Simd;

/// The floats whose binary16 (IEEE 754-2008) is in the low halves of the lanes, whose high halves are zero. Exactly.
///
/// Exponent and fraction are moved to their places in a 32-bit float, which then is too small by 2^112, the difference of
/// the biases: also where it is a denormal (Giesen 2012, "Half to float done quick").
#[inline(always)]
pub(super) fn half<S: Simd>(simd: S, bits: S::I) -> S::F {
    const REBIAS: f32 = (1u128 << 112) as f32;
    let magnitude = simd.shift_left_int::<13>(simd.and_int(bits, simd.splat_int(0x7fff)));
    let float = simd.mul(simd.of_bits(magnitude), simd.splat(REBIAS));
    // The highest exponent is infinity's and NaN's.
    let highest = simd.or_int(simd.bits(float), simd.splat_int(0x7f80_0000));
    let is_number = simd.greater(simd.splat(65536.0), float);
    let magnitude = simd.select(is_number, float, simd.of_bits(highest));
    let sign = simd.shift_left_int::<16>(simd.and_int(bits, simd.splat_int(0x8000)));
    simd.of_bits(simd.or_int(simd.bits(magnitude), sign))
}
