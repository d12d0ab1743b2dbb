//! From 32-bit floats to eight bits, rounded as ggml rounds them.

use super::activations::{Activations, Layout, Order, Piece, layout};
use super::integers::{IntegerAlgorithm, Integers};
use super::records::{Record32, Record256};
use super::single::{Block, Blocks256, Halves, Sums};
use crate::kernels::isa::Kernels;
use crate::kernels::row_format::RowFormat;
use crate::kernels::shape::{ShapeError, check};
use crate::kernels::simd::Simd;

impl Kernels {
    /// Quantizes `columns` vectors, one after the other in `x`, for products with rows of `formats`. Formats of floats
    /// among them need nothing.
    ///
    /// A vector that has an element that is not finite gives products that are no numbers.
    ///
    /// # Errors
    /// A length that is no whole blocks of a format, or no multiple of `columns`.
    pub fn quantize(
        self,
        x: &[f32],
        columns: usize,
        formats: &[RowFormat],
        to: &mut Activations,
    ) -> Result<(), ShapeError> {
        let len = x.len().checked_div(columns).unwrap_or(0);
        check("quantize", "x", x.len(), len * columns)?;
        to.begin(columns, len, formats)?;
        for piece in to.pieces(columns) {
            self.quantize_piece(x, formats, piece)?;
        }
        Ok(())
    }

    /// Quantizes the columns of a piece, for the formats that [`Activations::begin`] was given.
    ///
    /// # Errors
    /// Another length than the piece's.
    pub(crate) fn quantize_piece(
        self,
        x: &[f32],
        formats: &[RowFormat],
        piece: Piece<'_>,
    ) -> Result<(), ShapeError> {
        check("quantize", "x", x.len(), piece.columns * piece.len)?;
        self.run_integers(Quantize { x, formats, piece });
        Ok(())
    }
}

struct Quantize<'s> {
    x: &'s [f32],
    formats: &'s [RowFormat],
    piece: Piece<'s>,
}

impl IntegerAlgorithm for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<N: Integers>(self, n: N) {
        let (simd, x) = (n.floats(), self.x);
        let Piece {
            single,
            records_32,
            records_256,
            ..
        } = self.piece;
        for (x, record) in x.as_chunks().0.iter().zip(&mut *records_32) {
            *record = record_32(simd, x);
        }
        for (x, record) in x.as_chunks().0.iter().zip(records_256) {
            *record = record_256(simd, x);
        }
        let Some(single) = single else { return };
        let needs = |wanted| self.formats.iter().any(|&f| layout(f) == Some(wanted));
        for (halves, chunks) in [Halves::Apart, Halves::Beside]
            .into_iter()
            .zip(&mut single.chunks_32)
        {
            if needs(Layout::Of32(halves)) {
                chunks.fill(records_32, halves);
            }
        }
        for (order, blocks) in Order::ALL.into_iter().zip(&mut single.blocks_256) {
            if needs(Layout::Of256(order)) {
                single_256(simd, x, order, blocks);
            }
        }
    }
}

/// The nearest integer in the lowest byte, for numbers that are small: 1.5 * 2^23 moves it there.
const ROUND: f32 = 12_582_912.0;

/// The largest element without its sign; NaN where one is not finite.
#[inline(always)]
fn largest<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (vectors, _) = x.as_chunks::<16>();
    let magnitude = simd.splat_int(0x7fff_ffff);
    let mut most = simd.splat(0.0);
    // Zero times what is not finite is no number, and stays none in a sum.
    let mut finite = simd.splat(0.0);
    for x in vectors {
        let x = simd.load(x);
        most = simd.max(most, simd.of_bits(simd.and_int(simd.bits(x), magnitude)));
        finite = simd.mul_add(x, simd.splat(0.0), finite);
    }
    simd.greatest(most) + simd.sum(finite)
}

/// `round(x * scale)`, half to even, as bytes. Returns their sums, vector by vector.
#[inline(always)]
fn round<S: Simd>(simd: S, x: &[f32], scale: f32, to: &mut [i8]) -> S::F {
    let (vectors, _) = x.as_chunks::<16>();
    let (bytes, _) = to.as_chunks_mut::<16>();
    let mut sum = simd.splat(0.0);
    for (x, bytes) in vectors.iter().zip(bytes) {
        let x = simd.mul(simd.load(x), simd.splat(scale));
        let x = simd.add(x, simd.splat(ROUND));
        sum = simd.add(sum, simd.sub(x, simd.splat(ROUND)));
        let mut lanes = [0.0f32; 16];
        simd.store(x, &mut lanes);
        for (byte, lane) in bytes.iter_mut().zip(lanes) {
            *byte = lane.to_bits() as i8;
        }
    }
    sum
}

/// The nearest half-precision number (binary16), half to even.
#[inline(always)]
fn to_half(x: f32) -> f32 {
    /// From here on the nearest is infinite.
    const TOO_LARGE: f32 = 65_520.0;
    const LEAST_NORMAL: u32 = 0x3880_0000;
    const EXPONENT: u32 = 0x7f80_0000;
    if x.is_nan() || x.abs() >= TOO_LARGE {
        return x * f32::INFINITY;
    }
    // Beside 1.5 * 2^13 times its power of two a number loses what half precision has no bits for.
    let power = f32::from_bits((x.to_bits() & EXPONENT).max(LEAST_NORMAL));
    let beside = 12_288.0 * power;
    (x + beside) - beside
}

