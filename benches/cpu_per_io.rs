//! Processor time of a 4 KiB read at depth 32, at half and at nine tenths of the device's peak, beside batched fio.
//!
//! `cargo bench --bench cpu_per_io`.

#![allow(clippy::expect_used)]

mod support;

use ringfield::Engine;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{
    FIO_BATCHED, Random, Sample, TestFile, cpu_seconds, fio, median, rounds, seconds, spread,
};

const DEPTH: usize = 32;
/// Results the host waits for at a time, as fio's `iodepth_batch_complete_min`.
const RESULTS: usize = 4;

/// A window of 32 reads, submitted no faster than `rate` a second.
fn paced(file: &TestFile, rate: f64) -> Sample {
    let engine = Engine::builder()
        .dram_budget(16 << 20)
        .page_size(4096)
        .queue_depth(DEPTH as u32)
        .build()
        .expect("an engine");
    let field = engine.open(&file.path).expect("the test file");
    let blocks = field.len() / 4096;
    let mut batch = engine.batch(DEPTH).expect("a batch");
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(std::process::id()));
    let mut latencies = support::latencies();
    let mut begun = [Instant::now(); DEPTH];
    let mut free: Vec<usize> = (0..DEPTH).collect();
    let mut issued = 0u64;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    loop {
        let now = Instant::now();
        let elapsed = (now - start).as_secs_f64();
        if elapsed > seconds() {
            break;
        }
        let due = (elapsed * rate) as u64;
        while issued < due
            && let Some(place) = free.pop()
        {
            let at = random.next() % blocks * 4096;
            begun[place] = now;
            batch
                .submit(&field, at..at + 4096, place as u64)
                .expect("room in the batch");
            issued += 1;
        }
        if batch.pending() == 0 {
            // As fio does between reads that are not due yet.
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        batch.wait(RESULTS);
        let now = Instant::now();
        while let Some(ready) = batch.next() {
            let view = ready.view().expect("a read");
            black_box(view.as_slice().map(|bytes| bytes[0]));
            let place = ready.tag() as usize;
            latencies.push((now - begun[place]).as_nanos() as u32);
            free.push(place);
        }
    }
    Sample::of(
        &mut latencies,
        start.elapsed().as_secs_f64(),
        cpu_seconds() - cpu,
    )
}

fn main() {
    let file = TestFile::new(1 << 30);
    let mut peaks = Vec::new();
    for _ in 0..3 {
        let Some(peer) = fio(&file.path, 4096, DEPTH as u32, &FIO_BATCHED) else {
            println!("SKIPPED: fio is not installed");
            return;
        };
        peaks.push(peer.iops);
    }
    let peak = median(peaks);
    println!("# fio's peak at depth {DEPTH}: {peak:.0} IOPS");
    for share in [0.5, 0.9] {
        let rate = peak * share;
        let limit = format!("--rate_iops={}", rate as u64);
        let mut extra = FIO_BATCHED.to_vec();
        extra.push(&limit);
        let mut results: [Vec<Sample>; 2] = Default::default();
        for _ in 0..rounds() {
            results[0].extend(fio(&file.path, 4096, DEPTH as u32, &extra));
            results[1].push(paced(&file, rate));
        }
        let ratio = results[1]
            .iter()
            .zip(&results[0])
            .map(|(a, b)| a.cpu_us_per_io / b.cpu_us_per_io);
        for (name, samples) in ["fio", "ringfield"].iter().zip(&results) {
            println!(
                "{:.0} % {name:<10} iops {:.0}   cpu {} us/io   p50 {:.1} us   p99 {:.1} us",
                share * 100.0,
                median(samples.iter().map(|s| s.iops)),
                spread(samples.iter().map(|s| s.cpu_us_per_io)),
                median(samples.iter().map(|s| s.p50_us)),
                median(samples.iter().map(|s| s.p99_us)),
            );
        }
        println!(
            "{:.0} % cpu ratio {}",
            share * 100.0,
            spread(ratio.collect::<Vec<_>>())
        );
    }
}
