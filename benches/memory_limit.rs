//! A file eight times the memory limit: the engine beside page faults and `MADV_WILLNEED`, one thread each.
//!
//! `cargo bench --bench memory_limit`, as root with the memory controller of control groups (version 1 or 2). Each
//! measurement is a process of its own in a group of its own with the limit; the page cache is full before it starts,
//! and so is the engine's pool, which takes its place. The pool is made of transparent huge pages, which are charged to
//! the group, as explicit ones are not. `4k-pread` is one `O_DIRECT` read after the other into one buffer: what a single read
//! costs where nothing is kept.

#![allow(clippy::expect_used)]

mod support;

use ringfield::{Engine, Field, HugePages};
use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use support::{Random, Sample, TestFile, median, rounds, seconds, spread};

const FILE_BYTES: u64 = 2 << 30;
const LIMIT_BYTES: u64 = FILE_BYTES / 8;
const MODE: &str = "RINGFIELD_LIMIT_MODE";
const BURST: usize = 24;

fn main() {
    if let Ok(mode) = std::env::var(MODE) {
        let file = std::env::var("RINGFIELD_FILE").expect("the parent names the file");
        let sample = measure(&mode, Path::new(&file));
        println!("{} {} {}", sample.iops, sample.p50_us, sample.p99_us);
        return;
    }
    let Some(group) = Group::new() else {
        println!(
            "SKIPPED: no memory control group can be made here (needs root and the memory controller)"
        );
        return;
    };
    let file = TestFile::new(FILE_BYTES);
    println!(
        "# file {FILE_BYTES} bytes, limit {LIMIT_BYTES} bytes, pool 15/16 of it, transparent huge pages"
    );
    let modes = [
        "4k-faults",
        "4k-pread",
        "4k-single",
        "4k-many32",
        "4k-window64",
        "64k-faults",
        "64k-willneed32",
        "64k-many32",
        "burst-willneed",
        "burst-many",
    ];
    let mut results: Vec<Vec<Sample>> = vec![Vec::new(); modes.len()];
    for _ in 0..rounds() {
        for (mode, samples) in modes.iter().zip(&mut results) {
            samples.extend(group.run(mode, &file.path));
        }
    }
    let of = |mode: &str| {
        &results[modes
            .iter()
            .position(|m| *m == mode)
            .expect("a mode of the list")]
    };
    for mode in modes {
        println!(
            "{mode:<16} {} a second   p50 {:.1} us   p99 {:.1} us",
            spread(of(mode).iter().map(|s| s.iops)),
            median(of(mode).iter().map(|s| s.p50_us)),
            median(of(mode).iter().map(|s| s.p99_us)),
        );
    }
    for (ours, peer) in [
        ("4k-pread", "4k-faults"),
        ("4k-single", "4k-faults"),
        ("4k-many32", "4k-faults"),
        ("4k-window64", "4k-faults"),
        ("64k-many32", "64k-faults"),
        ("64k-many32", "64k-willneed32"),
        ("burst-many", "burst-willneed"),
    ] {
        let pairs = || of(ours).iter().zip(of(peer));
        println!(
            "{ours:<12} / {peer:<15} throughput {:.2}x   p99 {:.2}x",
            median(pairs().map(|(a, b)| a.iops / b.iops)),
            median(pairs().map(|(a, b)| a.p99_us / b.p99_us)),
        );
    }
}

/// One way of reading, for the time given; `iops` counts blocks (bursts: whole bursts).
fn measure(mode: &str, path: &Path) -> Sample {
    let block: u64 = match mode {
        m if m.starts_with("4k") => 4 << 10,
        m if m.starts_with("64k") => 64 << 10,
        _ => 1 << 20,
    };
    let blocks = fs::metadata(path).expect("the test file").len() / block;
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(std::process::id()));
    let mut next = move || random.next() % blocks * block;
    let kind = mode.split_once('-').map_or("", |(_, kind)| kind);
    if matches!(kind, "faults" | "willneed32" | "willneed") {
        fill_page_cache(path);
    }
    match kind {
        "faults" => {
            let map = Map::new(path);
            timed(1, |_| map.touch(next(), block))
        }
        "pread" => {
            let file = fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECT)
                .open(path)
                .expect("the test file");
            let mut memory = vec![0u8; 8192];
            let aligned = memory.as_ptr().align_offset(4096);
            timed(1, |_| {
                let buffer = &mut memory[aligned..aligned + 4096];
                file.read_exact_at(buffer, next()).expect("a read");
                black_box(buffer[0]);
            })
        }
        "willneed32" => {
            let map = Map::new(path);
            let mut ahead: std::collections::VecDeque<u64> = (0..32).map(|_| next()).collect();
            ahead.iter().for_each(|&at| map.willneed(at, block));
            timed(1, |_| {
                let at = ahead.pop_front().expect("32 blocks ahead");
                let new = next();
                map.willneed(new, block);
                ahead.push_back(new);
                map.touch(at, block);
            })
        }
        "willneed" => {
            let map = Map::new(path);
            timed(1, |_| {
                let burst: [u64; BURST] = std::array::from_fn(|_| next());
                burst.iter().for_each(|&at| map.willneed(at, block));
                burst.iter().for_each(|&at| map.touch(at, block));
            })
        }
        kind => {
            let engine = Engine::builder()
                .dram_budget(LIMIT_BYTES * 15 / 16)
                .page_size(block.min(64 << 10))
                .queue_depth(64)
                .huge_pages(HugePages::Transparent)
                .build()
                .expect("an engine under the limit");
            let field = engine.open(path).expect("the test file");
            fill_pool(&engine, &field, &mut next, block);
            let touch = |view: &ringfield::View<'_>| {
                for chunk in view.chunks() {
                    chunk.iter().step_by(4096).for_each(|byte| {
                        black_box(byte);
                    });
                }
            };
            match kind {
                "single" => timed(1, |_| {
                    let at = next();
                    touch(&field.read(at..at + block).expect("a read"));
                }),
                "window64" => {
                    let mut batch = engine.batch(64).expect("a batch");
                    for _ in 0..64 {
                        let at = next();
                        batch.submit(&field, at..at + block, 0).expect("room");
                    }
                    timed(1, |_| {
                        if batch.wait(1) == 0 {
                            return;
                        }
                        if let Some(ready) = batch.next() {
                            touch(&ready.view().expect("a read"));
                        }
                        let at = next();
                        batch.submit(&field, at..at + block, 0).expect("room");
                    })
                }
                _ => {
                    let count = if kind == "many32" { 32 } else { BURST };
                    let mut batch = engine.batch(count).expect("a batch");
                    let mut ranges = vec![0..0; count];
                    timed(if kind == "many32" { 32 } else { 1 }, |_| {
                        for range in &mut ranges {
                            let at = next();
                            *range = at..at + block;
                        }
                        field.read_many(&ranges, &mut batch).expect("reads");
                        (0..count).for_each(|index| touch(&batch.view(index).expect("a view")));
                    })
                }
            }
        }
    }
}

