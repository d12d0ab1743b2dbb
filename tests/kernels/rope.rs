//! Rotary positions.

use crate::products::every_isa;
use crate::random::Random;
use ringfield::kernels::{Isa, Kernels};

type Rope = fn(Kernels, &mut [f32], &[f32], &[f32]);
/// The places of pair `i` of `pairs`.
type Places = fn(usize, usize) -> [usize; 2];

/// Each way of pairing.
const WAYS: [(Rope, Places); 2] = [
    (
        |k, x, cos, sin| k.rope_interleaved(x, cos, sin).unwrap(),
        |i, _| [2 * i, 2 * i + 1],
    ),
    (
        |k, x, cos, sin| k.rope_neox(x, cos, sin).unwrap(),
        |i, pairs| [i, i + pairs],
    ),
];

#[test]
fn pairs_are_turned_and_the_rest_stays() {
    let mut random = Random::new(41);
    for kernels in every_isa() {
        for (rope, places) in WAYS {
            // Whole heads and partial rotary dimensions.
            for (head, pairs) in [(64, 32), (64, 16), (80, 16), (7, 3), (5, 0), (256, 128)] {
                let angles: Vec<f64> = (0..pairs)
                    .map(|i| 1000.0 * 10_000f64.powf(-(i as f64) / pairs as f64))
                    .collect();
                let table = |f: fn(f64) -> f64| angles.iter().map(|&a| f(a) as f32).collect();
                let (cos, sin): (Vec<f32>, Vec<f32>) = (table(f64::cos), table(f64::sin));
                let x = random.floats(head);
                let mut got = x.clone();
                rope(kernels, &mut got, &cos, &sin);
                for (i, angle) in angles.iter().enumerate() {
                    let [first, second] = places(i, pairs);
                    let (a, b) = (f64::from(x[first]), f64::from(x[second]));
                    let exact = [
                        a * angle.cos() - b * angle.sin(),
                        a * angle.sin() + b * angle.cos(),
                    ];
                    for (got, exact) in [got[first], got[second]].into_iter().zip(exact) {
                        // The table's rounding, the product's, the sum's.
                        let bound = 3.0 * 2f64.powi(-24) * (a.abs() + b.abs());
                        let within = (f64::from(got) - exact).abs() <= bound;
                        assert!(within, "{} {i}: {got} is not {exact}", kernels.isa());
                    }
                }
                assert_eq!(got[2 * pairs..], x[2 * pairs..]);
            }
        }
    }
}

#[test]
fn rotated_heads_have_the_same_bits_on_every_instruction_set_and_at_every_address() {
    let mut random = Random::new(42);
    let (x, cos, sin) = (random.floats(100), random.floats(48), random.floats(48));
    for (rope, _) in WAYS {
        let mut expected = x.clone();
        let scalar = Kernels::with(Isa::Scalar).unwrap();
        rope(scalar, &mut expected, &cos, &sin);
        for kernels in every_isa() {
            for offset in [0, 1, 5] {
                let mut memory = [&vec![0.0; offset][..], &x].concat();
                rope(kernels, &mut memory[offset..], &cos, &sin);
                assert_eq!(memory[offset..], expected, "{}", kernels.isa());
            }
        }
    }
}

#[test]
fn tables_that_do_not_fit_are_errors_and_nothing_is_written() {
    let kernels = Kernels::new();
    let mut x = [7.0; 5];
    for (cos, sin) in [(3, 3), (2, 1), (0, 1)] {
        let (cos, sin) = (vec![0.5; cos], vec![0.5; sin]);
        assert!(kernels.rope_interleaved(&mut x, &cos, &sin).is_err());
        assert!(kernels.rope_neox(&mut x, &cos, &sin).is_err());
    }
    assert_eq!(x, [7.0; 5]);
}
