//! Random reads with a window that slides, beside fio with huge-page buffers, fio with its default buffers, and fio
//! against itself.
//!
//! `cargo bench --bench throughput`. fio's huge-page buffers need reserved huge pages (`sysctl vm.nr_hugepages=200`, as
//! root); without them that row is left out. The pool is little larger than the window, as fio's buffers are: what is
//! read into a large one goes to memory that no cache holds.

#![allow(clippy::expect_used)]

mod support;

use ringfield::Engine;
use std::hint::black_box;
use std::time::Instant;
use support::{
    FIO_BATCHED, Random, Sample, TestFile, cpu_seconds, fio, median, rounds, seconds, spread,
};

/// The engine, with `depth` reads of `bs` bytes in flight from one thread.
fn window(file: &TestFile, bs: u64, depth: usize) -> (Sample, String) {
    let engine = Engine::builder()
        .dram_budget(bs * depth as u64 * 2 + (7 << 19))
        .page_size(bs)
        .queue_depth(depth as u32)
        .build()
        .expect("an engine");
    let field = engine.open(&file.path).expect("the test file");
    let blocks = field.len() / bs;
    let mut batch = engine.batch(depth).expect("a batch");
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(std::process::id()));
    let mut latencies = support::latencies();
    let mut begun = vec![Instant::now(); depth];
    let mut free: Vec<usize> = (0..depth).collect();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    loop {
        let now = Instant::now();
        while let Some(place) = free.pop() {
            let at = random.next() % blocks * bs;
            begun[place] = now;
            batch
                .submit(&field, at..at + bs, place as u64)
                .expect("room in the batch");
        }
        batch.wait(1);
        let now = Instant::now();
        if (now - start).as_secs_f64() > seconds() {
            break;
        }
        while let Some(ready) = batch.next() {
            let view = ready.view().expect("a read");
            black_box(view.as_slice().map(|bytes| bytes[0]));
            let place = ready.tag() as usize;
            latencies.push((now - begun[place]).as_nanos() as u32);
            free.push(place);
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    drop(batch);
    let stats = engine.stats();
    // Pages that were in the pool are no reads of the device.
    let missed = 1.0 - stats.hit_share();
    let mut sample = Sample::of(&mut latencies, elapsed, cpu);
    sample.iops *= missed;
    sample.cpu_us_per_io /= missed;
    let flags = format!(
        "fixed {:.0} %, hits {:.1} %",
        stats.fixed_share() * 100.0,
        stats.hit_share() * 100.0
    );
    (sample, flags)
}

fn main() {
    let file = TestFile::new(2 << 30);
    {
        let engine = Engine::builder()
            .dram_budget(16 << 20)
            .page_size(4096)
            .build()
            .expect("an engine");
        let _field = engine.open(&file.path).expect("the test file");
        support::print_report(&engine);
    }
    println!(
        "# fio: io_uring, direct, registered buffers and files; depth 4: one by one; deeper: {FIO_BATCHED:?}"
    );
    println!(
        "# ratios of IOPS, medians of {} rounds (smallest..largest)",
        rounds()
    );
    for bs in [4096u64, 65_536, 1 << 20] {
        for depth in [4u32, 16, 32, 128] {
            let batched: &[&str] = if depth > 4 { &FIO_BATCHED } else { &[] };
            let huge: Vec<&str> = batched
                .iter()
                .copied()
                .chain(["--iomem=mmaphuge"])
                .collect();
            let mut rows: [Vec<Sample>; 4] = Default::default();
            let mut flags = String::new();
            for _ in 0..rounds() {
                let (ours, f) = window(&file, bs, depth as usize);
                flags = f;
                rows[0].push(ours);
                let Some(peer) = fio(&file.path, bs, depth, batched) else {
                    println!("SKIPPED: fio is not installed");
                    return;
                };
                rows[1].push(peer);
                rows[2].extend(fio(&file.path, bs, depth, &huge));
                rows[3].extend(fio(&file.path, bs, depth, batched));
            }
            let ratio = |a: usize, b: usize| {
                let pairs: Vec<f64> = rows[a]
                    .iter()
                    .zip(&rows[b])
                    .map(|(a, b)| a.iops / b.iops)
                    .collect();
                if pairs.len() < rounds() {
                    "no huge pages".into()
                } else {
                    spread(pairs)
                }
            };
            println!(
                "{:>4} KiB depth {depth:<3}  engine {:.0} IOPS, p50 {:.0} us, p99 {:.0} us, cpu {:.1} us/io   to fio huge {}   to fio default {}   fio A/A {}   ({flags})",
                bs >> 10,
                median(rows[0].iter().map(|s| s.iops)),
                median(rows[0].iter().map(|s| s.p50_us)),
                median(rows[0].iter().map(|s| s.p99_us)),
                median(rows[0].iter().map(|s| s.cpu_us_per_io)),
                ratio(0, 2),
                ratio(0, 1),
                ratio(3, 1),
            );
        }
    }
}
