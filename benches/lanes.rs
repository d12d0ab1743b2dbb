//! Demand reads of 4 KiB beside a flood of prefetches: does demand keep its latency, and what is left for the flood?
//!
//! `cargo bench --bench lanes`. The flood reads half of the file in order, 128 MiB ahead of a consumer that only touches
//! what is already there, so that no prefetch becomes a demand read.

#![allow(clippy::expect_used)]

mod support;

use ringfield::{Engine, Field};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Random, Sample, TestFile, median, rounds, seconds, spread};

const AHEAD: u64 = 128 << 20;
const CHUNK: u64 = 1 << 20;

/// Prefetches and consumes the first half of the field until told to stop.
fn flood(field: &Field, stop: &AtomicBool) {
    let half = field.len() / 2 / CHUNK * CHUNK;
    let (mut head, mut tail) = (0u64, 0u64);
    while !stop.load(Ordering::Relaxed) {
        if head - tail < AHEAD {
            let at = head % half;
            field.prefetch(std::slice::from_ref(&(at..at + CHUNK)));
            head += CHUNK;
            continue;
        }
        let at = tail % half;
        if field.is_resident(at..at + CHUNK) {
            let pages = (at..at + CHUNK).step_by(4096);
            for page in pages {
                black_box(field.read(page..page + 8).map(|view| view.len()).ok());
            }
            tail += CHUNK;
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// (demand reads, prefetched bytes a second)
fn run(file: &TestFile, demand: bool, flooded: bool) -> (Sample, f64) {
    let engine = Engine::builder()
        .dram_budget(256 << 20)
        .page_size(4096)
        .build()
        .expect("an engine");
    let field = engine.open(&file.path).expect("the test file");
    let half = field.len() / 2;
    let stop = AtomicBool::new(false);
    let mut latencies = support::latencies();
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(std::process::id()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        if flooded {
            scope.spawn(|| flood(&field, &stop));
        }
        while demand && start.elapsed().as_secs_f64() < seconds() {
            let at = half + random.next() % (half / 4096) * 4096;
            let begun = Instant::now();
            let view = field.read(at..at + 4096).expect("a read");
            black_box(view.as_slice().map(|bytes| bytes[0]));
            drop(view);
            latencies.push(begun.elapsed().as_nanos() as u32);
        }
        if !demand {
            std::thread::sleep(Duration::from_secs_f64(seconds()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let elapsed = start.elapsed().as_secs_f64();
    let bytes = engine.stats().prefetch_bytes as f64;
    (Sample::of(&mut latencies, elapsed, 0.0), bytes / elapsed)
}

fn main() {
    let file = TestFile::new(2 << 30);
    {
        let engine = Engine::builder()
            .dram_budget(256 << 20)
            .page_size(4096)
            .build()
            .expect("an engine");
        let _field = engine.open(&file.path).expect("the test file");
        support::print_report(&engine);
    }
    let mut rows = Vec::new();
    for _ in 0..rounds() {
        let (alone, _) = run(&file, true, false);
        let (_, flood_alone) = run(&file, false, true);
        let (beside, flood_beside) = run(&file, true, true);
        rows.push((alone, flood_alone, beside, flood_beside));
    }
    let us = |name: &str, pick: fn(&(Sample, f64, Sample, f64)) -> f64| {
        println!(
            "{name:<34} {}",
            spread(rows.iter().map(pick).collect::<Vec<_>>())
        );
    };
    us("demand alone, p50 us", |r| r.0.p50_us);
    us("demand alone, p99 us", |r| r.0.p99_us);
    us("demand beside prefetch, p50 us", |r| r.2.p50_us);
    us("demand beside prefetch, p99 us", |r| r.2.p99_us);
    us("prefetch alone, MB/s", |r| r.1 / 1e6);
    us("prefetch beside demand, MB/s", |r| r.3 / 1e6);
    println!(
        "demand p99 beside / alone {:.2}   prefetch beside / alone {:.2}",
        median(rows.iter().map(|r| r.2.p99_us / r.0.p99_us)),
        median(rows.iter().map(|r| r.3 / r.1)),
    );
}
