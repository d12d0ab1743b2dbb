//! Packed fields beside the files that were packed: writing one, two devices beside one, experts, and checksums.
//!
//! `cargo bench --bench packed [-- write|stripes|experts|scrub]`; RINGFIELD_ROUNDS sets the rounds. `stripes` needs root, for
//! two loop devices and a blkio control group (version 1) that throttles them.
#![allow(clippy::expect_used, clippy::print_stdout)]

mod support;

use ringfield::{Engine, Field, Gguf, Pack, PackedInfo, Tensor, Verify};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use support::{Random, median, rounds};

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if wants("write") {
        write();
    }
    if wants("stripes") {
        stripes();
    }
    if wants("experts") {
        experts();
    }
    if wants("scrub") {
        scrub();
    }
}

/// A mixture of experts as a GGUF file holds it: three tensors a layer, each of all experts, in Q4_K.
struct Moe {
    name: &'static str,
    layers: u64,
    experts: u64,
    width: u64,
    inner: u64,
}

const Q4_K: u32 = 12;

impl Moe {
    /// Bytes of `rows` rows of `len` elements.
    fn bytes(rows: u64, len: u64) -> u64 {
        rows * len / 256 * 144
    }

    /// Bytes of one expert.
    fn expert_bytes(&self) -> u64 {
        3 * Moe::bytes(self.inner, self.width)
    }

    fn tensors(&self) -> Vec<(String, [u64; 3])> {
        let (width, inner, experts) = (self.width, self.inner, self.experts);
        let of_layer = |layer| {
            [
                (
                    format!("blk.{layer}.ffn_gate_exps.weight"),
                    [width, inner, experts],
                ),
                (
                    format!("blk.{layer}.ffn_up_exps.weight"),
                    [width, inner, experts],
                ),
                (
                    format!("blk.{layer}.ffn_down_exps.weight"),
                    [inner, width, experts],
                ),
            ]
        };
        (0..self.layers).flat_map(of_layer).collect()
    }

    fn write(&self, path: &Path) {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        let tensors = self.tensors();
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend(0u64.to_le_bytes());
        let mut at = 0;
        for (name, dims) in &tensors {
            header.extend((name.len() as u64).to_le_bytes());
            header.extend(name.as_bytes());
            header.extend(3u32.to_le_bytes());
            for dim in dims {
                header.extend(dim.to_le_bytes());
            }
            header.extend(Q4_K.to_le_bytes());
            header.extend(u64::to_le_bytes(at));
            at += Moe::bytes(dims[1] * dims[2], dims[0]).next_multiple_of(32);
        }
        header.resize(header.len().next_multiple_of(32), 0);
        let mut file = BufWriter::with_capacity(4 << 20, File::create(path).expect("room"));
        file.write_all(&header).expect("room");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut block = vec![0u8; 1 << 20];
        while at > 0 {
            for word in block.chunks_exact_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes());
            }
            let len = at.min(block.len() as u64);
            file.write_all(&block[..len as usize]).expect("room");
            at -= len;
        }
        file.into_inner()
            .expect("room")
            .sync_all()
            .expect("a disk that syncs");
    }
}

/// A directory of its own in the current one, or in `parent`.
struct Dir(PathBuf);

