//! The depth that an engine finds by itself, beside fixed depths: 4 KiB at random, 256 reads asked for at once.
//!
//! `cargo bench --bench depth`. IOPS and the device's own latency (queueing in the engine is what a smaller depth moves
//! it to); how long the search took is measured from the first read. The latency of the depth found is that of another
//! engine with this depth set, as the search itself tries deeper and shallower ones.

#![allow(clippy::expect_used)]

mod support;

use ringfield::Engine;
use std::hint::black_box;
use std::time::Instant;
use support::{Random, TestFile, rounds, seconds, spread};

const BLOCK: u64 = 4096;
const WINDOW: usize = 256;
/// The search may take this long, in seconds; only then are reads counted.
const SEARCH_S: f64 = 2.0;
/// What runs before a fixed depth is counted, in seconds.
const WARM_S: f64 = 0.2;

struct Found {
    iops: f64,
    p99_us: f64,
    depth: f64,
    settled_s: f64,
}

/// Reads for a while and the time given, at `depth` or at what is found.
fn reads(file: &TestFile, depth: Option<u32>) -> Found {
    let warm_s = if depth.is_none() { SEARCH_S } else { WARM_S };
    let mut builder = Engine::builder().dram_budget(16 << 20).page_size(BLOCK);
    if let Some(depth) = depth {
        builder = builder.queue_depth(depth);
    }
    let engine = builder.build().expect("an engine");
    let field = engine.open(&file.path).expect("the test file");
    let blocks = field.len() / BLOCK;
    let mut batch = engine.batch(WINDOW).expect("a batch");
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(std::process::id()));
    let mut submit = |batch: &mut ringfield::Batch| {
        let at = random.next() % blocks * BLOCK;
        batch.submit(&field, at..at + BLOCK, 0).expect("room");
    };
    (0..WINDOW).for_each(|_| submit(&mut batch));
    let start = Instant::now();
    let found = || {
        let report = engine.report();
        let row = report
            .rows()
            .iter()
            .find(|row| row.item.ends_with("queue depth"))?
            .granted
            .to_string();
        // "48, found by measuring, …", or what was set.
        let (number, rest) = row.split_once(',').unwrap_or((&row, "found"));
        rest.contains("found").then(|| number.parse().ok())?
    };
    let (mut settled_s, mut looked_s) = (f64::NAN, 0.0);
    let mut counted: Option<(f64, u64)> = None;
    loop {
        batch.wait(1);
        let now = start.elapsed().as_secs_f64();
        if settled_s.is_nan() && now - looked_s > 0.01 {
            looked_s = now;
            if found().is_some() {
                settled_s = now;
            }
        }
        if now > warm_s && counted.is_none() {
            counted = Some((now, 0));
        }
        if now > warm_s + seconds() {
            break;
        }
        let mut free = 0;
        while let Some(ready) = batch.next() {
            black_box(
                ready
                    .view()
                    .expect("a read")
                    .as_slice()
                    .map(|bytes| bytes[0]),
            );
            free += 1;
        }
        if let Some((_, reads)) = &mut counted {
            *reads += free;
        }
        (0..free).for_each(|_| submit(&mut batch));
    }
    let (from, reads) = counted.expect("a time to count in");
    Found {
        iops: reads as f64 / (start.elapsed().as_secs_f64() - from),
        p99_us: engine.stats().demand.device_ns[1] as f64 / 1e3,
        depth: found().unwrap_or(f64::NAN),
        settled_s,
    }
}

fn main() {
    let file = TestFile::new(2 << 30);
    let depths: Vec<Option<u32>> = [8, 16, 24, 32, 40, 48, 64, 128]
        .into_iter()
        .map(Some)
        .collect();
    let depths = [vec![None], depths].concat();
    let mut results: Vec<Vec<Found>> = depths.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds() {
        for (depth, samples) in depths.iter().zip(&mut results) {
            let mut sample = reads(&file, *depth);
            if depth.is_none() && sample.depth.is_finite() {
                sample.p99_us = reads(&file, Some(sample.depth as u32)).p99_us;
            }
            samples.push(sample);
        }
    }
    for (depth, samples) in depths.iter().zip(&results) {
        let name = depth.map_or("found".into(), |depth| format!("{depth}"));
        println!(
            "depth {name:>5}   {} IOPS   p99 in the device {} us",
            spread(samples.iter().map(|found| found.iops)),
            spread(samples.iter().map(|found| found.p99_us)),
        );
    }
    let ours = &results[0];
    println!(
        "found: depth {}, settled after {} s",
        spread(ours.iter().map(|found| found.depth)),
        spread(ours.iter().map(|found| found.settled_s)),
    );
    let peak = |round: usize| {
        let fixed = results[1..].iter();
        fixed.map(|samples| samples[round].iops).fold(0.0, f64::max)
    };
    let deep = results.last().expect("depth 128");
    println!(
        "to the round's best: {}   p99 to depth 128's: {}",
        spread((0..ours.len()).map(|round| ours[round].iops / peak(round))),
        spread(
            ours.iter()
                .zip(deep)
                .map(|(ours, deep)| ours.p99_us / deep.p99_us)
        ),
    );
}
