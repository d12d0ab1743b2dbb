//! Dot products and matrices.

use crate::random::Random;
use ringfield::kernels::{Isa, Kernels, RowFormat};

pub(crate) fn every_isa() -> impl Iterator<Item = Kernels> {
    Isa::ALL.into_iter().filter_map(Kernels::with)
}

/// |got - ref| <= n 2^-24 sum |a b| + n 2^-149: what any order of n products may err (Higham 2002, section 3.1).
pub(crate) fn assert_close(got: f32, a: &[f32], b: &[f32], what: &str) {
    let products = || a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    let (exact, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
    let n = a.len() as f64;
    let bound = n * 2f64.powi(-24) * size + n * 2f64.powi(-149);
    assert!(
        (f64::from(got) - exact).abs() <= bound,
        "{what}: {got} is not {exact} within {bound}"
    );
}

#[test]
fn dot_products_of_any_length_and_alignment_are_within_the_error_of_their_products() {
    let mut random = Random::new(1);
    let (a, b) = (random.floats(5000), random.floats(5000));
    for kernels in every_isa() {
        for len in (0..200).chain([255, 256, 257, 1000, 4095, 4990]) {
            for offset in [0, 1, 3] {
                let (a, b) = (&a[offset..offset + len], &b[offset + 1..offset + 1 + len]);
                let got = kernels.dot(a, b).unwrap();
                assert_close(got, a, b, &format!("{} {len}", kernels.isa()));
            }
        }
    }
}

#[test]
fn denormal_numbers_count() {
    let tiny = vec![f32::from_bits(3); 100];
    for kernels in every_isa() {
        let got = kernels.dot(&tiny, &[1.0; 100]).unwrap();
        assert_eq!(got, f32::from_bits(300), "{}", kernels.isa());
    }
}

/// Two slices whose products are of 30 powers of two from `2^least` on, though the factors may be of any.
fn factors(random: &mut Random, len: usize, least: i32) -> [Vec<f32>; 2] {
    let mut factors = [vec![0.0; len], vec![0.0; len]];
    for i in 0..len {
        let product = least + (random.next() % 30) as i32;
        // Both within the floats, denormals included.
        let (low, high) = ((product - 126).max(-149), (product + 149).min(126));
        let a = low + (random.next() % (high - low + 1) as u64) as i32;
        for (factor, exponent) in factors.iter_mut().zip([a, product - a]) {
            let mantissa = f64::from(1.0 + random.float().abs());
            let sign = f64::from(random.float()).signum();
            factor[i] = (sign * mantissa * 2f64.powi(exponent)) as f32;
        }
    }
    factors
}

#[test]
fn products_of_any_size_are_within_their_error_and_denormal_ones_count() {
    let mut random = Random::new(5);
    // From products that are all lost, over denormal ones, to sums that just fit.
    for least in (-200..=80).step_by(7) {
        for len in [1, 2, 17, 33, 100, 1000] {
            let [a, b] = factors(&mut random, len, least);
            let bytes: Vec<u8> = a.iter().flat_map(|a| a.to_le_bytes()).collect();
            for kernels in every_isa() {
                let what = format!("{} {len} 2^{least}", kernels.isa());
                let got = kernels.dot(&a, &b).unwrap();
                assert_close(got, &a, &b, &what);
                let mut row = [0.0];
                kernels
                    .matvec(RowFormat::F32, &bytes, &b, &mut row)
                    .unwrap();
                assert_close(row[0], &a, &b, &what);
            }
        }
    }
}

#[test]
fn the_bits_of_a_row_do_not_depend_on_the_call_the_batch_or_the_address() {
    let mut random = Random::new(2);
    let rows = 13;
    for len in [1, 31, 32, 33, 576, 1000] {
        let weights = random.floats(rows * len);
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let moved = [&[0u8; 3][..], &bytes].concat();
        let columns = 7;
        let x = random.floats(columns * len);
        for kernels in every_isa() {
            let mut batched = vec![0.0; rows * columns];
            let mut scratch = vec![0.0; Kernels::scratch_len(len)];
            kernels
                .matvec_columns(
                    RowFormat::F32,
                    &moved[3..],
                    &x,
                    columns,
                    &mut batched,
                    &mut scratch,
                )
                .unwrap();
            for c in 0..columns {
                let x = &x[c * len..(c + 1) * len];
                let mut all = vec![0.0; rows];
                kernels.matvec(RowFormat::F32, &bytes, x, &mut all).unwrap();
                for r in 0..rows {
                    let dot = kernels.dot(&weights[r * len..(r + 1) * len], x).unwrap();
                    assert_eq!(all[r].to_bits(), dot.to_bits(), "{} {len}", kernels.isa());
                    let row = &bytes[r * len * 4..(r + 1) * len * 4];
                    let packed = kernels.dot_row(RowFormat::F32, row, x).unwrap();
                    assert_eq!(packed.to_bits(), dot.to_bits());
                    let column = batched[r * columns + c];
                    assert_eq!(column.to_bits(), dot.to_bits(), "{} {len}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors_and_nothing_is_written() {
    let kernels = Kernels::new();
    assert!(kernels.dot(&[1.0], &[1.0, 2.0]).is_err());
    let mut out = [7.0; 2];
    let error = kernels.matvec(RowFormat::F32, &[0; 23], &[1.0; 3], &mut out);
    let error = error.unwrap_err();
    assert_eq!((error.have, error.need, out), (23, 24, [7.0; 2]));
    let mut scratch = [0.0; 5];
    let short = kernels.matvec_columns(
        RowFormat::F32,
        &[0; 24],
        &[1.0; 3],
        1,
        &mut out,
        &mut scratch,
    );
    assert!(short.is_err());
}