/// 32 elements, quantized.
struct Quants32 {
    quants: [i8; 32],
    sum: i32,
    scale: f32,
    /// The scale before it was rounded, times the sum.
    scaled_sum: f32,
}

/// `quantize_row_q8_0` and `quantize_row_q8_1` of ggml: `d = max / 127`, quants `x * (127 / max)`.
#[inline(always)]
fn quants_32<S: Simd>(simd: S, x: &[f32; 32]) -> Quants32 {
    let most = largest(simd, x);
    let scale = most / 127.0;
    let inverse = if most == 0.0 { 0.0 } else { 127.0 / most };
    let mut quants = [0; 32];
    // Small integers, whose sum is exact.
    let sum = simd.sum(round(simd, x, inverse, &mut quants)) as i32;
    Quants32 {
        quants,
        sum,
        scale: to_half(scale),
        scaled_sum: to_half(scale * sum as f32),
    }
}

/// 256 elements, quantized.
struct Quants256 {
    quants: [i8; 256],
    /// Minus the sums of the sixteens.
    negative: [i16; 16],
    scale: f32,
}

/// `quantize_row_q8_K` of ggml: the quant of the element that is largest without its sign is -127 or, by rounding, 127.
#[inline(always)]
fn quants_256<S: Simd>(simd: S, x: &[f32; 256]) -> Quants256 {
    let most = largest(simd, x);
    let mut signed = most;
    for &x in x {
        if x.abs() == most {
            signed = x;
            break;
        }
    }
    let inverse = if most == 0.0 { 0.0 } else { -127.0 / signed };
    let scale = if most == 0.0 { 0.0 } else { 1.0 / inverse };
    let mut quants = [0; 256];
    round(simd, x, inverse, &mut quants);
    let (parts, _) = quants.as_chunks::<16>();
    let mut negative = [0; 16];
    for (negative, part) in negative.iter_mut().zip(parts) {
        let mut sum = 0;
        for &quant in part {
            sum += i16::from(quant);
        }
        *negative = -sum;
    }
    Quants256 {
        quants,
        negative,
        scale,
    }
}

#[inline(always)]
fn fours<const N: usize>(quants: &[i8]) -> [i32; N] {
    let mut fours = [0; N];
    for (four, &[a, b, c, d]) in fours.iter_mut().zip(quants.as_chunks().0) {
        *four = i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8]);
    }
    fours
}

#[inline(always)]
fn record_32<S: Simd>(simd: S, x: &[f32; 32]) -> Record32 {
    let of = quants_32(simd, x);
    Record32 {
        quants: fours(&of.quants),
        negative: -of.sum,
        scale: of.scale,
        sum: of.scaled_sum,
    }
}

#[inline(always)]
fn record_256<S: Simd>(simd: S, x: &[f32; 256]) -> Record256 {
    let of = quants_256(simd, x);
    let mut record = Record256 {
        quants: fours(&of.quants),
        scale: of.scale,
        ..Record256::default()
    };
    for (to, &sum) in record.negative_16.iter_mut().zip(&of.negative) {
        *to = i32::from(sum);
    }
    for (to, &[a, b]) in record.negative_32.iter_mut().zip(of.negative.as_chunks().0) {
        *to = i32::from(a) + i32::from(b);
    }
    record
}

#[inline(always)]
fn single_256<S: Simd>(simd: S, x: &[f32], order: Order, to: &mut Blocks256) {
    let (blocks, _) = x.as_chunks::<256>();
    to.count = blocks.len();
    let round = to.round();
    to.quants.clear();
    to.scales.begin(round);
    to.negative.begin(round);
    if blocks.is_empty() {
        return;
    }
    let sixteens = order.sixteens();
    for block in blocks {
        let of = quants_256(simd, block);
        let (parts, _) = of.quants.as_chunks::<16>();
        let mut quants = Block([[0; 64]; 4]);
        let (to_parts, _) = quants.0.as_flattened_mut().as_chunks_mut::<16>();
        for (to, sixteen) in to_parts.iter_mut().zip(sixteens) {
            *to = parts[sixteen];
        }
        to.quants.push(quants);
        to.scales.push(of.scale);
        to.negative.push(Sums(of.negative));
    }
    for again in 0..round - to.count {
        to.quants.push(to.quants[again]);
        to.scales.push(to.scales[again]);
        to.negative.push(to.negative[again]);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::to_half;

    #[test]
    fn a_float_is_rounded_to_the_half_that_the_standard_says() {
        // Every exponent and sign with fractions around every rounding, among them all ties.
        for high in 0..=0xffff_u32 {
            for low in [
                0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3000, 0x8000, 0xf000, 0xffff,
            ] {
                let x = f32::from_bits(high << 16 | low);
                let expected = half::f16::from_f32(x).to_f32();
                let got = to_half(x);
                assert!(
                    got == expected || (got.is_nan() && expected.is_nan()),
                    "{x:e}: {got:e}, not {expected:e}"
                );
            }
        }
    }
}
