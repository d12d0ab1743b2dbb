//! `Kernels::dequantize` beside ggml's reference `dequantize_row_*`, one thread, everything in the second-level cache.
//!
//! Needs cmake and libclang; from `benches/peers`, whose configuration counts:
//! `CMAKE_BUILD_PARALLEL_LEVEL=2 cargo run --release --bin dequantize [ISA]`.
//!
//! Rounds are interleaved: ours, theirs, ours once more (the A/A column). Medians; beside the ratio the quartiles of its
//! rounds. `other` counts elements of different bits. The last column is `Kernels::matvec`, for information.

use llama_cpp_sys_2 as ggml;
use ringfield::kernels::{Kernels, RowFormat};
use ringfield_peers::{FLOATS, PACKED, kernels, spread, weights};
use std::hint::black_box;
use std::time::Instant;

/// 128 KiB of floats.
const ELEMENTS: usize = 32 << 10;
/// Elements of a row of the matrix, which has sixteen rows or 512 KiB.
const COLUMNS: usize = 4096;
const ROUNDS: usize = 101;
/// Time of one measurement.
const SECONDS: f64 = 0.004;

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
    let kernels = kernels();
    let ggml_flags = option_env!("CFLAGS").unwrap_or("its own flags");
    println!(
        "ringfield {}; ggml {ggml_flags}; {ELEMENTS} elements, {ROUNDS} rounds\n",
        kernels.isa()
    );
    println!("type     ours Ge/s  ggml Ge/s  ratio (quartiles)      A/A  other  matvec GB/s");
    for (format, kind) in FLOATS.into_iter().chain(PACKED) {
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
