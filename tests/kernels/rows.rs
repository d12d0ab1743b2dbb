//! Matrices of every row format: a row's product has the bits of its elements' product, however a call is cut.

use crate::products::{assert_close, every_isa};
use crate::random::Random;
use ringfield::kernels::{Kernels, RowFormat, ShapeError};

/// Where a block has halves, which must be numbers of a sensible size here.
fn halves(format: RowFormat) -> &'static [usize] {
    match format {
        RowFormat::F16 | RowFormat::Q4_0 | RowFormat::Q5_0 | RowFormat::Q8_0 => &[0],
        RowFormat::IQ4_NL | RowFormat::IQ4_XS => &[0],
        RowFormat::Q4_1 | RowFormat::Q5_1 | RowFormat::Q4_K | RowFormat::Q5_K => &[0, 2],
        RowFormat::Q2_K => &[80, 82],
        RowFormat::Q3_K => &[108],
        RowFormat::Q6_K => &[208],
        _ => &[],
    }
}

/// Rows of `len` elements: any bits, but finite.
fn rows(random: &mut Random, format: RowFormat, count: usize, len: usize) -> Vec<u8> {
    let blocks = count * len / format.block_elements();
    let mut packed: Vec<u8> = (0..blocks * format.block_bytes())
        .map(|_| random.next() as u8)
        .collect();
    for block in packed.chunks_exact_mut(format.block_bytes()) {
        for &at in halves(format) {
            // 2^-7 to 2^-5, and either sign.
            let half = 0x2000 | (random.next() as u16 & 0x87ff);
            block[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        match format {
            RowFormat::F32 => block.copy_from_slice(&random.float().to_le_bytes()),
            RowFormat::Bf16 => block.copy_from_slice(&random.float().to_le_bytes()[2..]),
            RowFormat::MXFP4 => block[0] = 118 + block[0] % 8,
            _ => {}
        }
    }
    packed
}

fn lengths(format: RowFormat) -> &'static [usize] {
    match format.block_elements() {
        1 => &[1, 31, 32, 33, 576],
        32 => &[32, 96, 576],
        _ => &[256, 768],
    }
}

#[test]
fn a_row_has_the_product_of_its_elements_whatever_the_call_the_batch_or_the_address() {
    let mut random = Random::new(10);
    let (count, columns) = (11, 5);
    for format in RowFormat::ALL {
        for &len in lengths(format) {
            let packed = rows(&mut random, format, count, len);
            let row_bytes = format.row_bytes(len).unwrap();
            let moved = [&[0u8; 3][..], &packed].concat();
            let x = random.floats(columns * len);
            for kernels in every_isa() {
                let what = format!("{format} {len} {}", kernels.isa());
                let mut elements = vec![0.0; count * len];
                kernels.dequantize(format, &packed, &mut elements).unwrap();
                let mut scratch = vec![0.0; Kernels::scratch_len(len)];
                let mut batched = vec![0.0; count * columns];
                let weights = &moved[3..];
                kernels
                    .matvec_columns(format, weights, &x, columns, &mut batched, &mut scratch)
                    .unwrap();
                for c in 0..columns {
                    let x = &x[c * len..(c + 1) * len];
                    let dots: Vec<u32> = (0..count)
                        .map(|r| &elements[r * len..(r + 1) * len])
                        .map(|row| kernels.dot(row, x).unwrap().to_bits())
                        .collect();
                    let column = (0..count).map(|r| batched[r * columns + c].to_bits());
                    assert!(column.eq(dots.iter().copied()), "{what}");
                    for cut in [0, 1, 3, 6] {
                        let mut out = vec![0.0; count];
                        let (first, rest) = out.split_at_mut(cut);
                        let (head, tail) = weights.split_at(cut * row_bytes);
                        kernels.matvec(format, head, x, first).unwrap();
                        kernels.matvec(format, tail, x, rest).unwrap();
                        let bits = out.iter().map(|x| x.to_bits());
                        assert!(bits.eq(dots.iter().copied()), "{what} {cut}");
                    }
                }
            }
        }
    }
}

#[test]
fn products_of_rows_are_within_the_error_of_their_elements_products() {
    let mut random = Random::new(11);
    for format in RowFormat::ALL {
        let len = 256 * 9;
        let packed = rows(&mut random, format, 3, len);
        let x = random.floats(len);
        for kernels in every_isa() {
            let mut elements = vec![0.0; 3 * len];
            kernels.dequantize(format, &packed, &mut elements).unwrap();
            let mut out = [0.0; 3];
            kernels.matvec(format, &packed, &x, &mut out).unwrap();
            for (&sum, row) in out.iter().zip(elements.chunks_exact(len)) {
                assert_close(sum, row, &x, &format!("{format} {}", kernels.isa()));
            }
        }
    }
}

#[test]
fn products_of_rows_of_any_scale_are_within_their_error_and_denormal_ones_count() {
    let mut random = Random::new(12);
    for format in RowFormat::ALL {
        let len = 256 * 3;
        let mut packed = rows(&mut random, format, 2, len);
        // Scales of every size that a half has, denormal ones among them.
        for block in packed.chunks_exact_mut(format.block_bytes()) {
            for &at in halves(format) {
                let half = random.next() as u16 & 0xfbff;
                block[at..at + 2].copy_from_slice(&half.to_le_bytes());
            }
            if format == RowFormat::MXFP4 {
                block[0] = 90 + block[0] % 60;
            }
        }
        for least in (-149..=60).step_by(11) {
            let x: Vec<f32> = (0..len)
                .map(|_| {
                    let size = 2f64.powi(least + (random.next() % 30) as i32);
                    (f64::from(random.float()) * size) as f32
                })
                .collect();
            for kernels in every_isa() {
                let what = format!("{format} {} 2^{least}", kernels.isa());
                let mut elements = vec![0.0; 2 * len];
                kernels.dequantize(format, &packed, &mut elements).unwrap();
                assert!(elements.iter().all(|x| x.is_finite()), "{what}");
                let mut out = [0.0; 2];
                kernels.matvec(format, &packed, &x, &mut out).unwrap();
                for (&sum, row) in out.iter().zip(elements.chunks_exact(len)) {
                    assert_close(sum, row, &x, &what);
                }
            }
        }
    }
}

#[test]
fn what_is_no_whole_row_is_an_error_and_nothing_is_written() {
    for format in RowFormat::ALL {
        let (elements, bytes) = (format.block_elements(), format.block_bytes());
        assert_eq!(format.row_bytes(3 * elements), Some(3 * bytes));
        let most = format.row_bytes(usize::MAX / elements * elements);
        assert_eq!(most, (usize::MAX / elements).checked_mul(bytes));
        let shape = |result: Result<(), ShapeError>| {
            let error = result.unwrap_err();
            (error.what, error.have, error.need)
        };
        for kernels in every_isa() {
            let mut out = vec![7.0; 2 * elements];
            for short in [0, bytes, 2 * bytes - 1, 2 * bytes + 1] {
                let result = kernels.dequantize(format, &vec![1; short], &mut out);
                assert_eq!(shape(result), ("packed", short, 2 * bytes));
                let x = vec![1.0; elements];
                let result = kernels.matvec(format, &vec![1; short], &x, &mut out[..2]);
                assert_eq!(shape(result), ("weights", short, 2 * bytes));
            }
            if elements > 1 {
                assert_eq!(format.row_bytes(elements + 1), None);
                let part = &mut out[..elements + 1];
                let result = kernels.dequantize(format, &vec![1; bytes], part);
                assert_eq!(shape(result), ("out", elements + 1, 2 * elements));
                let x = vec![1.0; elements - 1];
                let result = kernels.matvec(format, &vec![1; bytes], &x, &mut out[..1]);
                let what = "a row of whole blocks";
                assert_eq!(shape(result), (what, elements - 1, elements));
            }
            assert!(out.iter().all(|&x| x == 7.0), "{format}");
        }
    }
}
