//! One read of 4 KiB at a time: by the caller itself, and through a loop that sleeps between reads, beside fio.
//!
//! `cargo bench --bench depth_one`. Once on an idle machine, once with a busy thread on each processor; the parked loop
//! also with a higher priority, where that is granted.

#![allow(clippy::expect_used)]

mod support;

use ringfield::Engine;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use support::{Random, Sample, TestFile, cpu_seconds, fio, median, rounds, seconds, spread};

fn reads(file: &TestFile, inline: bool, nice: i32) -> Sample {
    let engine = Engine::builder()
        .dram_budget(16 << 20)
        .page_size(4096)
        .inline_reads(inline)
        .nice(nice)
        .build()
        .expect("an engine");
    let field = engine.open(&file.path).expect("the test file");
    let blocks = field.len() / 4096;
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(std::process::id()));
    let mut latencies = support::latencies();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    while start.elapsed().as_secs_f64() < seconds() {
        let at = random.next() % blocks * 4096;
        let begun = Instant::now();
        let view = field.read(at..at + 4096).expect("a read");
        black_box(view.as_slice().map(|bytes| bytes[0]));
        drop(view);
        latencies.push(begun.elapsed().as_nanos() as u32);
    }
    Sample::of(
        &mut latencies,
        start.elapsed().as_secs_f64(),
        cpu_seconds() - cpu,
    )
}

fn compare(file: &TestFile, name: &str, busy_cpu: bool) {
    let mut results: [Vec<Sample>; 4] = Default::default();
    for _ in 0..rounds() {
        let Some(peer) = fio(&file.path, 4096, 1, &[]) else {
            println!("SKIPPED: fio is not installed");
            return;
        };
        results[0].push(peer);
        results[1].push(reads(file, true, 0));
        results[2].push(reads(file, false, 0));
        // Not granted without a privilege: then this is the same again.
        results[3].push(reads(file, false, -10));
    }
    let rows = ["fio", "inline", "parked loop", "nice -10"];
    for (row, samples) in rows.iter().zip(&results) {
        let ratio = samples
            .iter()
            .zip(&results[0])
            .map(|(ours, peer)| ours.p50_us / peer.p50_us);
        // Busy threads of this very process would count as its own.
        let cpu = if busy_cpu {
            "-".into()
        } else {
            spread(samples.iter().map(|s| s.cpu_us_per_io))
        };
        println!(
            "{name:<5} {row:<12} p50 {} us   p99 {:.1} us   cpu {cpu} us/io   p50 ratio {:.3}",
            spread(samples.iter().map(|s| s.p50_us)),
            median(samples.iter().map(|s| s.p99_us)),
            median(ratio),
        );
    }
}

fn main() {
    let file = TestFile::new(1 << 30);
    {
        let engine = Engine::builder()
            .dram_budget(16 << 20)
            .build()
            .expect("an engine");
        let _field = engine.open(&file.path).expect("the test file");
        support::print_report(&engine);
    }
    compare(&file, "idle", false);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    black_box(0u64);
                }
            });
        }
        compare(&file, "busy", true);
        stop.store(true, Ordering::Relaxed);
    });
}
