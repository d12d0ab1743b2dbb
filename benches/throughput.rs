//! Random reads with a window that slides, beside fio with huge-page buffers, fio with its default buffers, and fio
//! against itself.
//!
//! `cargo bench --bench throughput`; with `-- checksums` a packed field of such bytes is read, and beside it its file without
//! checksums, by the engine and by fio. fio's huge-page buffers need reserved huge pages (`sysctl vm.nr_hugepages=200`, as
//! root); without them that row is left out. The pool is little larger than the window, as fio's buffers are: what is
//! read into a large one goes to memory that no cache holds. That of a packed field also holds the directory: 16 bytes a page.

#![allow(clippy::expect_used)]

mod support;

use ringfield::{Engine, Field, Pack, PackedInfo};
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use support::{
    FIO_BATCHED, Random, Sample, TestFile, cpu_seconds, fio, median, rounds, seconds, spread,
};

const FILE_BYTES: u64 = 2 << 30;

/// A file that is removed at the end.
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bytes of a file as a model of one tensor.
fn model_of(file: &Path) -> Made {
    // A name of its own: beside a file of the user's there may be others.
    let name = format!("ringfield-bench-{}.safetensors", std::process::id());
    let model = Made(std::env::current_dir().expect("a directory").join(name));
    let rows = std::fs::metadata(file).expect("the test file").len() / 4096;
    let bytes = rows * 4096;
    let header =
        format!(r#"{{"t":{{"dtype":"U8","shape":[{rows},4096],"data_offsets":[0,{bytes}]}}}}"#);
    let mut into = File::create(&model.0).expect("room for a model");
    let written = into
        .write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| into.write_all(header.as_bytes()))
        .and_then(|()| {
            let from = File::open(file)?;
            std::io::copy(&mut from.take(bytes), &mut into)
        });
    written.expect("room for a model");
    model
}

/// That model as a packed field with pages of `bs` bytes.
fn packed_of(model: &Path, bs: u64) -> Made {
    let packed = Made(model.with_extension("rf"));
    Pack::new([model])
        .page_size(bs)
        .run([&packed.0], |_| true)
        .expect("room for a packed field");
    packed
}

/// How a file is opened.
#[derive(Clone, Copy)]
enum Opened {
    AsItIs,
    /// With its checksums.
    Packed,
}

/// An engine with room for a window of `depth` reads of `bs` bytes, and the file. A packed field gets the same pool
/// whichever way it is opened: what is read into a larger one is read into colder memory.
fn open(path: &Path, bs: u64, depth: usize, opened: Opened) -> (Engine, Field) {
    let directory = PackedInfo::read(path).map_or(0, |info| info.pages / (bs / 16) + 8);
    let engine = Engine::builder()
        // Directory pages are spared while they take at most half of the frames.
        .dram_budget(bs * (depth as u64 * 2).max(directory) + bs * directory + (7 << 19))
        .page_size(bs)
        .queue_depth(depth as u32)
        .build()
        .expect("an engine");
    let field = match opened {
        Opened::AsItIs => engine.open(path).expect("the test file"),
        Opened::Packed => engine.open_array([path]).expect("a packed field"),
    };
    if let Opened::Packed = opened {
        // All of the directory.
        for page in (0..field.len() / bs).step_by((bs / 16) as usize) {
            field.read(page * bs..(page + 1) * bs).expect("a read");
        }
    }
    (engine, field)
}

/// What the host does with what it has read.
#[derive(Clone, Copy, PartialEq)]
enum Host {
    /// It looks at the first byte.
    Idle,
    /// At all of them: what comes from the device is in no cache of the processor, but where it was checked.
    Reads,
}

