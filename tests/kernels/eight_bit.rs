//! Products of packed rows with eight-bit activations, against the same sums in 64-bit arithmetic.

use crate::plain::half_at;
use crate::products::every_isa;
use crate::random::Random;
use crate::rows::rows;
use ringfield::kernels::{Activations, Kernels, RowFormat};

fn packed_formats() -> impl Iterator<Item = RowFormat> {
    RowFormat::ALL
        .into_iter()
        .filter(|format| format.block_elements() > 1)
}

fn lengths(format: RowFormat) -> Vec<usize> {
    let blocks = [1, 2, 3, 4, 5, 8, 15, 16, 17, 18, 20, 31, 33, 48, 63, 64];
    let mut lengths: Vec<usize> = blocks.map(|n| n * format.block_elements()).to_vec();
    if format.block_elements() == 32 {
        // Longer than what is kept of a strip.
        lengths.push(32 * 517);
    }
    lengths
}

/// The nearest half-precision number, by its definition.
fn nearest_half(x: f32) -> f64 {
    let x = f64::from(x);
    let exponent = x.abs().log2().floor().max(-14.0);
    let step = (exponent - 10.0).exp2();
    (x / step).round_ties_even() * step
}

/// What a vector is worth once it is quantized beside `format`, element by element; and for each block of 32, `s`.
///
/// ggml's `quantize_row_q8_0`, `quantize_row_q8_1` and `quantize_row_q8_K`.
fn quantized(format: RowFormat, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let mut elements = Vec::new();
    let mut sums = Vec::new();
    for block in x.chunks(format.block_elements()) {
        let largest = block.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let signed = block.iter().copied().find(|x| x.abs() == largest);
        let (inverse, scale) = match block.len() {
            32 => (127.0 / largest, nearest_half(largest / 127.0)),
            _ => {
                let inverse = -127.0 / signed.unwrap();
                (inverse, f64::from(1.0 / inverse))
            }
        };
        let inverse = if largest == 0.0 { 0.0 } else { inverse };
        let scale = if largest == 0.0 { 0.0 } else { scale };
        let quants: Vec<f32> = block
            .iter()
            .map(|x| (x * inverse).round_ties_even())
            .collect();
        sums.push(nearest_half(largest / 127.0 * quants.iter().sum::<f32>()));
        elements.extend(quants.iter().map(|&q| f64::from(q) * scale));
    }
    (elements, sums)
}

/// The product, and the sum of its parts' magnitudes.
fn expected(format: RowFormat, row: &[u8], x: &[f32]) -> (f64, f64) {
    let mut weights = vec![0.0; x.len()];
    let plain = Kernels::with(ringfield::kernels::Isa::Scalar).unwrap();
    plain.dequantize(format, row, &mut weights).unwrap();
    let (x, sums) = quantized(format, x);
    let offset_at = matches!(format, RowFormat::Q4_1 | RowFormat::Q5_1);
    let (mut sum, mut magnitude) = (0.0, 0.0);
    for (number, block) in row.chunks(format.block_bytes()).enumerate() {
        let elements = number * format.block_elements()..(number + 1) * format.block_elements();
        let offset = match offset_at {
            true => f64::from(half_at(block, 2)),
            false => 0.0,
        };
        for (weight, x) in weights[elements.clone()].iter().zip(&x[elements]) {
            sum += (f64::from(*weight) - offset) * x;
            magnitude += (f64::from(*weight) * x).abs() + (offset * x).abs();
        }
        sum += offset * sums[number];
    }
    (sum, magnitude)
}

