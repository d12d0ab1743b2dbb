//! Matrix times vector against reading the matrix: `cargo bench --bench kernels`.
//!
//! One thread, 32-bit floats, matrices that fit the second-level cache, the third-level one, and none; over 4 KiB pages
//! and over huge ones, each for itself. Their product is held against the better of two loops that only read the same
//! pages, plain and with prefetches. Each round measures all of them, another one first each time, and a ratio is of one
//! round. The plain loop runs twice in each: how far its ratio to itself is from 100 % is noise, in the others too.

#![allow(clippy::expect_used)]

#[path = "../cli/src/kernels/clock.rs"]
mod clock;
#[path = "../cli/src/kernels/memory.rs"]
mod memory;
#[path = "../cli/src/kernels/read_loop.rs"]
mod read_loop;
mod support;

use clock::thread_cpu_ns;
use memory::Memory;
use read_loop::read;
use ringfield::kernels::{Isa, Kernels, RowFormat};
use std::hint::black_box;
use std::time::Instant;
use support::{rounds, spread};

/// Elements of a row.
const COLUMNS: usize = 1024;

/// (name, bytes of the matrix)
const SIZES: [(&str, usize); 3] = [("L2", 512 << 10), ("L3", 8 << 20), ("DRAM", 128 << 20)];

/// What is measured in each round.
const LOOPS: [&str; 4] = ["read", "read, prefetched", "matvec", "read, again"];
const READ: usize = 0;
const PREFETCHED: usize = 1;
const MATVEC: usize = 2;
const AGAIN: usize = 3;

/// Bytes that a sample reads at least: so few that most samples see no other process.
const SAMPLE: usize = 32 << 20;

fn main() {
    let kernels = Kernels::new();
    println!("# instruction set: {}", kernels.isa());
    for (name, bytes) in SIZES {
        let matrices = [false, true].map(|huge| Memory::new(bytes, huge).expect("room"));
        // Of a cache line's alignment: each row reads it again.
        let column = Memory::new(COLUMNS * 4, false).expect("room");
        let x = column.floats();
        let mut out = vec![0.0; bytes / COLUMNS / 4];
        let rounds = rounds() * (SAMPLE * 4 / bytes).clamp(1, 11);
        // For each kind of pages: what each of `LOOPS` reads, round by round.
        let mut results: [[Vec<f64>; LOOPS.len()]; 2] = Default::default();
        for round in 0..rounds {
            for (results, memory) in results.iter_mut().zip(&matrices) {
                let weights = memory.bytes();
                // Another one first each time: it finds the caches full of the other matrix.
                for step in 0..LOOPS.len() {
                    let which = (round + step) % LOOPS.len();
                    results[which].push(match which {
                        PREFETCHED => gb_per_second(bytes, || read::<true>(weights)),
                        MATVEC => gb_per_second(bytes, || {
                            kernels
                                .matvec(RowFormat::F32, weights, x, &mut out)
                                .expect("a matrix");
                            u64::from(out[0].to_bits())
                        }),
                        _ => gb_per_second(bytes, || read::<false>(weights)),
                    });
                }
            }
        }
        println!("{name}, {} KiB", bytes >> 10);
        for (pages, results) in ["4 KiB pages", "huge pages"].iter().zip(&results) {
            for (name, results) in LOOPS.iter().zip(results) {
                let results = spread(results.iter().copied());
                println!("  {pages:<12} {name:<18} {results} GB/s");
            }
            let noise = (0..rounds).map(|i| 100.0 * results[AGAIN][i] / results[READ][i]);
            let ratio = (0..rounds)
                .map(|i| 100.0 * results[MATVEC][i] / results[READ][i].max(results[PREFETCHED][i]));
            println!(
                "  {pages:<12} matvec is {} % of the better read",
                spread(ratio)
            );
            println!("  {pages:<12} a read is {} % of itself", spread(noise));
        }
        if matrices[1].huge_bytes() < bytes / 2 {
            println!("  no huge pages were granted");
        }
    }
    functions();
}

/// What an element costs in vectors of a model's size, on each instruction set.
fn functions() {
    type Function = (&'static str, fn(Kernels, &mut [f32], &[f32], &mut [f32]));
    const FUNCTIONS: [Function; 6] = [
        ("exp", |k, x, _, _| k.exp(x)),
        ("silu_mul", |k, x, y, _| k.silu_mul(x, y).expect("a shape")),
        ("gelu_tanh_mul", |k, x, y, _| {
            k.gelu_tanh_mul(x, y).expect("a shape")
        }),
        ("gelu_erf", |k, x, _, _| k.gelu_erf(x)),
        ("softmax", |k, x, _, _| k.softmax(x)),
        ("rms_norm", |k, x, y, out| {
            k.rms_norm(x, y, 1e-6, out).expect("a shape")
        }),
    ];
    let y: Vec<f32> = (0..2048).map(|i| (i % 37) as f32 / 4.0 - 4.0).collect();
    let mut out = vec![0.0; y.len()];
    for kernels in Isa::ALL.into_iter().filter_map(Kernels::with) {
        for (name, function) in FUNCTIONS {
            let samples: Vec<f64> = (0..rounds())
                .map(|_| {
                    let mut x = y.clone();
                    let repeats = 500;
                    let start = Instant::now();
                    for _ in 0..repeats {
                        x.copy_from_slice(&y);
                        function(kernels, black_box(&mut x), &y, &mut out);
                    }
                    start.elapsed().as_nanos() as f64 / f64::from(repeats) / y.len() as f64
                })
                .collect();
            let samples = spread(samples.iter().copied());
            println!("{:<8} {name:<14} {samples} ns an element", kernels.isa());
        }
    }
}

/// Reads a matrix again and again.
fn gb_per_second(bytes: usize, mut pass: impl FnMut() -> u64) -> f64 {
    black_box(pass());
    let passes = (SAMPLE / bytes).max(1);
    let start = thread_cpu_ns();
    for _ in 0..passes {
        black_box(pass());
    }
    (passes * bytes) as f64 / (thread_cpu_ns() - start)
}
