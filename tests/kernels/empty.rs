//! Nothing to compute: slices of no elements, matrices of no rows or columns, batches of nothing.

use crate::functions::OF_ONE_ELEMENT;
use crate::products::every_isa;
use ringfield::kernels::{Kernels, RowFormat};

#[test]
fn of_empty_slices_there_is_nothing_to_write() {
    for kernels in every_isa() {
        for (_, f) in OF_ONE_ELEMENT {
            f(kernels, &mut []);
        }
        kernels.softmax(&mut []);
        assert_eq!(kernels.silu_mul(&mut [], &[]), Ok(()));
        assert_eq!(kernels.gelu_tanh_mul(&mut [], &[]), Ok(()));
        assert_eq!(kernels.rms_norm(&[], &[], 0.0, &mut []), Ok(()));
        assert_eq!(kernels.layer_norm(&[], &[], &[], 0.0, &mut []), Ok(()));
        assert_eq!(kernels.rope_interleaved(&mut [], &[], &[]), Ok(()));
        assert_eq!(kernels.rope_neox(&mut [], &[], &[]), Ok(()));
        let mut x = [7.0; 3];
        assert_eq!(kernels.rope_interleaved(&mut x, &[], &[]), Ok(()));
        assert_eq!(kernels.rope_neox(&mut x, &[], &[]), Ok(()));
        assert_eq!(x, [7.0; 3]);
        assert_eq!(kernels.dot(&[], &[]).map(f32::to_bits), Ok(0));
        for format in RowFormat::ALL {
            assert_eq!(kernels.dequantize(format, &[], &mut []), Ok(()));
            assert!(kernels.dequantize(format, &[0], &mut []).is_err());
        }
    }
}

#[test]
fn a_sum_of_no_rows_is_zero_and_rows_of_nothing_have_none() {
    for kernels in every_isa() {
        let mut out = [7.0; 19];
        assert_eq!(kernels.weighted_sum(&[], &[], &mut out), Ok(()));
        assert_eq!(out.map(f32::to_bits), [0; 19]);
        assert_eq!(kernels.weighted_sum(&[1.0; 3], &[], &mut []), Ok(()));
        assert!(kernels.weighted_sum(&[], &[1.0], &mut out).is_err());
        assert!(kernels.weighted_sum(&[1.0], &[1.0], &mut []).is_err());
    }
}

#[test]
fn a_matrix_without_rows_or_columns_has_no_bytes() {
    for kernels in every_isa() {
        for format in RowFormat::ALL {
            let x = vec![1.0; format.block_elements()];
            let block = vec![0; format.block_bytes()];
            // No rows.
            assert_eq!(kernels.matvec(format, &[], &x, &mut []), Ok(()));
            assert!(kernels.matvec(format, &block, &x, &mut []).is_err());
            // Rows of nothing: their sums are 0.
            let mut out = [7.0; 3];
            assert!(kernels.matvec(format, &block, &[], &mut out).is_err());
            assert_eq!(out, [7.0; 3]);
            assert_eq!(kernels.matvec(format, &[], &[], &mut out), Ok(()));
            assert_eq!(out.map(f32::to_bits), [0; 3]);
            assert_eq!(kernels.dot_row(format, &[], &[]).map(f32::to_bits), Ok(0));
            assert!(kernels.dot_row(format, &block, &[]).is_err());
        }
    }
}

#[test]
fn a_batch_of_nothing_is_checked_all_the_same() {
    for kernels in every_isa() {
        for format in RowFormat::ALL {
            let (elements, bytes) = (format.block_elements(), format.block_bytes());
            let block = vec![0; bytes];
            let x = vec![1.0; 2 * elements];
            let mut scratch = vec![0.0; Kernels::scratch_len(elements)];
            let mut columns = |weights: &[u8], x: &[f32], columns, out: &mut [f32]| {
                kernels.matvec_columns(format, weights, x, columns, out, &mut scratch)
            };
            let mut out = [7.0; 6];
            // No rows.
            assert_eq!(columns(&[], &x, 2, &mut []), Ok(()));
            assert!(columns(&block, &x, 2, &mut []).is_err());
            // Rows of nothing.
            assert!(columns(&block, &[], 2, &mut out).is_err());
            assert_eq!(out, [7.0; 6]);
            assert_eq!(columns(&[], &[], 2, &mut out), Ok(()));
            assert_eq!(out.map(f32::to_bits), [0; 6]);
            // No columns: rows of any number and length, but whole blocks.
            assert_eq!(columns(&[], &[], 0, &mut []), Ok(()));
            assert_eq!(
                columns(&[&block[..], &block].concat(), &[], 0, &mut []),
                Ok(())
            );
            let error = columns(&vec![0; 2 * bytes - 1], &[], 0, &mut []).unwrap_err();
            let said = (error.what, error.have, error.need);
            assert_eq!(said, ("weights", 2 * bytes - 1, 2 * bytes));
            assert!(columns(&block, &[1.0], 0, &mut []).is_err());
            assert!(columns(&block, &[], 0, &mut [1.0]).is_err());
        }
    }
}
