//! `Kernels::matvec_quantized` beside ggml: its `vec_dot` row by row, and its repacked matrices where it has them; and
//! beside candle, of which the better of the same two paths counts (`ringfield_peers::candle`).
//!
//! Needs cmake and libclang; from `benches/peers`, whose configuration counts:
//! `CMAKE_BUILD_PARALLEL_LEVEL=2 cargo run --release --bin products [ISA]`.
//!
//! One thread; rows of 4096 elements, and of 576 for formats of 32; a matrix of 512 KiB, which stays in L2, and one of
//! 256 MiB. `RINGFIELD_TYPE=Q8_0` measures one type. Activations are quantized beforehand, but for the repacked matrices,
//! which both multiply from 32-bit floats on: there they are part of it, a few per cent of the small matrix. Rounds are
//! interleaved: ours, each path of the others, ours once more (the A/A column). Medians of the rounds' ratios to the
//! better path, with quartiles.
//!
//! The peers are at their best: ggml and candle are built for this processor, ringfield for any, as it is shipped. What
//! they were built with is printed.

use llama_cpp_sys_2 as ggml;
use ringfield::kernels::{Activations, Kernels, RowFormat};
use ringfield_peers::{PACKED, candle, kernels, spread, weights};
use std::ffi::{CStr, c_void};
use std::hint::black_box;
use std::time::Instant;

/// Rows of `len` elements, packed by ggml; after the first 64 they come again.
fn packed(kind: ggml::ggml_type, len: usize, rows: usize, row_bytes: usize) -> Vec<u8> {
    let some = rows.min(64);
    let weights = weights(some * len);
    let mut packed = vec![0u8; rows * row_bytes];
    // SAFETY: `weights` has `some` rows of `len`, and `packed` at least their bytes; these types need no importances.
    let bytes = unsafe {
        ggml::ggml_quantize_chunk(
            kind,
            weights.as_ptr(),
            packed.as_mut_ptr().cast(),
            0,
            some as i64,
            len as i64,
            std::ptr::null(),
        )
    };
    assert_eq!(bytes, some * row_bytes);
    for row in some..rows {
        packed.copy_within(
            (row % some) * row_bytes..(row % some + 1) * row_bytes,
            row * row_bytes,
        );
    }
    packed
}

/// Seconds of one call.
fn time(seconds: f64, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut calls = 0;
    loop {
        call();
        calls += 1;
        let took = start.elapsed().as_secs_f64();
        if took >= seconds {
            return took / f64::from(calls);
        }
    }
}

/// ggml's repacked matrix times a vector, as a graph.
struct Repacked {
    backend: ggml::ggml_backend_t,
    graph: *mut ggml::ggml_cgraph,
    out: *mut ggml::ggml_tensor,
}