/// Repeats `step` for the time given; each counts as `blocks`.
fn timed(blocks: u64, mut step: impl FnMut(u64)) -> Sample {
    let mut latencies = support::latencies();
    let start = Instant::now();
    let mut steps = 0;
    while start.elapsed().as_secs_f64() < seconds() {
        let begun = Instant::now();
        step(steps);
        steps += 1;
        latencies.push(begun.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
    }
    let mut sample = Sample::of(&mut latencies, start.elapsed().as_secs_f64(), 0.0);
    sample.iops *= blocks as f64;
    sample
}

/// Reads more of the file than the limit, so that the group's page cache is full.
fn fill_page_cache(path: &Path) {
    let mut file = fs::File::open(path).expect("the test file");
    let mut buffer = vec![0u8; 1 << 20];
    for _ in 0..LIMIT_BYTES / (1 << 20) + 64 {
        let _ = file.read(&mut buffer);
    }
}

/// Reads at random until the pool has begun to give pages up.
fn fill_pool(engine: &Engine, field: &Field, next: &mut impl FnMut() -> u64, block: u64) {
    let mut batch = engine.batch(BURST).expect("a batch");
    while engine.stats().evictions == 0 {
        let ranges: [_; BURST] = std::array::from_fn(|_| {
            let at = next();
            at..at + block
        });
        field.read_many(&ranges, &mut batch).expect("reads");
    }
}

/// The file, mapped, with read-ahead off: what serves faults at random places best.
struct Map {
    base: *mut u8,
    len: usize,
}

impl Map {
    fn new(path: &Path) -> Map {
        let file = fs::File::open(path).expect("the test file");
        let len = file.metadata().expect("its length").len() as usize;
        // SAFETY: a read-only mapping of a file that nobody truncates while the bench runs.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "mmap");
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(base, len, libc::MADV_RANDOM) };
        Map {
            base: base.cast(),
            len,
        }
    }

    fn touch(&self, at: u64, block: u64) {
        for page in (at..(at + block).min(self.len as u64)).step_by(4096) {
            // SAFETY: `page` is below the mapping's length.
            black_box(unsafe { self.base.wrapping_add(page as usize).read_volatile() });
        }
    }

    fn willneed(&self, at: u64, block: u64) {
        // SAFETY: the range lies in the mapping; WILLNEED only starts reads.
        unsafe {
            libc::madvise(
                self.base.wrapping_add(at as usize).cast(),
                block as usize,
                libc::MADV_WILLNEED,
            )
        };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// A memory control group with the limit.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Group> {
        for (root, file) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let dir = Path::new(root).join(format!("ringfield-bench-{}", std::process::id()));
            if fs::create_dir(&dir).is_ok() {
                let group = Group(dir);
                if fs::write(group.0.join(file), LIMIT_BYTES.to_string()).is_ok() {
                    return Some(group);
                }
            }
        }
        None
    }

    fn run(&self, mode: &str, file: &Path) -> Option<Sample> {
        drop_page_cache(file);
        let exe = std::env::current_exe().ok()?;
        let output = Command::new("sh")
            .args(["-c", "echo $$ > \"$0\" && exec \"$1\" --bench"])
            .arg(self.0.join("cgroup.procs"))
            .arg(exe)
            .env(MODE, mode)
            .env("RINGFIELD_FILE", file)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        let sample = Sample {
            iops: numbers.next()?,
            p50_us: numbers.next()?,
            p99_us: numbers.next()?,
            cpu_us_per_io: 0.0,
        };
        Some(sample)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn drop_page_cache(path: &Path) {
    if let Ok(file) = fs::File::open(path) {
        // SAFETY: the descriptor is open; the call only advises.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
}
