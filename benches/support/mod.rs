//! What the benches share: a test file, fio as the peer, processor time, medians of interleaved rounds.

#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rounds of each measurement: `RINGFIELD_ROUNDS`, else 9.
pub fn rounds() -> usize {
    env_number("RINGFIELD_ROUNDS", 9.0) as usize
}

/// Seconds of each measurement: `RINGFIELD_SECONDS`, else 1.
pub fn seconds() -> f64 {
    env_number("RINGFIELD_SECONDS", 1.0)
}

fn env_number(name: &str, default: f64) -> f64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

/// A file of random-looking bytes: `RINGFIELD_FILE`, or one that is made here and removed at the end.
pub struct TestFile {
    pub path: PathBuf,
    made: bool,
}

impl TestFile {
    pub fn new(bytes: u64) -> TestFile {
        if let Ok(path) = std::env::var("RINGFIELD_FILE") {
            return TestFile {
                path: path.into(),
                made: false,
            };
        }
        let path = std::env::current_dir()
            .expect("a current directory")
            .join(format!("ringfield-bench-{}.dat", std::process::id()));
        let mut file = std::fs::File::create(&path).expect("room for the test file");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut block = vec![0u8; 4 << 20];
        for _ in 0..bytes.div_ceil(block.len() as u64) {
            for word in block.chunks_exact_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes());
            }
            file.write_all(&block).expect("room for the test file");
        }
        file.sync_all().expect("a disk that syncs");
        TestFile { path, made: true }
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        if self.made {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// xorshift64 (Marsaglia 2003).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Processor seconds of this process so far.
pub fn cpu_seconds() -> f64 {
    // SAFETY: an all-zero rusage is a valid value that getrusage overwrites.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is writable for its whole size.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// One measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    pub iops: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub cpu_us_per_io: f64,
}

impl Sample {
    /// From latencies in nanoseconds.
    pub fn of(latencies: &mut [u32], seconds: f64, cpu_seconds: f64) -> Sample {
        latencies.sort_unstable();
        let quantile = |q: f64| match latencies.len() {
            0 => 0.0,
            n => f64::from(latencies[((n - 1) as f64 * q) as usize]) / 1000.0,
        };
        let ios = latencies.len().max(1) as f64;
        Sample {
            iops: latencies.len() as f64 / seconds,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            cpu_us_per_io: cpu_seconds * 1e6 / ios,
        }
    }
}

/// Memory for latencies, touched beforehand.
pub fn latencies() -> Vec<u32> {
    let mut latencies = vec![1u32; 2_000_000];
    latencies.clear();
    latencies
}

/// Runs fio with io_uring, direct, registered buffers and files; `None` where there is no fio.
pub fn fio(path: &Path, bs: u64, depth: u32, extra: &[&str]) -> Option<Sample> {
    let output = Command::new("fio")
        .args([
            "--name=peer",
            "--rw=randread",
            "--ioengine=io_uring",
            "--direct=1",
            "--fixedbufs=1",
            "--registerfiles=1",
        ])
        .args([
            "--norandommap",
            "--randrepeat=0",
            "--time_based",
            "--lat_percentiles=1",
            "--clat_percentiles=0",
            "--output-format=json",
        ])
        .arg(format!("--filename={}", path.display()))
        .args([
            format!("--bs={bs}"),
            format!("--iodepth={depth}"),
            format!("--runtime={}ms", (seconds() * 1000.0) as u64),
        ])
        .args(extra)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let json: serde_json::Value = serde_json::from_str(&text[text.find('{')?..]).ok()?;
    let job = &json["jobs"][0];
    let read = &job["read"];
    let percentile = |p: &str| read["lat_ns"]["percentile"][p].as_f64().unwrap_or(0.0) / 1000.0;
    let cpu = (job["usr_cpu"].as_f64()? + job["sys_cpu"].as_f64()?) / 100.0
        * read["runtime"].as_f64()?
        * 1000.0;
    Some(Sample {
        iops: read["iops"].as_f64()?,
        p50_us: percentile("50.000000"),
        p99_us: percentile("99.000000"),
        cpu_us_per_io: cpu / read["total_ios"].as_f64()?.max(1.0),
    })
}

/// fio's options for batched submission and completion at depth 32.
pub const FIO_BATCHED: [&str; 3] = [
    "--iodepth_batch=8",
    "--iodepth_batch_complete_min=4",
    "--iodepth_batch_complete_max=16",
];

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => values[n / 2],
    }
}

/// Median, smallest and largest, as text.
pub fn spread(values: impl IntoIterator<Item = f64> + Clone) -> String {
    let low = values.clone().into_iter().fold(f64::INFINITY, f64::min);
    let high = values.clone().into_iter().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({low:.2}..{high:.2})", median(values))
}

/// What was really in force, for the head of a bench's output.
pub fn print_report(engine: &ringfield::Engine) {
    for row in engine.report().rows() {
        let degraded = if row.is_degraded() {
            "  <-- degraded"
        } else {
            ""
        };
        println!("# {}: {}{degraded}", row.item, row.granted);
    }
}