/// The engine, with `depth` reads of `bs` bytes in flight from one thread.
fn window(path: &Path, bs: u64, depth: usize, opened: Opened, host: Host) -> (Sample, String) {
    let (engine, field) = open(path, bs, depth, opened);
    let before = engine.stats();
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
            if host == Host::Reads {
                let words = view.chunks().flat_map(|bytes| bytes.as_chunks().0);
                black_box(words.fold(0, |sum, &word| sum ^ u64::from_ne_bytes(word)));
            }
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
    let (hits, misses) = (stats.hits - before.hits, stats.misses - before.misses);
    let missed = misses as f64 / (hits + misses).max(1) as f64;
    let mut sample = Sample::of(&mut latencies, elapsed, cpu);
    sample.iops *= missed;
    sample.cpu_us_per_io /= missed;
    let mut flags = format!(
        "fixed {:.0} %, hits {:.1} %",
        stats.fixed_share() * 100.0,
        (1.0 - missed) * 100.0
    );
    if let Opened::Packed = opened {
        let checked = stats.checked_pages - before.checked_pages;
        flags += &format!(
            ", {:.2} checks a read, {:.1} GB/s a core",
            checked as f64 / misses.max(1) as f64,
            bs as f64 / stats.verify_ns[0].max(1) as f64
        );
    }
    (sample, flags)
}

fn main() {
    let file = TestFile::new(FILE_BYTES);
    let checksums = std::env::args().any(|argument| argument == "checksums");
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
    let model = checksums.then(|| model_of(&file.path));
    for bs in [4096u64, 65_536, 1 << 20] {
        let packed = model.as_ref().map(|model| packed_of(&model.0, bs));
        let path = packed.as_ref().map_or(&*file.path, |packed| &*packed.0);
        for depth in [4u32, 16, 32, 128] {
            if !compare(path, bs, depth, checksums) {
                println!("SKIPPED: fio is not installed");
                return;
            }
        }
    }
}

/// A row; false where there is no fio.
fn compare(path: &Path, bs: u64, depth: u32, checksums: bool) -> bool {
    let batched: &[&str] = if depth > 4 { &FIO_BATCHED } else { &[] };
    let huge: Vec<&str> = batched
        .iter()
        .copied()
        .chain(["--iomem=mmaphuge"])
        .collect();
    let mut rows: [Vec<Sample>; 7] = Default::default();
    let mut flags = String::new();
    for _ in 0..rounds() {
        let opened = match checksums {
            true => Opened::Packed,
            false => Opened::AsItIs,
        };
        let (ours, f) = window(path, bs, depth as usize, opened, Host::Idle);
        flags = f;
        rows[0].push(ours);
        if checksums {
            let window = |opened, host| window(path, bs, depth as usize, opened, host).0;
            rows[4].push(window(Opened::AsItIs, Host::Idle));
            rows[5].push(window(Opened::Packed, Host::Reads));
            rows[6].push(window(Opened::AsItIs, Host::Reads));
        }
        let Some(peer) = fio(path, bs, depth, batched) else {
            return false;
        };
        rows[1].push(peer);
        rows[2].extend(fio(path, bs, depth, &huge));
        rows[3].extend(fio(path, bs, depth, batched));
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
    let plain = match checksums {
        true => format!(
            "   without checksums to fio huge {}   to fio default {}   with to without {}, where the host reads all bytes {}",
            ratio(4, 2),
            ratio(4, 1),
            ratio(0, 4),
            ratio(5, 6)
        ),
        false => String::new(),
    };
    println!(
        "{:>4} KiB depth {depth:<3}  engine {:.0} IOPS, p50 {:.0} us, p99 {:.0} us, cpu {:.1} us/io   to fio huge {}   to fio default {}   fio A/A {}{plain}   ({flags})",
        bs >> 10,
        median(rows[0].iter().map(|s| s.iops)),
        median(rows[0].iter().map(|s| s.p50_us)),
        median(rows[0].iter().map(|s| s.p99_us)),
        median(rows[0].iter().map(|s| s.cpu_us_per_io)),
        ratio(0, 2),
        ratio(0, 1),
        ratio(3, 1),
    );
    true
}
