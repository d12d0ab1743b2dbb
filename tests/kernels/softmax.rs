//! Shares that add up to 1.

use crate::products::every_isa;
use crate::random::Random;

#[test]
fn shares_are_those_of_64_bit_arithmetic_whatever_the_length_and_the_address() {
    let mut random = Random::new(21);
    let values: Vec<f32> = random.floats(3000).iter().map(|x| x * 20.0).collect();
    for kernels in every_isa() {
        for len in (1..70).chain([1000, 2990]) {
            let mut bits = None;
            for offset in [0, 1, 7] {
                // The same numbers at another address.
                let mut memory = [&vec![0.0; offset][..], &values[..len]].concat();
                let x = &mut memory[offset..];
                kernels.softmax(x);
                let exact: Vec<f64> = values[..len].iter().map(|&x| f64::from(x).exp()).collect();
                let sum: f64 = exact.iter().sum();
                for (&got, exact) in x.iter().zip(exact) {
                    // 2 units of exp and the rounding of x - max, up to 40, in it; the sum's; the quotient's.
                    let bound = (2.0 + 40.0 + len as f64 / 32.0 + 8.0) * 2f64.powi(-24);
                    let error = (f64::from(got) * sum / exact - 1.0).abs();
                    assert!(error <= bound, "{} {len}: {error:e}", kernels.isa());
                }
                let now: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
                assert_eq!(bits.get_or_insert_with(|| now.clone()), &now);
            }
        }
    }
}

#[test]
fn what_is_masked_gets_nothing() {
    const NONE: f32 = f32::NEG_INFINITY;
    for kernels in every_isa() {
        let softmax = |x: &[f32]| {
            let mut x = x.to_vec();
            kernels.softmax(&mut x);
            x
        };
        assert_eq!(softmax(&[]), []);
        assert_eq!(softmax(&[NONE, 3.0, NONE, 3.0]), [0.0, 0.5, 0.0, 0.5]);
        assert_eq!(softmax(&[NONE; 40]), [0.0; 40]);
        assert_eq!(softmax(&[f32::MAX; 40]), [1.0 / 40.0; 40]);
        assert_eq!(softmax(&[f32::MIN; 40]), [1.0 / 40.0; 40]);
        assert_eq!(softmax(&[f32::MAX, f32::MIN]), [1.0, 0.0]);
        assert_eq!(softmax(&[-1e30]), [1.0]);
        for broken in [f32::NAN, f32::INFINITY] {
            for at in [0, 20, 34] {
                let mut x = [0.5; 35];
                x[at] = broken;
                assert!(softmax(&x).iter().all(|x| x.is_nan()), "{broken} at {at}");
            }
        }
    }
}
