//! Activations that are multiplied with another vector: numbers of every size.

use crate::products::every_isa;
use crate::random::Random;
use ringfield::kernels::Kernels;
use std::f64::consts::PI;

struct Gate {
    name: &'static str,
    gate: fn(Kernels, &mut [f32], &[f32]),
    activation: fn(Kernels, &mut [f32]),
    /// The activation in 64 bits, of numbers.
    exact: fn(f64) -> f64,
}

const GATES: [Gate; 2] = [
    Gate {
        name: "silu_mul",
        gate: |k, gate, up| k.silu_mul(gate, up).unwrap(),
        activation: |k, x| k.silu(x),
        exact: |x| x / (1.0 + (-x).exp()),
    },
    Gate {
        name: "gelu_tanh_mul",
        gate: |k, gate, up| k.gelu_tanh_mul(gate, up).unwrap(),
        activation: |k, x| k.gelu_tanh(x),
        exact: |x| {
            let u = (2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3));
            x * (1.0 + u.tanh()) / 2.0
        },
    },
];

/// Numbers of every size, with the largest, the least and denormal ones.
fn numbers(random: &mut Random, any: usize) -> Vec<f32> {
    let special = [
        0.0,
        1e-45,
        1e-40,
        f32::MIN_POSITIVE,
        1e-20,
        0.5,
        3.0,
        19.9,
        20.0,
        87.0,
        88.8,
        103.9,
        104.0,
        1e10,
        1e30,
        f32::MAX,
    ];
    let special = special.into_iter().flat_map(|x| [x, -x]);
    let any_bits = random.bit_patterns(any);
    let near = random.floats(any);
    let all = special.chain(any_bits).chain(near.iter().map(|x| x * 30.0));
    all.filter(|x| x.is_finite()).collect()
}

#[test]
fn a_gate_is_the_activation_times_the_other_bit_for_bit_and_within_its_error() {
    let mut random = Random::new(12);
    let gates = numbers(&mut random, 60);
    let ups = numbers(&mut random, 60);
    for kernels in every_isa() {
        for Gate {
            name,
            gate,
            activation,
            exact,
        } in GATES
        {
            let mut active = gates.clone();
            activation(kernels, &mut active);
            for &up in &ups {
                let mut got = gates.clone();
                gate(kernels, &mut got, &vec![up; gates.len()]);
                for ((&x, &active), &got) in gates.iter().zip(&active).zip(&got) {
                    let what = || format!("{} {name}({x:e}, {up:e}) = {got:e}", kernels.isa());
                    let same = got.to_bits() == (active * up).to_bits();
                    assert!(same || got.is_nan() && (active * up).is_nan(), "{}", what());

                    let [x, up] = [x, up].map(f64::from);
                    let product = exact(x) * up;
                    // Of the activation, and of the product's rounding.
                    let bound = (5e-7 * x.abs() + 2f64.powi(-149)) * up.abs()
                        + 2f64.powi(-24) * product.abs()
                        + 2f64.powi(-149);
                    if got.is_infinite() {
                        let beyond = product * f64::from(got.signum()) + bound;
                        assert!(beyond > f64::from(f32::MAX), "{}", what());
                    } else {
                        let error = (f64::from(got) - product).abs();
                        assert!(error <= bound, "{}, error {error:e}", what());
                    }
                }
            }
        }
    }
}

#[test]
fn infinities_go_through_a_gate_as_ieee_754_has_it() {
    const INFINITY: f32 = f32::INFINITY;
    const CASES: [(f32, f32, f32); 16] = [
        (INFINITY, 2.0, INFINITY),
        (INFINITY, -1e-45, -INFINITY),
        (INFINITY, INFINITY, INFINITY),
        (INFINITY, -INFINITY, -INFINITY),
        (INFINITY, 0.0, f32::NAN),
        (-INFINITY, 2.0, 0.0),
        (-INFINITY, f32::MAX, 0.0),
        (-INFINITY, 0.0, 0.0),
        // Of minus infinity the activation is 0.
        (-INFINITY, INFINITY, f32::NAN),
        (0.0, INFINITY, f32::NAN),
        (3.0, INFINITY, INFINITY),
        (-3.0, INFINITY, -INFINITY),
        (-3.0, -INFINITY, INFINITY),
        (1e-40, INFINITY, INFINITY),
        (f32::NAN, 0.0, f32::NAN),
        (0.0, f32::NAN, f32::NAN),
    ];
    for kernels in every_isa() {
        for Gate { name, gate, .. } in GATES {
            for (x, up, expected) in CASES {
                // In a whole vector, and in the rest.
                for at in [0, 16] {
                    let (mut gates, mut ups) = ([1.0; 17], [1.0; 17]);
                    (gates[at], ups[at]) = (x, up);
                    gate(kernels, &mut gates, &ups);
                    let got = gates[at];
                    let same = got == expected || got.is_nan() && expected.is_nan();
                    let isa = kernels.isa();
                    assert!(same, "{isa} {name}({x}, {up}) = {got}, not {expected}");
                }
            }
        }
    }
}
