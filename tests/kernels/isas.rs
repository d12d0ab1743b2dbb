//! The instruction sets of this machine, and what must be the same on all of one kind.

use crate::products::every_isa;
use crate::random::Random;
use ringfield::kernels::{Isa, Kernels, RowFormat};

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
    // Where the target says which one there is.
    let simd128 = cfg!(all(target_arch = "wasm32", target_feature = "simd128"));
    assert_eq!(all.contains(&Isa::Simd128), simd128);
    let neon = cfg!(all(target_arch = "aarch64", target_endian = "little"));
    assert_eq!(all.contains(&Isa::Neon), neon);
    for &isa in &Isa::ALL {
        assert_eq!(isa.is_available(), all.contains(&isa));
        assert_eq!(
            Kernels::with(isa).map(Kernels::isa),
            all.contains(&isa).then_some(isa)
        );
    }
    for kernels in every_isa() {
        let plain = kernels.integers() == "scalar";
        match kernels.isa() {
            Isa::Avx512 | Isa::Avx2 => assert!(!plain),
            Isa::Sse41 | Isa::Simd128 | Isa::Scalar => assert!(plain),
            // Not every processor with NEON has products of bytes.
            _ => {}
        }
    }
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

/// The canonical order, word for word: two accumulators of sixteen lanes.
fn canonical_dot(fuses: bool, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [[0.0f32; 16]; 2];
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        let sum = &mut sums[i / 16 % 2][i % 16];
        *sum = if fuses {
            a.mul_add(b, *sum)
        } else {
            *sum + a * b
        };
    }
    let mut lanes: Vec<f32> = sums[0].iter().zip(sums[1]).map(|(a, b)| a + b).collect();
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

#[test]
fn sums_are_in_the_canonical_order() {
    let mut random = Random::new(4);
    for kernels in every_isa() {
        for len in (0..70).chain([1003]) {
            let (a, b) = (random.floats(len), random.floats(len));
            let expected = canonical_dot(kernels.isa().fuses(), &a, &b);
            let got = kernels.dot(&a, &b).unwrap();
            assert_eq!(got.to_bits(), expected.to_bits(), "{} {len}", kernels.isa());
        }
    }
}

#[test]
fn every_half_precision_float_is_converted_exactly() {
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for kernels in every_isa() {
        let mut out = vec![0.0; 1 << 16];
        let f16 = kernels.dequantize(RowFormat::F16, &halves, &mut out);
        f16.unwrap();
        for (bits, &got) in (0..=u16::MAX).zip(&out) {
            let fraction = f32::from(bits & 0x3ff);
            // IEEE 754-2008, section 3.4.
            let magnitude = match bits >> 10 & 0x1f {
                0 => fraction * 2f32.powi(-24),
                31 if fraction == 0.0 => f32::INFINITY,
                31 => f32::NAN,
                exponent => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
            };
            let expected = if bits >> 15 == 0 {
                magnitude
            } else {
                -magnitude
            };
            let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
            assert!(same, "{} {bits:#x}: {got}", kernels.isa());
        }
        let bf16 = kernels.dequantize(RowFormat::Bf16, &halves, &mut out);
        bf16.unwrap();
        for (bits, got) in (0..=u16::MAX).zip(out) {
            let expected = f32::from_bits(u32::from(bits) << 16);
            let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
            assert!(same, "{} {bits:#x}: {got}", kernels.isa());
        }
    }
}
