//! The instruction sets of this machine, and what must be the same on all of one kind.

use crate::products::every_isa;
use crate::random::Random;
use ringfield::kernels::{Isa, Kernels};

/// Asserts that `f` gives the same bits on all instruction sets that round alike.
pub(crate) fn assert_alike(what: &str, f: impl Fn(Kernels) -> Vec<f32>) {
    for fuses in [true, false] {
        let alike = |kernels: &Kernels| kernels.isa().fuses() == fuses;
        let mut first: Option<(Kernels, Vec<u32>)> = None;
        for kernels in every_isa().filter(alike) {
            let bits: Vec<u32> = f(kernels).into_iter().map(f32::to_bits).collect();
            let (other, expected) = first.get_or_insert_with(|| (kernels, bits.clone()));
            let isas = (kernels.isa(), other.isa());
            for (at, (bits, expected)) in bits.iter().zip(expected).enumerate() {
                let values = (f32::from_bits(*bits), f32::from_bits(*expected));
                assert_eq!(bits, expected, "{what}, {isas:?}, element {at}: {values:?}");
            }
        }
    }
}

#[test]
fn the_widest_instruction_set_is_chosen_and_another_can_be_forced() {
    let all: Vec<Isa> = every_isa().map(Kernels::isa).collect();
    assert_eq!(all.first(), Some(&Kernels::new().isa()));
    assert_eq!(all.last(), Some(&Isa::Scalar));
    let names: Vec<&str> = all.iter().map(|isa| isa.name()).collect();
    println!("instruction sets: {}", names.join(" "));
}

#[test]
fn instruction_sets_that_round_alike_give_the_same_bits() {
    let mut random = Random::new(3);
    let (a, b) = (random.floats(1003), random.floats(1003));
    let c = random.floats(1003);
    let all = random.bit_patterns(5000);
    assert_alike("dot", |kernels| vec![kernels.dot(&a, &b).unwrap()]);
    assert_alike("rms_norm", |kernels| {
        let mut out = vec![0.0; a.len()];
        kernels.rms_norm(&a, &b, 1e-6, &mut out).unwrap();
        out
    });
    assert_alike("layer_norm", |kernels| {
        let mut out = vec![0.0; a.len()];
        kernels.layer_norm(&a, &b, &c, 1e-6, &mut out).unwrap();
        out
    });
    assert_alike("softmax", |kernels| {
        let mut x = a.clone();
        kernels.softmax(&mut x);
        x
    });
    for (name, f) in crate::functions::OF_ONE_ELEMENT {
        assert_alike(name, |kernels| {
            let mut x = all.clone();
            f(kernels, &mut x);
            x
        });
    }
}