#[test]
fn a_product_is_that_of_the_same_integers_in_64_bits() {
    let mut random = Random::new(77);
    for format in packed_formats() {
        for len in lengths(format) {
            let count = 5;
            let packed = rows(&mut random, format, count, len);
            let row_bytes = format.row_bytes(len).unwrap();
            let x = random.floats(len);
            let expected: Vec<(f64, f64)> = packed
                .chunks(row_bytes)
                .map(|row| expected(format, row, &x))
                .collect();
            for kernels in every_isa() {
                let mut activations = Activations::new();
                kernels
                    .quantize(&x, 1, &[format], &mut activations)
                    .unwrap();
                let mut out = vec![f32::NAN; count];
                kernels
                    .matvec_quantized(format, &packed, &activations, &mut out)
                    .unwrap();
                for (&got, &(want, magnitude)) in out.iter().zip(&expected) {
                    let error = (f64::from(got) - want).abs();
                    assert!(
                        error <= 4e-7 * magnitude,
                        "{format} {len} {}: {got}, not {want}",
                        kernels.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn a_product_does_not_depend_on_the_call_the_batch_or_other_formats() {
    let mut random = Random::new(78);
    let count = 37;
    for format in packed_formats() {
        for (columns, len) in [7, 37, 2].into_iter().cycle().zip(lengths(format)) {
            let packed = rows(&mut random, format, count, len);
            let row_bytes = format.row_bytes(len).unwrap();
            let x = random.floats(columns * len);
            let all: Vec<RowFormat> = packed_formats()
                .filter(|other| len.is_multiple_of(other.block_elements()))
                .collect();
            let mut bits = Vec::new();
            for kernels in every_isa() {
                // What was in it before does not matter.
                let mut activations = Activations::new();
                kernels
                    .quantize(&x[..len], 1, &all, &mut activations)
                    .unwrap();
                kernels
                    .quantize(&x, columns, &all, &mut activations)
                    .unwrap();
                assert_eq!((activations.len(), activations.columns()), (len, columns));
                let mut out = vec![f32::NAN; count * columns];
                kernels
                    .matvec_quantized(format, &packed, &activations, &mut out)
                    .unwrap();
                for (c, x) in x.chunks(len).enumerate() {
                    let mut activations = Activations::new();
                    kernels.quantize(x, 1, &[format], &mut activations).unwrap();
                    for from in [0, 1, 2, 5, 30, 36] {
                        let mut part = vec![f32::NAN; (count - from).min(9)];
                        let bytes = from * row_bytes..(from + part.len()) * row_bytes;
                        kernels
                            .matvec_quantized(format, &packed[bytes], &activations, &mut part)
                            .unwrap();
                        for (r, part) in part.iter().enumerate() {
                            let whole = out[(from + r) * columns + c];
                            assert!(
                                part.to_bits() == whole.to_bits(),
                                "{format} {len} {}: row {from} + {r}, column {c}: {part}, {whole}",
                                kernels.isa()
                            );
                        }
                    }
                }
                let out: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                bits.push((kernels.isa(), out));
            }
            for (isa, out) in &bits {
                for (other, same) in &bits {
                    if isa.fuses() == other.fuses() {
                        assert!(out == same, "{format} {len}: {isa} and {other} differ");
                    }
                }
            }
        }
    }
}

#[test]
fn a_matrix_that_no_cache_holds_gives_what_its_rows_give() {
    let mut random = Random::new(79);
    for format in [RowFormat::Q8_0, RowFormat::Q6_K] {
        let len = 256 * 20;
        let row_bytes = format.row_bytes(len).unwrap();
        let count = (1 << 20) / row_bytes + 20;
        let some = rows(&mut random, format, 7, len);
        let packed: Vec<u8> = some
            .iter()
            .copied()
            .cycle()
            .take(count * row_bytes)
            .collect();
        let x = random.floats(len);
        for kernels in every_isa() {
            let mut activations = Activations::new();
            kernels
                .quantize(&x, 1, &[format], &mut activations)
                .unwrap();
            let (mut out, mut alone) = (vec![f32::NAN; count], [f32::NAN; 7]);
            kernels
                .matvec_quantized(format, &packed, &activations, &mut out)
                .unwrap();
            kernels
                .matvec_quantized(format, &some, &activations, &mut alone)
                .unwrap();
            for (out, alone) in out.iter().zip(alone.iter().cycle()) {
                assert_eq!(out.to_bits(), alone.to_bits(), "{format} {}", kernels.isa());
            }
        }
    }
}

#[test]
fn products_have_the_bits_that_they_had_on_other_processors() {
    for kernels in every_isa() {
        let mut random = Random::new(81);
        // FNV-1a.
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for format in packed_formats() {
            for blocks in [1, 9, 16, 21] {
                let len = blocks * format.block_elements();
                let (count, columns) = (5, 5);
                let packed = rows(&mut random, format, count, len);
                let x = random.floats(columns * len);
                let mut activations = Activations::new();
                kernels
                    .quantize(&x, columns, &[format], &mut activations)
                    .unwrap();
                let mut out = vec![f32::NAN; count * columns];
                kernels
                    .matvec_quantized(format, &packed, &activations, &mut out)
                    .unwrap();
                for byte in out.iter().flat_map(|x| x.to_le_bytes()) {
                    sum = (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
        }
        let expected: u64 = match kernels.isa().fuses() {
            true => 0x1a36_0e7f_f393_7e3e,
            false => 0xa3df_4cb5_ad58_ae10,
        };
        assert_eq!(sum, expected, "{}", kernels.isa());
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_nothing_is_nothing() {
    let mut random = Random::new(79);
    for kernels in every_isa() {
        for format in packed_formats() {
            let len = 2 * format.block_elements();
            let packed = rows(&mut random, format, 3, len);
            let x = random.floats(2 * len);
            let mut activations = Activations::new();
            let refused = |weights: &[u8], x: &Activations, rows: usize| {
                let mut out = vec![0.0; rows];
                kernels
                    .matvec_quantized(format, weights, x, &mut out)
                    .unwrap_err()
                    .to_string()
            };
            // Never quantized, or for others only.
            assert!(refused(&packed, &activations, 3).contains("out"));
            let other = match format.block_elements() {
                32 => RowFormat::F16,
                _ => RowFormat::Q8_0,
            };
            kernels.quantize(&x, 2, &[other], &mut activations).unwrap();
            assert!(refused(&packed, &activations, 6).contains("quantized"));
            // No whole blocks, and columns that are none.
            for (x, columns) in [(&x[1..len], 1), (&x[..], 3), (&x[..], 0)] {
                assert!(
                    kernels
                        .quantize(x, columns, &[format], &mut activations)
                        .is_err()
                );
            }
            kernels
                .quantize(&x, 2, &[format], &mut activations)
                .unwrap();
            assert!(activations.memory_bytes() >= x.len() as u64);
            assert!(refused(&packed, &activations, 5).contains("out"));
            assert!(refused(&packed[1..], &activations, 6).contains("weights"));
            assert!(refused(&packed, &activations, 4).contains("weights"));
            kernels
                .matvec_quantized(format, &[], &activations, &mut [])
                .unwrap();
            // Columns of nothing.
            kernels
                .quantize(&[], 2, &[format], &mut activations)
                .unwrap();
            assert!(activations.is_empty());
            let mut out = [f32::NAN; 4];
            kernels
                .matvec_quantized(format, &[], &activations, &mut out)
                .unwrap();
            assert_eq!(out, [0.0; 4]);
        }
        let mut activations = Activations::new();
        kernels
            .quantize(&[1.0; 32], 1, &[RowFormat::Q8_0], &mut activations)
            .unwrap();
        for format in [RowFormat::F32, RowFormat::F16, RowFormat::Bf16] {
            let weights = vec![0; format.row_bytes(32).unwrap()];
            assert!(
                kernels
                    .matvec_quantized(format, &weights, &activations, &mut [0.0])
                    .is_err()
            );
        }
    }
}

#[test]
fn what_is_not_finite_gives_no_number_and_zeros_give_zero() {
    let mut random = Random::new(80);
    for kernels in every_isa() {
        for format in packed_formats() {
            let len = 3 * format.block_elements();
            let packed = rows(&mut random, format, 2, len);
            let product = |x: &[f32]| {
                let mut activations = Activations::new();
                kernels.quantize(x, 1, &[format], &mut activations).unwrap();
                let mut out = [1.0; 2];
                kernels
                    .matvec_quantized(format, &packed, &activations, &mut out)
                    .unwrap();
                out
            };
            assert_eq!(product(&vec![0.0; len]), [0.0; 2]);
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 31, len - 1] {
                    let mut x = random.floats(len);
                    x[at] = odd;
                    assert!(
                        product(&x).iter().all(|x| x.is_nan()),
                        "{format} {odd} at {at}: {:?}",
                        product(&x)
                    );
                }
            }
        }
    }
}
