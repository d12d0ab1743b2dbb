//! The numbers add up, among themselves and with what the kernel counted.
#![cfg(test)]

mod child;
mod content;
mod executor;
mod process;

use child::{alone, skipped};
use content::{FieldFile, Random};
use executor::block_on;
use ringfield::{BackendKind, Engine, EngineBuilder, OpenOptions, Stats};
use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE: u64 = 16 << 10;

fn builder() -> EngineBuilder {
    Engine::builder().dram_budget(4 << 20).page_size(PAGE)
}

/// Every way a page gets in.
fn ways() -> [EngineBuilder; 3] {
    [
        builder(),
        builder().inline_reads(false),
        builder().backend(BackendKind::Pread).inline_reads(false),
    ]
}

fn settled(engine: &Engine) -> Stats {
    let started = Instant::now();
    loop {
        let stats = engine.stats();
        if stats.frames_loading == 0 {
            return stats;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{stats}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn on_tmpfs(path: &Path) -> bool {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: an all-zero statfs is a valid value of this plain C struct.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a NUL-terminated string and `about` is writable.
    let rc = unsafe { libc::statfs(path.as_ptr(), &mut about) };
    rc == 0 && about.f_type == libc::TMPFS_MAGIC
}

fn pages(start: u64, end: u64) -> u64 {
    if start == end {
        0
    } else {
        (end - 1) / PAGE - start / PAGE + 1
    }
}

#[test]
fn bytes_read_are_those_the_kernel_accounts_to_this_process() {
    alone(
        "bytes_read_are_those_the_kernel_accounts_to_this_process",
        || {
            let file = FieldFile::new(12 << 20);
            // The last page of this one is a short one: the device reads whole blocks.
            let odd = FieldFile::new((3 << 20) + 5000);
            for (round, way) in ways().into_iter().chain(ways()).enumerate() {
                let before = process::io("read_bytes");
                let engine = way.build().unwrap();
                let field = engine.open(&file.path).unwrap();
                if !field.is_direct()
                    || on_tmpfs(&file.path)
                    || !Path::new("/proc/self/io").exists()
                {
                    skipped!("no direct reads from a device here, or no accounting of them");
                }
                let odd_field = engine.open(&odd.path).unwrap();
                let mut random = Random(round as u64 + 1);
                let mut batch = engine.batch(8).unwrap();
                let mut tails = 0;
                for _ in 0..150 {
                    let start = random.below(file.len - 200_000);
                    let end = start + random.below(60_000);
                    match random.below(5) {
                        0 => drop(field.read(start..end).unwrap()),
                        1 => drop(block_on(field.read_async(start..end)).unwrap()),
                        2 => field
                            .read_many(&[start..end, end..end + 50_000], &mut batch)
                            .unwrap(),
                        3 => {
                            let misses = engine.stats().misses;
                            drop(odd_field.read(odd.len - 1..odd.len).unwrap());
                            tails += engine.stats().misses - misses;
                        }
                        _ => {
                            field.prefetch(std::slice::from_ref(&(start..end)));
                        }
                    }
                }
                batch.clear();
                let stats = settled(&engine);
                let accounted = process::io("read_bytes") - before;
                // One probing read at the start of the loop, and the rest of the block behind the end of the odd file.
                let probe = 4096;
                let behind = tails * (odd.len.next_multiple_of(4096) - odd.len);
                let exact = stats.read_bytes + probe + behind;
                // The first round also pays for code that is read from disk when it first runs.
                if round > 0 {
                    assert!(
                        accounted <= exact && accounted + probe + behind >= exact,
                        "{accounted} bytes by the kernel's account\n{stats}"
                    );
                }
            }
        },
    );
}

#[test]
fn hits_and_misses_are_the_units_asked_for_and_what_came_in_is_there_or_was_evicted() {
    let file = FieldFile::new(12 << 20);
    for way in ways() {
        let engine = way.build().unwrap();
        let field = engine.open(&file.path).unwrap();
        let extents = OpenOptions::new().extent(50_000);
        let extents = engine.open_with(&file.path, extents).unwrap();
        let mut batch = engine.batch(8).unwrap();
        let mut random = Random(21);
        let mut asked = 0;
        for _ in 0..600 {
            let start = random.below(file.len - 60_000);
            let end = start + random.below(60_000);
            match random.below(4) {
                0 => drop(field.read(start..end).unwrap()),
                1 => drop(block_on(field.read_async(start..end)).unwrap()),
                2 => field
                    .read_many(&[start..end, start..end], &mut batch)
                    .unwrap(),
                _ => {
                    drop(extents.read(start..start + 1).unwrap());
                    asked += 1;
                    continue;
                }
            }
            asked += pages(start, end);
            if batch.pending() > 0 {
                asked += pages(start, end);
                batch.clear();
            }
        }
        let stats = settled(&engine);
        assert_eq!(stats.hits + stats.misses, asked, "{stats}");
        assert!(stats.hits > 0 && stats.misses > 0 && stats.evictions > 0);
        assert!((stats.hit_share() - stats.hits as f64 / asked as f64).abs() < 1e-9);
        // Without extents every unit is one frame.
        assert!(stats.evictions <= stats.misses);
        assert_eq!(stats.frames, engine.frames());
        assert!(stats.frames_resident <= stats.frames);
        // What the lanes timed is what was done.
        assert_eq!(stats.demand.reads + stats.prefetch.reads, stats.ios);
        assert_eq!((stats.prefetch_ios, stats.prefetch_bytes), (0, 0));
        assert_eq!(
            (stats.retries, stats.bisections, stats.failed_pages),
            (0, 0, 0)
        );
        assert!(stats.fixed_ios + stats.inline_ios <= stats.ios);
        if stats.batches > 0 {
            assert!(
                stats.mean_depth() >= 1.0 && stats.mean_depth() <= 32.0,
                "{stats}"
            );
        }
        let [p50, p99, p999] = stats.demand.device_ns;
        assert!(p50 > 0 && p50 <= p99 && p99 <= p999);
    }
}

#[test]
fn what_was_read_ahead_was_useful_late_or_wasted() {
    let file = FieldFile::new(24 << 20);
    for way in ways() {
        let engine = way.build().unwrap();
        let field = engine.open(&file.path).unwrap();
        let mut random = Random(33);
        let (mut queued, mut asked) = (0, 0);
        for _ in 0..150 {
            let start = random.below((16 << 20) - 200_000);
            let end = start + 1 + random.below(100_000);
            queued += field.prefetch(&[start..end, end..end + 40_000]) as u64;
            if random.below(3) > 0 {
                if random.below(2) > 0 {
                    settled(&engine);
                }
                drop(field.read(start..end).unwrap());
                asked += pages(start, end);
            }
        }
        let stats = settled(&engine);
        assert!(
            stats.prefetch_useful > 0 && stats.prefetch_late > 0,
            "{stats}"
        );
        // A flood takes out what is still there.
        let all = engine.frames() * PAGE;
        drop(field.read(16 << 20..(16 << 20) + all).unwrap());
        asked += pages(0, all);
        let stats = settled(&engine);
        let ahead = stats.prefetch_useful + stats.prefetch_late + stats.prefetch_wasted;
        assert_eq!(ahead, queued, "{stats}");
        assert!(stats.prefetch_wasted > 0);
        assert_eq!(stats.hits + stats.misses, asked, "{stats}");
        assert_eq!(stats.demand.reads + stats.prefetch.reads, stats.ios);
        assert_eq!(stats.prefetch.reads, stats.prefetch_ios);
        // Every page that came in is there, or has left.
        assert_eq!(
            stats.evictions + stats.frames_resident,
            stats.misses + queued
        );
        assert!(stats.prefetch_bytes > 0 && stats.prefetch_bytes < stats.read_bytes);
        let text = stats.to_string();
        for number in [stats.hits, stats.misses, stats.ios, stats.prefetch_useful] {
            assert!(text.contains(&number.to_string()));
        }
    }
}

#[test]
fn a_depth_that_nobody_set_is_found_under_load_and_reported() {
    let file = FieldFile::new(64 << 20);
    let engine = Engine::builder()
        .dram_budget(16 << 20)
        .page_size(4096)
        .build()
        .unwrap();
    let field = engine.open(&file.path).unwrap();
    let depth = || {
        let report = engine.report();
        let row = report
            .rows()
            .iter()
            .find(|row| row.item.ends_with("queue depth"));
        row.unwrap().granted.to_string()
    };
    assert!(depth().starts_with("32 until measured"), "{}", depth());
    let mut random = Random(5);
    let mut batch = engine.batch(256).unwrap();
    let mut free = 256;
    let started = Instant::now();
    while !depth().contains("found by measuring") {
        assert!(started.elapsed() < Duration::from_secs(30), "{}", depth());
        for _ in 0..std::mem::take(&mut free) {
            let at = random.below(file.len / 4096) * 4096;
            batch.submit(&field, at..at + 4096, at).unwrap();
        }
        batch.wait(1);
        while let Some(ready) = batch.next() {
            let at = ready.tag();
            assert!(ready.view().unwrap().to_vec() == file.bytes(at, at + 4096));
            free += 1;
        }
    }
    let found: u32 = depth().split(',').next().unwrap().parse().unwrap();
    assert!((1..=256).contains(&found), "{}", depth());
    // A host that sets one gets that one.
    let engine = Engine::builder().queue_depth(7).build().unwrap();
    let _field = engine.open(&file.path).unwrap();
    let report = engine.report().to_string();
    assert!(report.contains("queue depth"), "{report}");
    let row = report.lines().find(|line| line.contains("queue depth"));
    assert!(row.unwrap().trim_end().ends_with(" 7"), "{report}");
}