impl Dir {
    fn new(parent: &Path) -> Dir {
        let path = parent.join(format!("ringfield-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Dir(path)
    }

    fn here() -> Dir {
        Dir::new(&std::env::current_dir().expect("a current directory"))
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mb_per_s(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / 1e6
}

fn spread(values: &[f64]) -> String {
    let (low, high) = values
        .iter()
        .fold((f64::MAX, 0.0f64), |(l, h), &v| (l.min(v), h.max(v)));
    format!("{low:.2} to {high:.2}")
}

/// `pack` beside fio writing as many bytes, both with O_DIRECT, into new files on one disk.
fn write() {
    let memory = Path::new("/dev/shm");
    let source = if memory.is_dir() {
        Dir::new(memory)
    } else {
        Dir::here()
    };
    let model = Moe {
        name: "1 GiB",
        layers: 10,
        experts: 64,
        width: 1024,
        inner: 1024,
    };
    let path = source.join("model.gguf");
    model.write(&path);
    let bytes = std::fs::metadata(&path).expect("it was made").len();
    let dir = Dir::here();
    let (mut ours, mut fios, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let out = dir.join("model.rf");
        let started = Instant::now();
        let packed = Pack::new([&path]).run([&out], |_| true).expect("it packs");
        let written = packed.packed_bytes - packed.hole_bytes;
        let own = mb_per_s(written, started.elapsed().as_secs_f64());
        std::fs::remove_file(&out).expect("it is there");
        let Some(fio) = fio_write(&dir.join("fio.dat"), bytes) else {
            println!("SKIPPED: fio is not installed");
            return;
        };
        ours.push(own);
        fios.push(fio);
        ratios.push(own / fio);
    }
    println!(
        "write    pack {:.0} MB/s, fio {:.0} MB/s (rw=write, bs=1m, iodepth=16, O_DIRECT, end_fsync), source in {}: ratio {:.2} ({})",
        median(ours.iter().copied()),
        median(fios.iter().copied()),
        source.0.parent().unwrap_or(&source.0).display(),
        median(ratios.iter().copied()),
        spread(&ratios)
    );
}

fn fio_write(path: &Path, bytes: u64) -> Option<f64> {
    let output = Command::new("fio")
        .args([
            "--name=peer",
            "--rw=write",
            "--ioengine=io_uring",
            "--direct=1",
            "--bs=1m",
        ])
        .args([
            "--iodepth=16",
            "--fixedbufs=1",
            "--end_fsync=1",
            "--output-format=json",
        ])
        .args([
            format!("--filename={}", path.display()),
            format!("--size={bytes}"),
        ])
        .output()
        .ok()?;
    let _ = std::fs::remove_file(path);
    let text = String::from_utf8_lossy(&output.stdout);
    let json: serde_json::Value = serde_json::from_str(&text[text.find('{')?..]).ok()?;
    let write = &json["jobs"][0]["write"];
    Some(mb_per_s(
        write["io_bytes"].as_u64()?,
        write["runtime"].as_f64()? / 1e3,
    ))
}

/// All of a field once, pages in order, a window of them at a time: seconds.
fn read_all(field: &Field, page_bytes: u64, at_once: usize) -> f64 {
    let mut batch = field.engine().batch(at_once).expect("a batch");
    let started = Instant::now();
    let mut next = 0;
    loop {
        while batch.pending() < at_once && next < field.len() {
            let end = (next + page_bytes).min(field.len());
            batch.submit(field, next..end, 0).expect("a place");
            next = end;
        }
        if batch.wait(at_once / 2) == 0 {
            return started.elapsed().as_secs_f64();
        }
        while let Some(ready) = batch.next() {
            ready.view().expect("it is whole");
        }
    }
}

fn engine(page_bytes: u64, budget: u64) -> Engine {
    Engine::builder()
        .page_size(page_bytes)
        .dram_budget(budget)
        .build()
        .expect("an engine")
}

/// Loop devices over files, throttled by a control group that this process enters.
struct Throttled {
    devices: Vec<PathBuf>,
    group: PathBuf,
}

impl Throttled {
    fn new(files: &[PathBuf], bytes_per_s: u64) -> Result<Throttled, String> {
        let mut throttled = Throttled {
            devices: Vec::new(),
            group: format!(
                "/sys/fs/cgroup/blkio/ringfield-bench-{}",
                std::process::id()
            )
            .into(),
        };
        std::fs::create_dir(&throttled.group)
            .map_err(|e| format!("no blkio control group: {e}"))?;
        for file in files {
            let made = Command::new("losetup")
                .args(["--find", "--show", "--read-only", "--direct-io=on"])
                .arg(file)
                .output()
                .map_err(|e| format!("losetup: {e}"))?;
            if !made.status.success() {
                return Err(String::from_utf8_lossy(&made.stderr).trim().to_owned());
            }
            let device = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
            let name = device
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            throttled.devices.push(device);
            let number = std::fs::read_to_string(format!("/sys/block/{name}/dev"));
            let number = number.map_err(|e| format!("{name}: {e}"))?;
            let limit = format!("{} {bytes_per_s}", number.trim());
            let file = throttled.group.join("blkio.throttle.read_bps_device");
            std::fs::write(file, limit).map_err(|e| format!("no throttle: {e}"))?;
        }
        let enter = throttled.group.join("cgroup.procs");
        std::fs::write(enter, std::process::id().to_string()).map_err(|e| e.to_string())?;
        Ok(throttled)
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        let all = Path::new("/sys/fs/cgroup/blkio/cgroup.procs");
        let _ = std::fs::write(all, std::process::id().to_string());
        for device in &self.devices {
            let _ = Command::new("losetup").arg("--detach").arg(device).status();
        }
        let _ = std::fs::remove_dir(&self.group);
    }
}

/// A field striped over two throttled loop devices beside the same on one.
fn stripes() {
    const LIMIT: u64 = 100 << 20;
    let dir = Dir::here();
    let model = Moe {
        name: "",
        layers: 2,
        experts: 64,
        width: 1024,
        inner: 1024,
    };
    let path = dir.join("model.gguf");
    model.write(&path);
    let files = |names: &[&str]| names.iter().map(|name| dir.join(name)).collect::<Vec<_>>();
    let (one, two) = (files(&["one.rf"]), files(&["a.rf", "b.rf"]));
    for members in [&one, &two] {
        Pack::new([&path]).run(members, |_| true).expect("it packs");
    }
    let all: Vec<PathBuf> = one.iter().chain(&two).cloned().collect();
    let throttled = match Throttled::new(&all, LIMIT) {
        Ok(throttled) => throttled,
        Err(e) => return println!("SKIPPED: {e}"),
    };
    let (alone, striped) = throttled.devices.split_at(1);
    let page_bytes = PackedInfo::read(&one[0]).expect("it was packed").page_bytes;
    let speed = |devices: &[PathBuf]| {
        let engine = engine(page_bytes, 48 << 20);
        let field = engine.open_array(devices).expect("an array");
        mb_per_s(field.len(), read_all(&field, page_bytes, 64))
    };
    let (mut ones, mut twos, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds().min(5) {
        ones.push(speed(alone));
        twos.push(speed(striped));
        ratios.push(twos[twos.len() - 1] / ones[ones.len() - 1]);
    }
    println!(
        "stripes  one device {:.0} MB/s, two {:.0} MB/s (loop devices, {} MiB/s each): ratio {:.2} ({})",
        median(ones.iter().copied()),
        median(twos.iter().copied()),
        LIMIT >> 20,
        median(ratios.iter().copied()),
        spread(&ratios)
    );
}

/// Where an expert lies: one range in a packed field, three in a file.
fn ranges_of(
    tensors: &[Tensor],
    inner: &[u64],
    layer: usize,
    expert: u64,
    packed: bool,
) -> Vec<std::ops::Range<u64>> {
    let parts = tensors[3 * layer..3 * layer + 3].iter().zip(inner);
    let ranges = parts.map(|(tensor, rows)| tensor.rows_at(expert * rows..(expert + 1) * rows));
    let ranges: Vec<_> = ranges.collect();
    match packed {
        true => {
            let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
            let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
            std::iter::once(start..end).collect()
        }
        false => ranges,
    }
}

/// A burst of eight experts, as a router asks for them.
fn burst(field: &Field, ranges: &[std::ops::Range<u64>], batch: &mut ringfield::Batch) -> f64 {
    let started = Instant::now();
    field.read_many(ranges, batch).expect("they are there");
    let took = started.elapsed().as_secs_f64();
    batch.clear();
    took
}

/// Bursts of eight experts out of a file, with an engine's default pages and with pages of the field's size, and out of the
/// field that it was packed into.
fn experts() {
    const BURSTS: usize = 60;
    for model in [
        Moe {
            name: "granite-3.0-1b-a400m",
            layers: 24,
            experts: 32,
            width: 1024,
            inner: 512,
        },
        Moe {
            name: "OLMoE-1B-7B",
            layers: 6,
            experts: 64,
            width: 2048,
            inner: 1024,
        },
        Moe {
            name: "Qwen3-30B-A3B",
            layers: 4,
            experts: 128,
            width: 2048,
            inner: 768,
        },
    ] {
        let dir = Dir::here();
        let (plain, packed) = (dir.join("model.gguf"), dir.join("model.rf"));
        model.write(&plain);
        let report = Pack::new([&plain])
            .run([&packed], |_| true)
            .expect("it packs");
        let page_bytes = PackedInfo::read(&packed).expect("it was packed").page_bytes;
        let rows = [model.inner, model.inner, model.width];
        let open = |path: &Path, page_bytes| {
            let engine = engine(page_bytes, 96 << 20);
            let model = Gguf::open(&engine, path).expect("a model");
            let tensors: Vec<Tensor> = model.tensors().map(|t| t.expect("a tensor")).collect();
            (engine, tensors)
        };
        let sides = [
            open(&plain, 64 << 10),
            open(&plain, page_bytes),
            open(&packed, page_bytes),
        ];
        let mut random = Random(7);
        let (mut times, mut ios) = ([const { Vec::new() }; 3], [0; 3]);
        for _ in 0..BURSTS {
            let layer = random.next() % model.layers;
            let mut chosen: Vec<u64> = Vec::new();
            while chosen.len() < 8 {
                let expert = random.next() % model.experts;
                if !chosen.contains(&expert) {
                    chosen.push(expert);
                }
            }
            for (side, (engine, tensors)) in sides.iter().enumerate() {
                let ranges: Vec<_> = chosen
                    .iter()
                    .flat_map(|&expert| {
                        ranges_of(tensors, &rows, layer as usize, expert, side == 2)
                    })
                    .collect();
                let mut batch = engine.batch(ranges.len()).expect("a batch");
                let before = engine.stats().ios;
                times[side].push(burst(tensors[0].field(), &ranges, &mut batch));
                ios[side] += engine.stats().ios - before;
            }
        }
        let bytes = 8 * model.expert_bytes();
        let row = |side: usize| {
            format!(
                "{:.0} MB/s in {:.1} device reads an expert",
                mb_per_s(bytes, median(times[side].iter().copied())),
                ios[side] as f64 / (8 * BURSTS) as f64
            )
        };
        let ratio = |side: usize| {
            let pairs = times[side].iter().zip(&times[2]);
            let mut ratios: Vec<f64> = pairs.map(|(file, packed)| file / packed).collect();
            ratios.sort_by(f64::total_cmp);
            let half = &ratios[ratios.len() / 4..ratios.len() * 3 / 4];
            format!("{:.2} ({})", median(half.iter().copied()), spread(half))
        };
        println!(
            "experts  {} ({} KiB an expert, {:.1} % of its pages holes): packed {}; file in pages of 64 KiB {}: ratio {}; in pages of {} KiB {}: ratio {}",
            model.name,
            model.expert_bytes() >> 10,
            report.hole_bytes as f64 * 100.0 / report.packed_bytes as f64,
            row(2),
            row(0),
            ratio(0),
            page_bytes >> 10,
            row(1),
            ratio(1),
        );
    }
}

/// Verifying a field: how fast, and what of it the checksums take.
fn scrub() {
    let model = Moe {
        name: "",
        layers: 10,
        experts: 64,
        width: 1024,
        inner: 1024,
    };
    let dir = Dir::here();
    let path = dir.join("model.gguf");
    model.write(&path);
    for page_bytes in [4 << 10, 64 << 10, 256 << 10] {
        let out = dir.join("model.rf");
        Pack::new([&path])
            .page_size(page_bytes)
            .replace(true)
            .run([&out], |_| true)
            .expect("it packs");
        let started = Instant::now();
        let verified = Verify::new([&out]).run(|_| true).expect("it can be read");
        assert!(verified.is_whole(), "{:?}", verified.damages);
        let all = mb_per_s(verified.bytes, started.elapsed().as_secs_f64());
        let engine = engine(page_bytes, 96 << 20);
        let field = engine.open_array([&out]).expect("an array");
        read_all(&field, page_bytes, 64);
        let stats = engine.stats();
        println!(
            "scrub    pages of {} KiB: verify {all:.0} MB/s; one checksum {:.1} µs, {:.1} GB/s a core, in the caller's thread ({} pages)",
            page_bytes >> 10,
            stats.verify_ns[0] as f64 / 1e3,
            page_bytes as f64 / stats.verify_ns[0].max(1) as f64,
            stats.checked_pages
        );
    }
}
