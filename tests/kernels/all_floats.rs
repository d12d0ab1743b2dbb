//! exp and the activations against 64-bit arithmetic, over all floats.
//!
//! Every 20011-th float is tried, or every n-th with `RINGFIELD_FLOAT_STEP=n`; always those around the edges. All of the
//! 2^32, on every instruction set of the processor:
//!
//! ```text
//! RINGFIELD_FLOAT_STEP=1 cargo test --release --test kernels over_all_floats -- --nocapture
//! ```
//!
//! That is six minutes of processor time. The tests print the largest error that each instruction set made; over all
//! floats, those are
//!
//! | | AVX-512, AVX2 | SSE4.1, scalar |
//! |---|---|---|
//! | exp, units in the last place | 1.010 | 0.990 |
//! | SiLU, of x | 1.19e-7 | 1.19e-7 |
//! | GELU-tanh, of x | 1.26e-7 | 1.26e-7 |
//! | GELU-erf, of x | 3.43e-7 | 4.07e-7 |
//! | ReLU | 0 | 0 |

use crate::functions::OF_ONE_ELEMENT;
use crate::products::every_isa;
use ringfield::kernels::{Isa, Kernels};
use std::f64::consts::{LN_2, PI, SQRT_2};

/// Floats that are tried at a time.
const AT_ONCE: usize = 4096;

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
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Every n-th of all floats, n being `RINGFIELD_FLOAT_STEP` or 20011, in slices.
fn all_floats() -> impl Iterator<Item = Vec<f32>> {
    let step = std::env::var("RINGFIELD_FLOAT_STEP").ok();
    let step: u64 = step.map_or(20_011, |step| step.parse().unwrap());
    let mut at = 0u64;
    std::iter::from_fn(move || {
        let bits = (at..1 << 32).step_by(step as usize).take(AT_ONCE);
        let x: Vec<f32> = bits.map(|bits| f32::from_bits(bits as u32)).collect();
        at += AT_ONCE as u64 * step;
        (!x.is_empty()).then_some(x)
    })
}

/// The floats around each of `centres`, and the special ones.
fn edges(centres: impl IntoIterator<Item = f32>) -> Vec<f32> {
    let around = |x: f32| {
        let bits = x.to_bits();
        (bits.saturating_sub(300)..=bits.saturating_add(300)).map(f32::from_bits)
    };
    let special = [0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN];
    let both = special.into_iter().flat_map(|x| [x, -x]);
    centres.into_iter().flat_map(around).chain(both).collect()
}

/// What a function is in 64 bits, and how much `y` errs as the function of `x`: at most `bound`, and infinitely where
/// there is but one right result and `y` is another.
struct Promise {
    exact: fn(f64) -> f64,
    error: fn(x: f32, exact: f64, y: f32) -> f64,
    bound: f64,
}

impl Promise {
    /// Tries a function on every instruction set.
    fn check(&self, of: &str, edges: Vec<f32>) {
        let (_, f) = OF_ONE_ELEMENT[OF_ONE_ELEMENT.iter().position(|f| f.0 == of).unwrap()];
        let all: Vec<Kernels> = every_isa().collect();
        let mut worst: Vec<(f64, f32, Isa)> = all.iter().map(|k| (0.0, 0.0, k.isa())).collect();
        let mut y = Vec::new();
        let mut exact = Vec::new();
        for x in std::iter::once(edges).chain(all_floats()) {
            exact.clear();
            exact.extend(x.iter().map(|&x| (self.exact)(f64::from(x))));
            for (kernels, worst) in all.iter().zip(&mut worst) {
                y.clone_from(&x);
                f(*kernels, &mut y);
                for ((&x, &exact), &y) in x.iter().zip(&exact).zip(&y) {
                    let error = (self.error)(x, exact, y);
                    if error > worst.0 {
                        *worst = (error, x, worst.2);
                        assert!(error <= self.bound, "{of}({x:e}) = {y:e}: {worst:?}");
                    }
                }
            }
        }
        for (error, x, isa) in worst {
            println!("{of:<10} {isa:<8} largest error {error:.3e}, of {x:e}");
        }
    }
}

/// Nothing where the only right result is there.
fn only(right: bool) -> f64 {
    if right { 0.0 } else { f64::INFINITY }
}

#[test]
fn exp_is_within_two_units_in_the_last_place_over_all_floats() {
    // Overflow, underflow, tiny ones; then where n changes in x = n ln 2 + r, and where r is 0.
    let centres = [
        88.72284, -87.33655, -103.97208, -104.0, 89.0, 1e-8, -1e-8, 1e-40,
    ];
    let changes = (-302..=258).map(|halves| (f64::from(halves) / 2.0 * LN_2) as f32);
    let exp = Promise {
        exact: f64::exp,
        error: |x, exact, y| {
            if x.is_nan() {
                return only(y.is_nan());
            }
            if x.is_infinite() {
                return only(f64::from(y) == exact);
            }
            // What is beyond the largest float is as far as the first that is not one.
            let beyond = 2f64.powi(128);
            let exponent = exact.clamp(2f64.powi(-126), beyond / 2.0).to_bits() >> 52;
            let unit = f64::from_bits((exponent - 23) << 52);
            let error = (f64::from(y).min(beyond) - exact.min(beyond)).abs() / unit;
            if error.is_nan() { f64::INFINITY } else { error }
        },
        bound: 2.0,
    };
    exp.check("exp", edges(centres.into_iter().chain(changes)));
}

/// Checks an activation. The error is in parts of x: at most half a millionth of it, and a rounding of a denormal.
fn check_activation(name: &str, exact: fn(f64) -> f64) {
    let centres = [
        20.0, -20.0, -88.72284, -104.0, 0.5, -0.5, -0.7517, 3.0, -3.0, 1e-40, -1e-40,
    ];
    let near = (-32_000..32_000).map(|i| i as f32 / 1000.0);
    let activation = Promise {
        exact,
        error: |x, exact, y| {
            if x.is_nan() {
                return only(y.is_nan());
            }
            if x >= 20.0 {
                return only(y == x);
            }
            if x == f32::NEG_INFINITY {
                return only(y == 0.0);
            }
            if x <= -104.0 {
                return only(y.abs() <= f32::MIN_POSITIVE);
            }
            let error = (f64::from(y) - exact).abs() - 2f64.powi(-149);
            // 0 where x is.
            let error = error.max(0.0) / f64::from(x.abs()).max(f64::MIN_POSITIVE);
            if error.is_nan() { f64::INFINITY } else { error }
        },
        bound: 5e-7,
    };
    activation.check(name, edges(centres).into_iter().chain(near).collect());
}

#[test]
fn relu_is_exact_over_all_floats() {
    check_activation("relu", |x| x.max(0.0));
}

#[test]
fn silu_errs_by_half_a_millionth_at_most_over_all_floats() {
    check_activation("silu", |x| x / (1.0 + (-x).exp()));
}

#[test]
fn gelu_tanh_errs_by_half_a_millionth_at_most_over_all_floats() {
    check_activation("gelu_tanh", |x| {
        let u = (2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3));
        x * (1.0 + u.tanh()) / 2.0
    });
}

#[test]
fn gelu_erf_errs_by_half_a_millionth_at_most_over_all_floats() {
    check_activation("gelu_erf", |x| x * (1.0 + erf(x / SQRT_2)) / 2.0);
}
