//! Functions of one element, over all floats.

use crate::products::every_isa;
use crate::random::Random;
use ringfield::kernels::Kernels;

type Function = (&'static str, fn(Kernels, &mut [f32]));
/// What a function is in 64-bit arithmetic.
type Exact = fn(f64) -> f64;

pub(crate) const OF_ONE_ELEMENT: [Function; 8] = [
    ("exp", |k, x| k.exp(x)),
    ("relu", |k, x| k.relu(x)),
    ("silu", |k, x| k.silu(x)),
    ("gelu_tanh", |k, x| k.gelu_tanh(x)),
    ("gelu_erf", |k, x| k.gelu_erf(x)),
    ("scale", |k, x| k.scale(0.3, x)),
    ("add", |k, x| k.add(&vec![0.1; x.len()], x).unwrap()),
    ("axpy", |k, x| k.axpy(0.3, &vec![0.1; x.len()], x).unwrap()),
];

const ACTIVATIONS: [(Function, Exact); 4] = [
    (OF_ONE_ELEMENT[1], |x| x.max(0.0)),
    (OF_ONE_ELEMENT[2], |x| x / (1.0 + (-x).exp())),
    (OF_ONE_ELEMENT[3], |x| {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        x * (1.0 + u.tanh()) / 2.0
    }),
    (OF_ONE_ELEMENT[4], |x| {
        x * (1.0 + erf(x / 2f64.sqrt())) / 2.0
    }),
];

/// Abramowitz and Stegun 1964, formula 7.1.6: all of its terms have one sign. Beyond 6 it is 1 in 64 bits.
fn erf(x: f64) -> f64 {
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum: f64 = 0.0;
    let mut n = 0.0;
    while term.abs() > 1e-18 * sum.abs() && n < 500.0 {
        sum += term;
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

/// Every n-th of all floats, n being `RINGFIELD_FLOAT_STEP` or 20011, in slices.
fn all_floats() -> impl Iterator<Item = Vec<f32>> {
    let step = std::env::var("RINGFIELD_FLOAT_STEP").ok();
    let step: u64 = step.map_or(20_011, |step| step.parse().unwrap());
    let mut at = 0u64;
    std::iter::from_fn(move || {
        let bits = (at..1 << 32).step_by(step as usize).take(4096);
        let x: Vec<f32> = bits.map(|bits| f32::from_bits(bits as u32)).collect();
        at += 4096 * step;
        (!x.is_empty()).then_some(x)
    })
}

/// The floats around each of `centres`, and the special ones.
fn edges(centres: &[f32]) -> Vec<f32> {
    let around = |x: &f32| {
        let bits = x.to_bits();
        (bits.saturating_sub(300)..=bits.saturating_add(300)).map(f32::from_bits)
    };
    let special = [0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN];
    let both = special.into_iter().flat_map(|x| [x, -x]);
    centres.iter().flat_map(around).chain(both).collect()
}

/// Calls `check(x, f(x))`.
fn for_each(f: impl Fn(&mut [f32]), x: &[f32], check: impl Fn(f32, f32)) {
    let mut y = x.to_vec();
    f(&mut y);
    x.iter().zip(y).for_each(|(&x, y)| check(x, y));
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    // Overflow, underflow, and where n changes.
    let edges = edges(&[
        88.72284, -87.33655, -103.97208, 0.34657, -0.34657, 1e-8, 1e-40,
    ]);
    for kernels in every_isa() {
        let check = |x: f32, y: f32| {
            let exact = f64::from(x).exp();
            if exact.is_nan() {
                return assert!(y.is_nan(), "{} exp({x}) = {y}", kernels.isa());
            }
            // What is beyond the largest float is as far as the first that is not one.
            let beyond = 2f64.powi(128);
            let unit =
                2f64.powi(exact.clamp(2f64.powi(-126), beyond / 2.0).log2().floor() as i32 - 23);
            let units = (f64::from(y).min(beyond) - exact.min(beyond)).abs() / unit;
            assert!(
                units <= 2.0,
                "{} exp({x:e}) = {y:e}, {units} units",
                kernels.isa()
            );
        };
        for_each(|x| kernels.exp(x), &edges, check);
        for x in all_floats() {
            for_each(|x| kernels.exp(x), &x, check);
        }
    }
}

#[test]
fn activations_err_by_half_a_millionth_at_most() {
    let edges = edges(&[
        20.0, -20.0, -88.72284, -104.0, 0.5, -0.5, -0.7517, 3.0, -3.0, 1e-40,
    ]);
    let near: Vec<f32> = (-32_000..32_000).map(|i| i as f32 / 1000.0).collect();
    for kernels in every_isa() {
        for ((name, f), exact) in ACTIVATIONS {
            let check = |x: f32, y: f32| {
                let what = || format!("{} {name}({x:e}) = {y:e}", kernels.isa());
                if x.is_nan() {
                    assert!(y.is_nan(), "{}", what());
                } else if x >= 20.0 {
                    assert_eq!(x, y, "{}", what());
                } else if x <= -104.0 {
                    assert!(y.abs() <= f32::MIN_POSITIVE, "{}", what());
                } else {
                    let error = (f64::from(y) - exact(f64::from(x))).abs();
                    let bound = 5e-7 * f64::from(x).abs().max(1.0);
                    assert!(error <= bound, "{}, error {error:e}", what());
                }
            };
            let f = |x: &mut [f32]| f(kernels, x);
            for_each(f, &edges, check);
            for_each(f, &near, check);
            for x in all_floats() {
                for_each(f, &x, check);
            }
        }
    }
}

#[test]
fn a_function_of_one_element_does_not_depend_on_where_it_is() {
    let mut random = Random::new(11);
    let values = [random.floats(100), random.bit_patterns(100)].concat();
    for kernels in every_isa() {
        for (name, f) in OF_ONE_ELEMENT {
            let alone: Vec<u32> = values
                .iter()
                .map(|&x| {
                    let mut one = [x];
                    f(kernels, &mut one);
                    one[0].to_bits()
                })
                .collect();
            for from in 0..20 {
                for len in [0, 1, 15, 16, 17, 31, 33, 100, values.len() - from] {
                    let mut x = values.clone();
                    f(kernels, &mut x[from..from + len]);
                    for (at, x) in x.iter().enumerate() {
                        let inside = (from..from + len).contains(&at);
                        let expected = if inside {
                            alone[at]
                        } else {
                            values[at].to_bits()
                        };
                        assert_eq!(
                            x.to_bits(),
                            expected,
                            "{} {name} {from} {len}",
                            kernels.isa()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_gate_is_the_activation_times_the_other() {
    let mut random = Random::new(12);
    let (gate, up) = (random.floats(77), random.floats(77));
    for kernels in every_isa() {
        let expected = |f: fn(Kernels, &mut [f32])| {
            let mut x = gate.clone();
            f(kernels, &mut x);
            x.iter()
                .zip(&up)
                .map(|(x, up)| x * up)
                .collect::<Vec<f32>>()
        };
        let mut silu = gate.clone();
        kernels.silu_mul(&mut silu, &up).unwrap();
        assert_eq!(silu, expected(|k, x| k.silu(x)), "{}", kernels.isa());
        let mut gelu = gate.clone();
        kernels.gelu_tanh_mul(&mut gelu, &up).unwrap();
        assert_eq!(gelu, expected(|k, x| k.gelu_tanh(x)), "{}", kernels.isa());
    }
}

#[test]
fn sums_and_multiples_are_rounded_once_or_twice() {
    let mut random = Random::new(13);
    let (x, y) = (random.floats(77), random.floats(77));
    for kernels in every_isa() {
        let mut got = y.clone();
        kernels.axpy(0.3, &x, &mut got).unwrap();
        let fused = kernels.isa().fuses();
        for ((&x, &y), got) in x.iter().zip(&y).zip(got) {
            let expected = if fused {
                0.3f32.mul_add(x, y)
            } else {
                0.3 * x + y
            };
            assert_eq!(got, expected, "{}", kernels.isa());
        }
        let mut got = y.clone();
        kernels.add(&x, &mut got).unwrap();
        kernels.scale(0.3, &mut got);
        for ((&x, &y), got) in x.iter().zip(&y).zip(got) {
            assert_eq!(got, (x + y) * 0.3, "{}", kernels.isa());
        }
    }
}

#[test]
fn slices_of_different_lengths_are_errors_and_nothing_is_written() {
    let kernels = Kernels::new();
    let mut y = [7.0; 3];
    for x in [&[1.0; 2][..], &[1.0; 4]] {
        assert!(kernels.silu_mul(&mut y, x).is_err());
        assert!(kernels.gelu_tanh_mul(&mut y, x).is_err());
        assert!(kernels.axpy(1.0, x, &mut y).is_err());
        assert!(kernels.add(x, &mut y).is_err());
    }
    assert_eq!(y, [7.0; 3]);
}
