//! RMSNorm and LayerNorm.

use crate::products::every_isa;
use crate::random::Random;
use ringfield::kernels::Kernels;

const EPSILON: f32 = 1e-6;

fn rms_norm(kernels: Kernels, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let mut out = vec![7.0; x.len()];
    kernels.rms_norm(x, weight, EPSILON, &mut out).unwrap();
    out
}

fn layer_norm(kernels: Kernels, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let mut out = vec![7.0; x.len()];
    kernels
        .layer_norm(x, weight, bias, EPSILON, &mut out)
        .unwrap();
    out
}

fn mean(x: impl ExactSizeIterator<Item = f64>) -> f64 {
    let len = x.len() as f64;
    x.sum::<f64>() / len
}

/// What a canonical sum of `len` numbers of one sign and a few products may err, relatively.
fn relative_error(len: usize) -> f64 {
    (len as f64 / 32.0 + 12.0) * 2f64.powi(-24)
}

fn assert_rms_norm(kernels: Kernels, x: &[f32], weight: &[f32]) {
    let squares = mean(x.iter().map(|&x| f64::from(x).powi(2)));
    let root = (squares + f64::from(EPSILON)).sqrt();
    let error = relative_error(x.len());
    let got = rms_norm(kernels, x, weight);
    for ((got, &x), &weight) in got.into_iter().zip(x).zip(weight) {
        let exact = f64::from(x) / root * f64::from(weight);
        let within = (f64::from(got) - exact).abs() <= error * exact.abs();
        assert!(within, "{} {got} is not {exact}", kernels.isa());
    }
}

fn assert_layer_norm(kernels: Kernels, x: &[f32], weight: &[f32], bias: &[f32]) {
    let middle = mean(x.iter().map(|&x| f64::from(x)));
    let size = mean(x.iter().map(|&x| f64::from(x).abs()));
    let variance = mean(x.iter().map(|&x| (f64::from(x) - middle).powi(2)));
    let root = (variance + f64::from(EPSILON)).sqrt();
    let error = relative_error(x.len());
    let got = layer_norm(kernels, x, weight, bias);
    for (at, got) in got.into_iter().enumerate() {
        let [x, weight, bias] = [x[at], weight[at], bias[at]].map(f64::from);
        let product = (x - middle) / root * weight;
        // The mean's own error is one of every difference; it adds to the variance in the second order only.
        let bound = error * (product.abs() + bias.abs() + 2.0 * size / root * weight.abs());
        let within = (f64::from(got) - (product + bias)).abs() <= bound;
        assert!(within, "{} {got} is not {}", kernels.isa(), product + bias);
    }
}

#[test]
fn norms_are_those_of_64_bit_arithmetic() {
    let mut random = Random::new(31);
    for kernels in every_isa() {
        for len in (1..70).chain([576, 1000, 4096]) {
            let (weight, bias) = (random.floats(len), random.floats(len));
            let x = random.floats(len);
            assert_rms_norm(kernels, &x, &weight);
            assert_layer_norm(kernels, &x, &weight, &bias);
            let shifted: Vec<f32> = x.iter().map(|x| x * 100.0 - 30.0).collect();
            assert_layer_norm(kernels, &shifted, &weight, &bias);
        }
    }
}

#[test]
fn squares_that_overflow_are_no_matter() {
    let mut random = Random::new(32);
    for kernels in every_isa() {
        for size in [1e19, 1e30, 3e38] {
            for len in [2, 100, 1000] {
                let x: Vec<f32> = random.floats(len).iter().map(|x| x * size).collect();
                let (weight, bias) = (random.floats(len), random.floats(len));
                assert_rms_norm(kernels, &x, &weight);
                assert_layer_norm(kernels, &x, &weight, &bias);
            }
            let equal = vec![size; 100];
            assert_rms_norm(kernels, &equal, &[1.0; 100]);
        }
    }
}