impl Repacked {
    /// `None` where ggml repacks no such matrix.
    fn new(kind: ggml::ggml_type, matrix: &[u8], x: &[f32], rows: usize) -> Option<Repacked> {
        type Extra =
            unsafe extern "C" fn(ggml::ggml_backend_dev_t) -> *mut ggml::ggml_backend_buffer_type_t;
        // SAFETY: ggml's documented way: a context without memory, tensors in buffers of their kinds, one graph. All of it
        // lives as long as the process.
        unsafe {
            let device = ggml::ggml_backend_dev_by_type(ggml::GGML_BACKEND_DEVICE_TYPE_CPU);
            let reg = ggml::ggml_backend_dev_backend_reg(device);
            let name = c"ggml_backend_dev_get_extra_bufts";
            let extra = ggml::ggml_backend_reg_get_proc_address(reg, name.as_ptr());
            if extra.is_null() {
                return None;
            }
            let extra: Extra = std::mem::transmute::<*mut c_void, Extra>(extra);
            let mut kinds = extra(device);
            let repack = loop {
                let buffer_kind = *kinds;
                if buffer_kind.is_null() {
                    return None;
                }
                let name = CStr::from_ptr(ggml::ggml_backend_buft_name(buffer_kind));
                if name.to_bytes().ends_with(b"REPACK") {
                    break buffer_kind;
                }
                kinds = kinds.add(1);
            };
            let context = || {
                ggml::ggml_init(ggml::ggml_init_params {
                    mem_size: 1 << 20,
                    mem_buffer: std::ptr::null_mut(),
                    no_alloc: true,
                })
            };
            let (of_weights, of_rest) = (context(), context());
            let w = ggml::ggml_new_tensor_2d(of_weights, kind, x.len() as i64, rows as i64);
            if ggml::ggml_backend_alloc_ctx_tensors_from_buft(of_weights, repack).is_null()
                || (*w).extra.is_null()
            {
                return None;
            }
            ggml::ggml_backend_tensor_set(w, matrix.as_ptr().cast(), 0, matrix.len());
            let column = ggml::ggml_new_tensor_2d(of_rest, ggml::GGML_TYPE_F32, x.len() as i64, 1);
            let out = ggml::ggml_mul_mat(of_rest, w, column);
            let backend = ggml::ggml_backend_cpu_init();
            ggml::ggml_backend_cpu_set_n_threads(backend, 1);
            ggml::ggml_backend_alloc_ctx_tensors(of_rest, backend);
            ggml::ggml_backend_tensor_set(column, x.as_ptr().cast(), 0, size_of_val(x));
            let graph = ggml::ggml_new_graph(of_rest);
            ggml::ggml_build_forward_expand(graph, out);
            Some(Repacked {
                backend,
                graph,
                out,
            })
        }
    }

    fn run(&self) {
        // SAFETY: made by `new`.
        let status = unsafe { ggml::ggml_backend_graph_compute(self.backend, self.graph) };
        assert_eq!(status, 0);
    }

    fn first(&self) -> f32 {
        let mut first = 0.0f32;
        // SAFETY: made by `new`; it has at least one element.
        unsafe { ggml::ggml_backend_tensor_get(self.out, (&raw mut first).cast(), 0, 4) };
        first
    }
}

