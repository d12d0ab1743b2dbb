//! The same job through fio: `io_uring`, direct, registered buffers and files, batched both ways.

mod arguments;

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::hugepages::Reservation;
use super::load::Load;
use super::round::{LatUs, Round};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::os;
use arguments::arguments;

const HUGE_BYTES: u64 = 2 << 20;

/// Where fio's buffers come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// What the job says, else fio's default: `malloc`, 4 KiB pages.
    Default,
    /// Explicit huge pages.
    Huge,
}

/// fio's version line, or why it cannot be used.
///
/// # Errors
/// fio is absent or cannot be run.
pub(crate) fn version() -> std::result::Result<String, String> {
    let output = Command::new("fio")
        .arg("--version")
        .output()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "fio is not installed (apt install fio)".to_owned(),
            _ => format!("fio cannot be run: {e}"),
        })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// All sections in one fio, which starts them together.
pub(crate) fn round(loads: &[Load], memory: Memory) -> Result<Vec<Round>> {
    // Only for the time of this run, so that no other engine is helped by it.
    let _huge = match loads.iter().any(|load| memory.of(load) == Memory::Huge) {
        false => None,
        true => Some(reserve(loads).map_err(Error::Message)?),
    };
    let mut child = Command::new("fio")
        .args(arguments(loads, memory))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing("cannot run fio")?;
    let finished = watch(&mut child);
    if finished.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let finished = finished?;
    match parse(&finished.report, loads.len()).filter(|_| finished.status.success()) {
        Some(rounds) => Ok(rounds
            .into_iter()
            .zip(loads)
            .map(|(round, load)| Round {
                flags: flags(load, memory.of(load)),
                fixed_buffer_share: Some(if load.fixedbufs { 1.0 } else { 0.0 }),
                iowq_threads: finished.iowq_threads,
                ..round
            })
            .collect()),
        None => Err(Error::message(format!(
            "fio failed: {}",
            finished.complaint()
        ))),
    }
}

impl Memory {
    /// The job's own wish for huge pages comes first.
    fn of(self, load: &Load) -> Memory {
        match load.iomem.as_deref() {
            Some("mmaphuge") => Memory::Huge,
            _ => self,
        }
    }
}

/// Reserves the huge pages that fio's buffers need.
///
/// # Errors
/// Why they cannot be had.
pub(crate) fn reserve(loads: &[Load]) -> std::result::Result<Reservation, String> {
    let bytes = loads.iter().map(|load| {
        // Each job adds a page to align its buffers in, rounds up, and does both again.
        let depth = u64::from(ring_depth(load));
        let job_bytes = (load.sizes.max() * depth + 4095).next_multiple_of(HUGE_BYTES) + HUGE_BYTES;
        job_bytes * u64::from(load.numjobs)
    });
    Reservation::new(bytes.sum())
}

/// fio's io_uring engine takes a depth that is no power of two for the next one that is.
fn ring_depth(load: &Load) -> u32 {
    load.iodepth.next_power_of_two()
}

fn flags(load: &Load, memory: Memory) -> Vec<String> {
    let mut flags = vec!["direct".to_owned()];
    flags.extend(load.fixedbufs.then(|| "fixedbufs".to_owned()));
    flags.extend(load.registerfiles.then(|| "registerfiles".to_owned()));
    flags.push(format!("batch_submit={}", load.batch_submit));
    flags.push(format!(
        "batch_complete={}..{}",
        load.batch_complete_min, load.batch_complete_max
    ));
    if ring_depth(load) != load.iodepth {
        flags.push(format!(
            "iodepth {} (fio rounds {} up)",
            ring_depth(load),
            load.iodepth
        ));
    }
    flags.push(match (memory, &load.iomem) {
        (Memory::Huge, _) => "iomem=mmaphuge".to_owned(),
        (Memory::Default, Some(iomem)) => format!("iomem={iomem}"),
        (Memory::Default, None) => "default buffers".to_owned(),
    });
    flags
}

struct Finished {
    status: ExitStatus,
    /// What it said beside its report.
    messages: String,
    report: Value,
    iowq_threads: u32,
}

impl Finished {
    /// What went wrong, of the line that says it.
    fn complaint(&self) -> String {
        if self.status.success() {
            return "a section read nothing".to_owned();
        }
        let mut lines = self.messages.lines().map(str::trim);
        let complaint = lines.clone().find_map(|line| line.strip_prefix("fio: "));
        let complaint = complaint.or_else(|| lines.find(|line| !line.is_empty()));
        complaint.map_or_else(|| self.status.to_string(), cause)
    }
}

/// A line without what is another number in every run and a place in fio's code:
/// `pid=7, err=1/file:engines/io_uring.c:998, func=io_queue_init, error=Operation not permitted`.
fn cause(line: &str) -> String {
    let called = line.split_once(", func=").map(|(_, rest)| rest);
    match called.and_then(|called| called.split_once(", error=")) {
        Some((call, error)) => format!("{call}: {error}"),
        None => line.to_owned(),
    }
}

