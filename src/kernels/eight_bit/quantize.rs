//! From 32-bit floats to eight bits, rounded as ggml rounds them.

use super::activations::{Activations, Block, Blocks, Group, Order, Sums, order, phases};
use super::integers::{IntegerAlgorithm, Integers};
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
        const KERNEL: &str = "quantize";
        let len = x.len().checked_div(columns).unwrap_or(0);
        check(KERNEL, "x", x.len(), len * columns)?;
        for format in formats {
            let whole = len.next_multiple_of(format.block_elements());
            check(KERNEL, "a column of whole blocks", len, whole)?;
        }
        let orders = || formats.iter().filter_map(|&format| order(format).ok());
        to.len = len;
        to.columns = columns;
        to.blocks_32.count = 0;
        if orders().any(|order| order.is_none()) {
            self.run_integers(Quantize32 {
                x,
                len,
                to: &mut to.blocks_32,
            });
        }
        for (order, blocks) in Order::ALL.into_iter().zip(&mut to.blocks_256) {
            blocks.count = 0;
            if orders().any(|other| other == Some(order)) {
                self.run_integers(Quantize256 {
                    x,
                    len,
                    order,
                    to: blocks,
                });
            }
        }
        Ok(())
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
    let mut lanes = [0.0; 16];
    simd.store(most, &mut lanes);
    let mut most = 0.0;
    for lane in lanes {
        if lane > most {
            most = lane;
        }
    }
    most + simd.sum(finite)
}

/// `round(x * scale)`, half to even, as bytes.
#[inline(always)]
fn round<S: Simd>(simd: S, x: &[f32], scale: f32, to: &mut [i8]) {
    let (vectors, _) = x.as_chunks::<16>();
    let (bytes, _) = to.as_chunks_mut::<16>();
    for (x, bytes) in vectors.iter().zip(bytes) {
        let x = simd.mul(simd.load(x), simd.splat(scale));
        let mut lanes = [0.0f32; 16];
        simd.store(simd.add(x, simd.splat(ROUND)), &mut lanes);
        for (byte, lane) in bytes.iter_mut().zip(lanes) {
            *byte = lane.to_bits() as i8;
        }
    }
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

struct Quantize32<'s> {
    x: &'s [f32],
    len: usize,
    to: &'s mut Blocks<Group, i32>,
}

impl IntegerAlgorithm for Quantize32<'_> {
    type Output = ();

    /// `quantize_row_q8_0` and `quantize_row_q8_1` of ggml: `d = max / 127`, quants `x * (127 / max)`.
    #[inline(always)]
    fn run<N: Integers>(self, n: N) {
        let simd = n.floats();
        let Quantize32 { x, len, to } = self;
        to.count = len / 32;
        let (stride, columns) = (to.stride(), x.len().checked_div(len).unwrap_or(0));
        to.plain.begin(32 * columns * stride);
        to.scales.begin(columns * stride);
        to.sums.begin(columns * stride);
        to.negative.begin(columns * stride);
        if len == 0 {
            return;
        }
        let (phases, apart) = phases(to.count);
        let groups = to.groups();
        to.quants_len = phases * groups;
        to.quants
            .resize(columns * to.quants_len, Group([[0; 64]; 2]));
        for (column, x) in x.chunks_exact(len).enumerate() {
            let first = to.scales.len();
            let quants = &mut to.quants[column * to.quants_len..][..to.quants_len];
            let (blocks, _) = x.as_chunks::<32>();
            for (number, block) in blocks.iter().enumerate() {
                let most = largest(simd, block);
                let scale = most / 127.0;
                let inverse = if most == 0.0 { 0.0 } else { 127.0 / most };
                let mut bytes = [0i8; 32];
                round(simd, block, inverse, &mut bytes);
                let mut sum = 0;
                for byte in bytes {
                    sum += i32::from(byte);
                }
                to.scales.push(to_half(scale));
                to.sums.push(to_half(scale * sum as f32));
                to.negative.push(-sum);
                to.plain.extend(&bytes);
                let (halves, _) = bytes.as_chunks::<16>();
                for phase in 0..phases {
                    // Wherever it comes round.
                    let mut at = number;
                    while at < phase * apart {
                        at += to.count;
                    }
                    at -= phase * apart;
                    while at < 4 * groups {
                        let Group(group) = &mut quants[phase * groups + at / 4];
                        for (group, half) in group.iter_mut().zip(halves) {
                            group[16 * (at % 4)..][..16].copy_from_slice(half);
                        }
                        at += to.count;
                    }
                }
            }
            for again in first..first + stride - to.count {
                to.scales.push(to.scales[again]);
                to.sums.push(to.sums[again]);
                to.plain.repeat(32 * again, 32);
                to.negative.push(to.negative[again]);
            }
        }
    }
}

struct Quantize256<'s> {
    x: &'s [f32],
    len: usize,
    order: Order,
    to: &'s mut Blocks<Block, Sums>,
}

impl IntegerAlgorithm for Quantize256<'_> {
    type Output = ();

    /// `quantize_row_q8_K` of ggml: the quant of the element that is largest without its sign is -127 or, by rounding, 127.
    #[inline(always)]
    fn run<N: Integers>(self, n: N) {
        let simd = n.floats();
        let Quantize256 { x, len, order, to } = self;
        to.count = len / 256;
        let (stride, columns) = (to.stride(), x.len().checked_div(len).unwrap_or(0));
        to.quants.clear();
        to.scales.begin(columns * stride);
        to.negative.begin(columns * stride);
        if len == 0 {
            return;
        }
        let sixteens = order.sixteens();
        for x in x.chunks_exact(len) {
            let first = to.scales.len();
            let (blocks, _) = x.as_chunks::<256>();
            for block in blocks {
                let most = largest(simd, block);
                let mut signed = most;
                for &x in block {
                    if x.abs() == most {
                        signed = x;
                        break;
                    }
                }
                let inverse = if most == 0.0 { 0.0 } else { -127.0 / signed };
                let scale = if most == 0.0 { 0.0 } else { 1.0 / inverse };
                let mut bytes = [0i8; 256];
                round(simd, block, inverse, &mut bytes);
                let (parts, _) = bytes.as_chunks::<16>();
                let mut negative = [0; 16];
                for (negative, part) in negative.iter_mut().zip(parts) {
                    let mut sum = 0;
                    for &byte in part {
                        sum += i16::from(byte);
                    }
                    *negative = -sum;
                }
                let mut quants = Block([[0; 64]; 4]);
                let (to_parts, _) = quants.0.as_flattened_mut().as_chunks_mut::<16>();
                for (to, sixteen) in to_parts.iter_mut().zip(sixteens) {
                    *to = parts[sixteen];
                }
                to.quants.push(quants);
                to.scales.push(scale);
                to.negative.push(Sums(negative));
            }
            for again in first..first + stride - to.count {
                to.quants.push(to.quants[again]);
                to.scales.push(to.scales[again]);
                to.negative.push(to.negative[again]);
            }
        }
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
