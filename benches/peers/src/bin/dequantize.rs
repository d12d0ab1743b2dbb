//! `Kernels::dequantize` beside ggml's reference `dequantize_row_*`, one thread, everything in the second-level cache.
//!
//! Needs cmake and libclang; from `benches/peers`, whose configuration counts:
//! `CMAKE_BUILD_PARALLEL_LEVEL=2 cargo run --release --bin dequantize [ISA]`.
//!
//! Rounds are interleaved: ours, theirs, ours once more (the A/A column). Medians; beside the ratio the quartiles of its
//! rounds. `other` counts elements of different bits. The last column is `Kernels::matvec`, for information.

use llama_cpp_sys_2 as ggml;
use ringfield::kernels::{Isa, Kernels, RowFormat};
use std::hint::black_box;
use std::time::Instant;

/// 128 KiB of floats.
const ELEMENTS: usize = 32 << 10;
/// Elements of a row of the matrix, which has sixteen rows or 512 KiB.
const COLUMNS: usize = 4096;
const ROUNDS: usize = 101;
/// Time of one measurement.
const SECONDS: f64 = 0.004;

const TYPES: [(RowFormat, ggml::ggml_type); 15] = [
    (RowFormat::F16, ggml::GGML_TYPE_F16),
    (RowFormat::Bf16, ggml::GGML_TYPE_BF16),
    (RowFormat::Q4_0, ggml::GGML_TYPE_Q4_0),
    (RowFormat::Q4_1, ggml::GGML_TYPE_Q4_1),
    (RowFormat::Q5_0, ggml::GGML_TYPE_Q5_0),
    (RowFormat::Q5_1, ggml::GGML_TYPE_Q5_1),
    (RowFormat::Q8_0, ggml::GGML_TYPE_Q8_0),
    (RowFormat::Q2_K, ggml::GGML_TYPE_Q2_K),
    (RowFormat::Q3_K, ggml::GGML_TYPE_Q3_K),
    (RowFormat::Q4_K, ggml::GGML_TYPE_Q4_K),
    (RowFormat::Q5_K, ggml::GGML_TYPE_Q5_K),
    (RowFormat::Q6_K, ggml::GGML_TYPE_Q6_K),
    (RowFormat::IQ4_NL, ggml::GGML_TYPE_IQ4_NL),
    (RowFormat::IQ4_XS, ggml::GGML_TYPE_IQ4_XS),
    (RowFormat::MXFP4, ggml::GGML_TYPE_MXFP4),
];

/// Weights as a model has them: the sum of twelve uniform numbers is nearly normal.
fn weights(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len)
        .map(|_| (0..12).map(|_| uniform()).sum::<f32>() * 0.02)
        .collect()
}

/// `len` weights as rows of `COLUMNS`, packed by ggml.
fn packed(format: RowFormat, kind: ggml::ggml_type, len: usize) -> Vec<u8> {
    let weights = weights(len);
    let mut packed = vec![0u8; format.row_bytes(len).expect("whole blocks")];
    // SAFETY: `weights` has as many rows as are named, and `packed` their bytes; these types need no importance matrix.
    let bytes = unsafe {
        ggml::ggml_quantize_chunk(
            kind,
            weights.as_ptr(),
            packed.as_mut_ptr().cast(),
            0,
            (len / COLUMNS) as i64,
            COLUMNS as i64,
            std::ptr::null(),
        )
    };
    assert_eq!(bytes, packed.len());
    packed
}

/// Seconds of one call.
fn time(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed().as_secs_f64() < SECONDS {
        for _ in 0..16 {
            call();
        }
        calls += 16;
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

/// The median and the quartiles beside it.
fn spread(mut of: Vec<f64>) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    (of[of.len() / 2], of[of.len() / 4], of[of.len() * 3 / 4])
}

struct Row {
    ours: Vec<f64>,
    theirs: Vec<f64>,
    again: Vec<f64>,
    matvec: Vec<f64>,
}

fn measure(kernels: Kernels, format: RowFormat, kind: ggml::ggml_type) -> (Row, usize) {
    let blocks = packed(format, kind, ELEMENTS);
    // SAFETY: a valid type; the table is static.
    let to_float = unsafe { (*ggml::ggml_get_type_traits(kind)).to_float }.expect("a function");
    let (mut ours, mut theirs) = (vec![0.0f32; ELEMENTS], vec![0.0f32; ELEMENTS]);
    let (x, mut sums) = (weights(COLUMNS), [0.0f32; 16]);
    let row_bytes = format.row_bytes(COLUMNS).expect("whole blocks");
    let rows = sums.len().min((512 << 10) / row_bytes);
    let matrix = packed(format, kind, rows * COLUMNS);
    let mut row = Row {
        ours: vec![],
        theirs: vec![],
        again: vec![],
        matvec: vec![],
    };
    for _ in 0..ROUNDS {
        let mut dequantize = || {
            kernels
                .dequantize(format, black_box(&blocks), black_box(&mut ours))
                .expect("shapes that fit");
        };
        row.ours.push(time(&mut dequantize));
        row.theirs.push(time(|| {
            let to = black_box(&mut theirs).as_mut_ptr();
            // SAFETY: `blocks` are those of as many elements as `theirs` has.
            unsafe { to_float(black_box(&blocks).as_ptr().cast(), to, ELEMENTS as i64) };
        }));
        row.again.push(time(&mut dequantize));
        row.matvec.push(time(|| {
            kernels
                .matvec(
                    format,
                    black_box(&matrix),
                    black_box(&x),
                    black_box(&mut sums[..rows]),
                )
                .expect("shapes that fit");
        }));
    }
    for seconds in &mut row.matvec {
        *seconds = (rows * row_bytes) as f64 / *seconds / 1e9;
    }
    let bits = ours
        .iter()
        .zip(&theirs)
        .map(|(a, b)| (a.to_bits(), b.to_bits()));
    let other = bits.filter(|(a, b)| a != b).count();
    (row, other)
}

fn main() {
    let kernels = match std::env::args().nth(1) {
        None => Kernels::new(),
        Some(name) => Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .and_then(Kernels::with)
            .expect("an instruction set of this processor"),
    };
    let ggml_flags = option_env!("CFLAGS").unwrap_or("its own flags");
    println!(
        "ringfield {}; ggml {ggml_flags}; {ELEMENTS} elements, {ROUNDS} rounds\n",
        kernels.isa()
    );
    println!("type     ours Ge/s  ggml Ge/s  ratio (quartiles)      A/A  other  matvec GB/s");
    for (format, kind) in TYPES {
        let (row, other) = measure(kernels, format, kind);
        let ratio = |a: &[f64], b: &[f64]| spread(a.iter().zip(b).map(|(a, b)| a / b).collect());
        let (ratio_theirs, least, most) = ratio(&row.theirs, &row.ours);
        let (same, ..) = ratio(&row.again, &row.ours);
        let rate = |seconds: Vec<f64>| ELEMENTS as f64 / spread(seconds).0 / 1e9;
        println!(
            "{:8} {:9.1}  {:9.1}  {ratio_theirs:5.2} ({least:5.2}-{most:5.2})  {same:7.2}  {other:5}  {:11.1}",
            format.name(),
            rate(row.ours),
            rate(row.theirs),
            spread(row.matvec).0
        );
    }
}
