//! candle's products of packed rows with activations of eight bits, in one thread.
//!
//! It looks for AVX2 and AVX-512 VNNI when it runs, but where it has plain loops (Q4_1, Q5_0, Q5_1) and for conversions
//! of half-precision scales, what it is built for counts: `rustc-native` builds it for this processor.

use candle_core::quantized::k_quants::*;
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};
use ringfield::kernels::RowFormat;
use std::hint::black_box;

/// A matrix times the vector that it was made with.
pub type Product<'m> = Box<dyn FnMut(&mut [f32]) + 'm>;

/// Row by row, four at a time as candle's own loop has it, with activations quantized beforehand.
pub fn dots<'m>(format: RowFormat, matrix: &'m [u8], x: &[f32]) -> Option<Product<'m>> {
    Some(match format {
        RowFormat::Q4_0 => dots_of::<BlockQ4_0>(matrix, x),
        RowFormat::Q4_1 => dots_of::<BlockQ4_1>(matrix, x),
        RowFormat::Q5_0 => dots_of::<BlockQ5_0>(matrix, x),
        RowFormat::Q5_1 => dots_of::<BlockQ5_1>(matrix, x),
        RowFormat::Q8_0 => dots_of::<BlockQ8_0>(matrix, x),
        RowFormat::Q2_K => dots_of::<BlockQ2K>(matrix, x),
        RowFormat::Q3_K => dots_of::<BlockQ3K>(matrix, x),
        RowFormat::Q4_K => dots_of::<BlockQ4K>(matrix, x),
        RowFormat::Q5_K => dots_of::<BlockQ5K>(matrix, x),
        RowFormat::Q6_K => dots_of::<BlockQ6K>(matrix, x),
        _ => return None,
    })
}

fn dots_of<'m, T: GgmlType + 'm>(matrix: &'m [u8], x: &[f32]) -> Product<'m> {
    let (len, blocks) = (x.len(), x.len() / T::BLCK_SIZE);
    // SAFETY: a block is numbers and arrays of them, as ggml lays them out: any bytes are one.
    let (before, rows, after) = unsafe { matrix.align_to::<T>() };
    assert!(before.is_empty() && after.is_empty(), "whole blocks");
    let mut quantized = vec![T::VecDotType::zeros(); len / T::VecDotType::BLCK_SIZE];
    T::VecDotType::from_float(x, &mut quantized);
    Box::new(move |out| {
        let (out, _) = out.as_chunks_mut::<4>();
        let y = black_box(&quantized);
        for (out, rows) in out.iter_mut().zip(black_box(rows).chunks_exact(4 * blocks)) {
            let row = |number: usize| &rows[number * blocks..][..blocks];
            let (a, b, c, d) = T::vec_dot_4(len, row(0), row(1), row(2), row(3), y);
            *out = [a, b, c, d];
        }
    })
}

/// As a program calls it: a tensor of the vector in, a tensor out. It quantizes the vector each time, and multiplies a
/// matrix that it has repacked where it repacks such.
pub fn whole(format: RowFormat, matrix: &[u8], x: &[f32]) -> Option<Product<'static>> {
    let dtype = match format {
        RowFormat::Q4_0 => GgmlDType::Q4_0,
        RowFormat::Q4_1 => GgmlDType::Q4_1,
        RowFormat::Q5_0 => GgmlDType::Q5_0,
        RowFormat::Q5_1 => GgmlDType::Q5_1,
        RowFormat::Q8_0 => GgmlDType::Q8_0,
        RowFormat::Q2_K => GgmlDType::Q2K,
        RowFormat::Q3_K => GgmlDType::Q3K,
        RowFormat::Q4_K => GgmlDType::Q4K,
        RowFormat::Q5_K => GgmlDType::Q5K,
        RowFormat::Q6_K => GgmlDType::Q6K,
        _ => return None,
    };
    let len = x.len();
    let rows = matrix.len() / format.row_bytes(len).expect("whole blocks");
    let storage = QStorage::from_data(matrix.into(), &Device::Cpu, dtype).expect("blocks");
    let matrix = QTensor::new(storage, (rows, len)).expect("a matrix");
    let matrix = QMatMul::from_qtensor(matrix).expect("a matrix");
    let x = Tensor::from_slice(x, (1, len), &Device::Cpu).expect("a vector");
    Some(Box::new(move |out| {
        let product = matrix.forward(black_box(&x)).expect("shapes that fit");
        let product = product.flatten_all().and_then(|all| all.to_vec1::<f32>());
        out.copy_from_slice(&product.expect("numbers"));
    }))
}

/// # Panics
/// If candle would compute with more than one thread: it takes their number from the environment.
pub fn assert_one_thread() {
    for name in ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"] {
        let number = std::env::var(name);
        assert_eq!(number.as_deref(), Ok("1"), "{name}");
    }
}