#[test]
fn small_elements_keep_their_bits_beside_squares_that_overflow() {
    let mut random = Random::new(34);
    for kernels in every_isa() {
        for len in [3, 100] {
            let mut x = random.floats(len);
            for (at, x) in x.iter_mut().enumerate() {
                // Large ones, and small ones whose quotients are no denormals yet.
                let exponent = if at % 3 == 0 {
                    65
                } else {
                    -50 - at as i32 % 10
                };
                *x = (1.0 + x.abs()) * 2f32.powi(exponent).copysign(*x);
            }
            let weight = vec![2f32.powi(100); len];
            assert_rms_norm(kernels, &x, &weight);
        }
    }
}

#[test]
fn without_epsilon_squares_that_underflow_are_a_division_by_zero() {
    for kernels in every_isa() {
        let (ones, bias) = ([1.0; 40], [0.25; 40]);
        let norm = |x: f32| {
            let mut out = [7.0; 40];
            kernels.rms_norm(&[x; 40], &ones, 0.0, &mut out).unwrap();
            assert!(out.iter().all(|y| y.to_bits() == out[0].to_bits()));
            out[0]
        };
        assert!(norm(0.0).is_nan());
        assert_eq!(norm(1e-30), f32::INFINITY);
        assert_eq!(norm(-1e-30), f32::NEG_INFINITY);
        // Squares of a few bits, and of all of them.
        assert!((norm(1e-21) - 1.0).abs() < 0.1);
        assert!((norm(1e-18) - 1.0).abs() < 1e-6);
        let mut out = [7.0; 40];
        kernels
            .rms_norm(&[1e-30; 40], &ones, EPSILON, &mut out)
            .unwrap();
        assert!(out.iter().all(|x| (x / 1e-27 - 1.0).abs() < 1e-6));
        kernels
            .layer_norm(&ones, &ones, &bias, 0.0, &mut out)
            .unwrap();
        assert!(out.iter().all(|x| x.is_nan()));
    }
}

#[test]
fn zeros_stay_zeros_and_what_is_no_number_spreads() {
    for kernels in every_isa() {
        let (ones, bias) = ([1.0; 40], [0.25; 40]);
        assert_eq!(rms_norm(kernels, &[0.0; 40], &ones), [0.0; 40]);
        assert_eq!(layer_norm(kernels, &[0.0; 40], &ones, &bias), bias);
        assert_eq!(layer_norm(kernels, &[8.0; 40], &ones, &bias), bias);
        assert_eq!(rms_norm(kernels, &[], &[]), []);
        assert_eq!(layer_norm(kernels, &[], &[], &[]), []);
        let mut x = [1.0; 40];
        x[37] = f32::NAN;
        assert!(rms_norm(kernels, &x, &ones).iter().all(|x| x.is_nan()));
        let normed = layer_norm(kernels, &x, &ones, &bias);
        assert!(normed.iter().all(|x| x.is_nan()));
    }
}

#[test]
fn norms_do_not_depend_on_the_address() {
    let mut random = Random::new(33);
    let memory = random.floats(1100);
    for kernels in every_isa() {
        for len in [1, 31, 576, 1003] {
            let mut first = None;
            for offset in [0, 1, 5] {
                let mut moved = vec![0.0; offset];
                moved.extend_from_slice(&memory[..len]);
                let x = &moved[offset..];
                let normed = [rms_norm(kernels, x, x), layer_norm(kernels, x, x, x)];
                assert_eq!(first.get_or_insert_with(|| normed.clone()), &normed);
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_errors_and_nothing_is_written() {
    let kernels = Kernels::new();
    let (two, three) = ([1.0; 2], [1.0; 3]);
    let mut out = [7.0; 3];
    assert!(kernels.rms_norm(&three, &two, EPSILON, &mut out).is_err());
    assert!(kernels.rms_norm(&two, &two, EPSILON, &mut out).is_err());
    for [x, weight, bias] in [
        [&three[..], &two, &three],
        [&three, &three, &two],
        [&two, &two, &two],
    ] {
        let error = kernels.layer_norm(x, weight, bias, EPSILON, &mut out);
        assert!(error.is_err());
    }
    assert_eq!(out, [7.0; 3]);
}
