//! Matrix times vector against reading the matrix: `cargo bench --bench kernels`.
//!
//! One thread, 32-bit floats, matrices that fit the second-level cache, the third-level one, and none; over 4 KiB pages
//! and over huge ones, each for itself. Their product is held against the better of two loops that only read the same
//! pages, plain and with prefetches. Each round measures all of them, another one first each time, and a ratio is of one
//! round. The plain loop runs twice in each: how far its ratio to itself is from 100 % is noise, in the others too.

#![allow(clippy::expect_used)]

mod support;

use ringfield::kernels::{Isa, Kernels, RowFormat};
use std::hint::black_box;
use std::time::Instant;
use support::{Random, rounds, spread};

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
        let matrices = [Memory::new(bytes, false), Memory::new(bytes, true)];
        // Of a cache line's alignment: each row reads it again.
        let column = Memory::new(COLUMNS * 4, false);
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

/// Nanoseconds that this thread has had on a processor: others may run beside it.
fn cpu_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Reads a matrix again and again.
fn gb_per_second(bytes: usize, mut pass: impl FnMut() -> u64) -> f64 {
    black_box(pass());
    let passes = (SAMPLE / bytes).max(1);
    let start = cpu_ns();
    for _ in 0..passes {
        black_box(pass());
    }
    (passes * bytes) as f64 / (cpu_ns() - start)
}

/// Reads all of `bytes` with the widest loads that there are.
fn read<const PREFETCH: bool>(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature.
            return unsafe { x86::read_512::<PREFETCH>(bytes) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return unsafe { x86::read_256::<PREFETCH>(bytes) };
        }
    }
    let (lines, _) = bytes.as_chunks::<8>();
    lines
        .iter()
        .fold(0, |all, word| all ^ u64::from_ne_bytes(*word))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Bytes ahead: the latency of memory times what one thread reads, about.
    const AHEAD: usize = 4096;

    macro_rules! read {
        ($name:ident, $features:literal, $register:ty, $zero:expr, $load:ident, $xor:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name<const PREFETCH: bool>(bytes: &[u8]) -> u64 {
                const BLOCK: usize = 512;
                const WIDTH: usize = size_of::<$register>();
                let (blocks, _) = bytes.as_chunks::<BLOCK>();
                let mut sums = [$zero; 8];
                for block in blocks {
                    if PREFETCH {
                        for line in block.chunks_exact(64) {
                            let ahead = line.as_ptr().wrapping_add(AHEAD);
                            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                        }
                    }
                    for (at, part) in block.chunks_exact(WIDTH).enumerate() {
                        // SAFETY: `part` has as many bytes as the register; no alignment is needed.
                        let loaded = unsafe { $load(part.as_ptr().cast()) };
                        sums[at % 8] = $xor(sums[at % 8], loaded);
                    }
                }
                let all = sums.into_iter().fold($zero, |all, sum| $xor(all, sum));
                let mut words = [0u64; WIDTH / 8];
                // SAFETY: both have the same size, and any bits are numbers.
                words.copy_from_slice(&unsafe {
                    std::mem::transmute::<$register, [u64; WIDTH / 8]>(all)
                });
                words.into_iter().fold(0, |all, word| all ^ word)
            }
        };
    }
    read!(
        read_512,
        "avx512f",
        __m512i,
        _mm512_setzero_si512(),
        _mm512_loadu_si512,
        _mm512_xor_si512
    );
    read!(
        read_256,
        "avx2",
        __m256i,
        _mm256_setzero_si256(),
        _mm256_loadu_si256,
        _mm256_xor_si256
    );
}

/// Memory in pages of one kind, filled with small floats.
struct Memory {
    at: *mut u8,
    len: usize,
}

impl Memory {
    fn new(len: usize, huge: bool) -> Memory {
        // SAFETY: a new private mapping of its own.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED, "room for a matrix");
        let advice = if huge {
            libc::MADV_HUGEPAGE
        } else {
            libc::MADV_NOHUGEPAGE
        };
        // SAFETY: advice on that mapping. Where it is refused, `huge_bytes` tells.
        unsafe { libc::madvise(at, len, advice) };
        let memory = Memory { at: at.cast(), len };
        // SAFETY: the mapping is that long, writable, zero, and nobody else has it.
        let floats = unsafe { std::slice::from_raw_parts_mut(memory.at.cast::<f32>(), len / 4) };
        let mut random = Random(7);
        for float in floats {
            *float = (random.next() >> 40) as f32 / (1 << 24) as f32;
        }
        memory
    }

    fn floats(&self) -> &[f32] {
        // SAFETY: the mapping is that long and lives as long as `self`; nobody writes to it any more.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.len / 4) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: as in `floats`.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }

    /// Bytes of it that are in huge pages. proc_pid_smaps(5)
    fn huge_bytes(&self) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let from = format!("{:x}-", self.at as usize);
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&from));
        let line = lines.find_map(|line| line.strip_prefix("AnonHugePages:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok())
            .map_or(0, |kib: usize| kib << 10)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is `self`'s own, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}