/// One measurement.
fn measure(
    kernels: Kernels,
    format: RowFormat,
    kind: ggml::ggml_type,
    len: usize,
    bytes: usize,
    rounds: usize,
    seconds: f64,
) {
    if std::env::var("RINGFIELD_TYPE").is_ok_and(|only| only != format.name()) {
        return;
    }
    let row_bytes = format.row_bytes(len).expect("whole blocks");
    let rows = bytes / row_bytes / 16 * 16;
    let matrix = packed(kind, len, rows, row_bytes);
    let x = weights(len);
    let mut activations = Activations::new();
    kernels
        .quantize(&x, 1, &[format], &mut activations)
        .expect("whole blocks");
    // SAFETY: a valid type; the table is static.
    let traits = unsafe { *ggml::ggml_get_type_traits_cpu(kind) };
    let vec_dot = traits.vec_dot.expect("a function");
    let mut quantized = vec![0u8; 8 * len];
    // SAFETY: as above.
    let from_float = unsafe { *ggml::ggml_get_type_traits_cpu(traits.vec_dot_type) }
        .from_float
        .expect("a function");
    // SAFETY: eight bytes an element are more than any type's.
    unsafe { from_float(x.as_ptr(), quantized.as_mut_ptr().cast(), len as i64) };
    let repacked = Repacked::new(kind, &matrix, &x, rows);
    let (mut out, mut theirs, mut third) =
        (vec![0.0f32; rows], vec![0.0f32; rows], vec![0.0; rows]);
    let mut candles: Vec<_> = [
        candle::dots(format, &matrix, &x),
        candle::whole(format, &matrix, &x),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut ours = || {
        kernels
            .matvec_quantized(
                format,
                black_box(&matrix),
                black_box(&activations),
                black_box(&mut out),
            )
            .expect("shapes that fit");
    };
    let mut dots = || {
        for (out, row) in black_box(&mut theirs)
            .iter_mut()
            .zip(matrix.chunks_exact(row_bytes))
        {
            // SAFETY: `row` has `len` elements of this type, `quantized` as many of its partner.
            unsafe {
                vec_dot(
                    len as i32,
                    out,
                    0,
                    row.as_ptr().cast(),
                    0,
                    quantized.as_ptr().cast(),
                    0,
                    1,
                )
            };
        }
    };
    let (mut a, mut again) = (vec![], vec![]);
    let mut ggmls = vec![vec![]; 1 + usize::from(repacked.is_some())];
    let mut of_candle = vec![vec![]; candles.len()];
    for _ in 0..rounds {
        a.push(time(seconds, &mut ours));
        ggmls[0].push(time(seconds, &mut dots));
        if let Some(repacked) = &repacked {
            ggmls[1].push(time(seconds, || repacked.run()));
        }
        for (candle, times) in candles.iter_mut().zip(&mut of_candle) {
            times.push(time(seconds, || candle(black_box(&mut third))));
        }
        again.push(time(seconds, &mut ours));
    }
    let far = |theirs: &[f32]| {
        let differences = out.iter().zip(theirs).map(|(a, b)| (a - b).abs());
        differences.fold(0.0f32, f32::max)
    };
    for candle in &mut candles {
        candle(&mut third);
        // Repacked, activations of any type are in blocks of 256 elements. A product is 0.03 or so.
        assert!(far(&third) < 2e-3, "{format}: {}", far(&third));
    }
    if let Some(repacked) = &repacked {
        let first = repacked.first();
        assert!((first - out[0]).abs() < 1e-2, "{first} {}", out[0]);
    }

    let rate = |seconds: &[f64]| (rows * row_bytes) as f64 / spread(seconds.to_vec()).0 / 1e9;
    let dash = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
    let (again, ..) = ratio(&again, &a);
    println!(
        "{:7} {len:5} {:7} KiB {:7.1} {:7.1} {:>8} {} {:>7} {} {again:5.2}  {:.1e}",
        format.name(),
        rows * row_bytes >> 10,
        rate(&a),
        rate(&ggmls[0]),
        dash(ggmls.get(1).map(|times| rate(times))),
        beside(better(&ggmls), &a),
        dash(better(&of_candle).map(|times| rate(times))),
        beside(better(&of_candle), &a),
        far(&theirs),
    );
}

/// Of a peer's paths, the one with the least median.
fn better(paths: &[Vec<f64>]) -> Option<&Vec<f64>> {
    let median = |times: &Vec<f64>| spread(times.clone()).0;
    paths.iter().min_by(|a, b| median(a).total_cmp(&median(b)))
}

fn ratio(x: &[f64], y: &[f64]) -> (f64, f64, f64) {
    spread(x.iter().zip(y).map(|(x, y)| x / y).collect())
}

/// How many times faster `ours` are, with the quartiles.
fn beside(theirs: Option<&Vec<f64>>, ours: &[f64]) -> String {
    let Some(theirs) = theirs else {
        return format!("{:>17}", "-");
    };
    let (median, low, high) = ratio(theirs, ours);
    format!("{median:5.2} ({low:4.2}-{high:4.2})")
}

fn main() {
    let kernels = kernels();
    candle::assert_one_thread();
    // SAFETY: once, before everything else.
    unsafe { ggml::ggml_cpu_init() };
    println!(
        "ringfield {}, {}; ggml {}; candle {}\n",
        kernels.isa(),
        kernels.integers(),
        option_env!("CFLAGS").unwrap_or("its own flags"),
        option_env!("CANDLE_RUSTFLAGS").unwrap_or("its own flags"),
    );
    println!(
        "GB/s                                  ggml's                              candle\n\
         type      len     matrix    ours    dots repacked ratio (quartiles)        ratio (quartiles)   A/A  difference"
    );
    for (format, kind) in PACKED {
        measure(kernels, format, kind, 4096, 512 << 10, 41, 0.004);
    }
    for (format, kind) in PACKED {
        if format.block_elements() == 32 {
            measure(kernels, format, kind, 576, 512 << 10, 41, 0.004);
        }
    }
    for (format, kind) in PACKED {
        measure(kernels, format, kind, 4096, 256 << 20, 9, 0.02);
    }
}
