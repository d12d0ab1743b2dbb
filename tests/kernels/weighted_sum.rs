//! Rows, weighed and added.

use crate::products::every_isa;
use crate::random::Random;

#[test]
fn every_element_is_its_own_sum_in_the_order_of_the_rows() {
    let mut random = Random::new(11);
    for (rows, len) in [
        (0, 5),
        (1, 1),
        (3, 15),
        (7, 16),
        (100, 64),
        (13, 100),
        (5, 257),
    ] {
        let (weights, values) = (random.floats(rows), random.floats(rows * len));
        for kernels in every_isa() {
            let mut out = vec![7.0; len];
            kernels.weighted_sum(&weights, &values, &mut out).unwrap();
            for (i, got) in out.iter().enumerate() {
                let mut sum = 0.0f32;
                for (&weight, row) in weights.iter().zip(values.chunks_exact(len)) {
                    sum = match kernels.isa().fuses() {
                        true => weight.mul_add(row[i], sum),
                        false => weight * row[i] + sum,
                    };
                }
                assert_eq!(
                    got.to_bits(),
                    sum.to_bits(),
                    "{} {rows} {len}",
                    kernels.isa()
                );
            }
        }
    }
}

#[test]
fn rows_that_are_not_as_many_as_the_weights_are_an_error_and_nothing_is_written() {
    for kernels in every_isa() {
        let mut out = [7.0; 3];
        assert!(
            kernels
                .weighted_sum(&[1.0; 2], &[1.0; 5], &mut out)
                .is_err()
        );
        assert_eq!(out, [7.0; 3]);
    }
}
