//! Functions of one element: what is beyond numbers, and what must not matter.

use crate::products::every_isa;
use crate::random::Random;
use ringfield::kernels::Kernels;

type Function = (&'static str, fn(Kernels, &mut [f32]));

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

#[test]
fn infinity_goes_on_and_minus_infinity_becomes_nothing() {
    for kernels in every_isa() {
        for (name, f) in &OF_ONE_ELEMENT[..5] {
            // Alone, and in a whole vector.
            for len in [1, 16] {
                let of = |x: f32| {
                    let mut x = vec![x; len];
                    f(kernels, &mut x);
                    x[len - 1]
                };
                let isa = kernels.isa();
                assert_eq!(of(f32::INFINITY), f32::INFINITY, "{isa} {name}");
                assert_eq!(of(f32::NEG_INFINITY), 0.0, "{isa} {name}");
                for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
                    assert!(of(nan).is_nan(), "{isa} {name}");
                }
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