/// Waits for fio, counting its io_uring worker threads meanwhile.
fn watch(child: &mut Child) -> Result<Finished> {
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let pid = child.id().to_string();
    let mut iowq_threads = 0;
    let status = loop {
        interrupt::check()?;
        if let Some(status) = child.try_wait().doing("cannot wait for fio")? {
            break status;
        }
        let in_jobs: u32 = children(&pid).iter().map(|pid| os::iowq_threads(pid)).sum();
        iowq_threads = iowq_threads.max(os::iowq_threads(&pid) + in_jobs);
        // Seldom enough to leave the CPU to fio.
        thread::sleep(Duration::from_millis(50));
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    let (stdout, stderr) = (text(stdout), text(stderr));
    // Messages of its jobs come before the report.
    let (messages, report) = stdout.split_at(stdout.find("{\n").unwrap_or(stdout.len()));
    Ok(Finished {
        status,
        messages: format!("{messages}\n{stderr}"),
        report: serde_json::from_str(report).unwrap_or_default(),
        iowq_threads,
    })
}

/// The processes that fio forked for its jobs.
fn children(pid: &str) -> Vec<String> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// A pipe holds 64 KiB; somebody has to empty it while fio runs.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(16 << 20).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// One round for each section; `None` where one of them is missing, failed or read nothing.
fn parse(report: &Value, sections: usize) -> Option<Vec<Round>> {
    let jobs = report["jobs"].as_array()?;
    let mut rounds: Vec<Round> = jobs.iter().map(parse_section).collect::<Option<_>>()?;
    // Per section fio knows the time of its processes; other engines only know that of all.
    let (cpu_us, reads) = jobs
        .iter()
        .filter_map(cpu_us_and_reads)
        .fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    for round in &mut rounds {
        round.cpu_us_per_io = cpu_us / f64::max(reads, 1.0);
    }
    (rounds.len() == sections).then_some(rounds)
}

fn cpu_us_and_reads(job: &Value) -> Option<(f64, f64)> {
    // Percent of the summed running time of all jobs, which `job_runtime` is (in milliseconds).
    let percent = job["usr_cpu"].as_f64()? + job["sys_cpu"].as_f64()?;
    let cpu_us = percent / 100.0 * job["job_runtime"].as_f64()? * 1000.0;
    Some((cpu_us, job["read"]["total_ios"].as_f64()?))
}

fn parse_section(job: &Value) -> Option<Round> {
    let read = &job["read"];
    let reads = read["total_ios"].as_f64().filter(|&reads| reads > 0.0)?;
    let percentiles = &read["lat_ns"]["percentile"];
    let us = |key: &str| percentiles[key].as_f64().map(|ns| ns / 1000.0);
    let iops = read["iops"].as_f64()?;
    (job["error"] == 0).then_some(())?;
    Some(Round {
        iops,
        bw_bytes: iops * read["io_bytes"].as_f64()? / reads,
        lat_us: LatUs {
            p50: us("50.000000")?,
            p99: us("99.000000")?,
            p999: us("99.900000")?,
        },
        backend: "io_uring".into(),
        ..Round::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn job(reads: u32, bytes: u64) -> Value {
        serde_json::json!({
            "error": 0, "usr_cpu": 10.0, "sys_cpu": 40.0, "job_runtime": 2000,
            "read": {"total_ios": reads, "iops": reads / 2, "io_bytes": bytes, "lat_ns":
                {"percentile": {"50.000000": 400_000, "99.000000": 600_000, "99.900000": 5_000_000}}}
        })
    }

    #[test]
    fn of_a_failure_the_line_with_the_cause_is_told_without_what_changes() {
        let told = |status: i32, messages: &str| {
            let finished = Finished {
                status: ExitStatus::from_raw(status << 8),
                messages: messages.to_owned(),
                report: Value::Null,
                iowq_threads: 0,
            };
            finished.complaint()
        };
        let line = "fio: pid=7, err=1/file:engines/io_uring.c:998, func=io_queue_init, error=No";
        for (messages, expected) in [
            (line, "io_queue_init: No"),
            (
                "Bad option <registerfile=1>\nDid you mean registerfiles?",
                "Bad option <registerfile=1>",
            ),
            ("a note\n\nfio: job startup hung", "job startup hung"),
            ("\n", "exit status: 1"),
        ] {
            assert_eq!(told(1, messages), expected);
        }
        assert_eq!(told(0, "a note"), "a section read nothing");
    }

    #[test]
    fn a_report_becomes_a_round_of_each_section() {
        let report = serde_json::json!({"jobs": [job(100_000, 4096 * 100_000), job(300_000, 1)]});
        let rounds = parse(&report, 2).expect("complete");
        assert_eq!(rounds[0].bw_bytes, 50_000.0 * 4096.0);
        // Two seconds of processor time for 400 000 reads.
        assert_eq!(
            (rounds[0].cpu_us_per_io, rounds[1].cpu_us_per_io),
            (5.0, 5.0)
        );
        assert_eq!(
            (rounds[0].lat_us.p50, rounds[0].lat_us.p999),
            (400.0, 5000.0)
        );
        assert!(parse(&report, 3).is_none());
        let nothing = serde_json::json!({"jobs": [{"error": 0, "read": {"total_ios": 0}}]});
        assert!(parse(&nothing, 1).is_none());
    }
}
