//! `ringfield demo`: a file bigger than the memory budget, read in three ways by three readers.
//!
//! Every measurement runs in a process of its own, from a cold page cache, in a control group
//! whose memory limit all three readers share; where no group may be made, the rows say so.

pub(crate) mod rivals;
mod table;
pub(crate) mod tally;
pub(crate) mod worker;
pub(crate) mod workload;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::args::DemoArgs;
use crate::bench::round::LatUs;
use crate::cgroup::Group;
use crate::console;
use crate::content::Content;
use crate::doctor::Item;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::made_file::MadeFile;
use crate::os;
use crate::size::Size;

use worker::{Outcome, Reader};
use workload::Workload;

const MADE_BYTES: u64 = 1 << 30;
/// Of a foreign file, so that digests and the pass that takes them stay small.
const MODEL_BYTES_MAX: u64 = 4 << 30;
/// A burst of 24 MiB, pinned as a whole, must fit beside the engine's own needs.
const BUDGET_BYTES_MIN: u64 = 64 << 20;
const SIZE_BYTES_MIN: u64 = 32 << 20;
/// What a process needs beside the budget: its code, its stacks, its digests, the kernel's share.
const ALLOWANCE_BYTES: u64 = 32 << 20;

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) file: PathBuf,
    pub(crate) made: bool,
    pub(crate) file_bytes: u64,
    /// The part of the file that was read.
    pub(crate) region_bytes: u64,
    pub(crate) budget_bytes: u64,
    pub(crate) memory_limit: Limit,
    pub(crate) rows: Vec<Row>,
    /// What the engine was granted.
    pub(crate) report: Vec<Item>,
    /// What a reader of the numbers must know.
    pub(crate) notes: Vec<String>,
}

/// The memory that all readers share.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    /// `cgroup v1`, `cgroup v2` or `not limited`.
    pub(crate) kind: String,
    pub(crate) bytes: Option<u64>,
    pub(crate) why: Option<String>,
}

/// One reader in one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) reader: Reader,
    pub(crate) bw_bytes: f64,
    pub(crate) reads_per_s: f64,
    /// Of one read, or of a whole burst.
    pub(crate) lat_us: LatUs,
    /// Of the group with its page cache, or resident where there is no group.
    pub(crate) peak_memory_bytes: u64,
    /// Bandwidth relative to `mmap` in the same workload.
    pub(crate) ratio_to_mmap: f64,
    pub(crate) reads: u64,
    /// Reads whose bytes were not the file's.
    pub(crate) wrong: u64,
    pub(crate) how: String,
}

/// Runs the command.
///
/// # Errors
/// No room, no permission, an engine that failed or returned wrong bytes, or an interrupt; what
/// was made is removed in every case.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    check_sizes(args)?;
    let field = Field::prepare(args)?;
    let mut report = measure(args, &field)?;
    drop(field);
    relate_to_mmap(&mut report.rows);
    if args.json {
        console::print_json(&report)?;
    } else {
        console::print(table::show(&report))?;
    }
    match report.rows.iter().map(|row| row.wrong).sum::<u64>() {
        0 => Ok(()),
        wrong => Err(Error::message(format!(
            "{wrong} reads returned wrong bytes"
        ))),
    }
}

fn check_sizes(args: &DemoArgs) -> Result<()> {
    for (name, given, min) in [
        ("--budget", Some(args.budget), BUDGET_BYTES_MIN),
        ("--size", args.size, SIZE_BYTES_MIN),
    ] {
        if let Some(given) = given.filter(|given| given.0 < min) {
            return Err(Error::message(format!(
                "{name} {given} is too small: the demo needs at least {}",
                Size(min)
            )));
        }
    }
    Ok(())
}

/// The file that is read, and what it holds.
struct Field {
    path: PathBuf,
    made: Option<MadeFile>,
    file_bytes: u64,
    region_bytes: u64,
    content: Content,
}

impl Field {
    fn prepare(args: &DemoArgs) -> Result<Field> {
        match &args.model {
            Some(model) => Field::model(model, args.size),
            None => Field::make(args),
        }
    }

    fn make(args: &DemoArgs) -> Result<Field> {
        let bytes = args.size.map_or(MADE_BYTES, |size| size.0);
        let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
        let path = dir.join(format!("ringfield-demo-{}.field", std::process::id()));
        let bar = console::bytes_bar(bytes, &format!("making {}", path.display()));
        let made = MadeFile::create(path, bytes, |done| bar.set_position(done))?;
        bar.finish_and_clear();
        // The workers run in this directory too, but say a path that no one can misread.
        let path = fs::canonicalize(made.path()).at("cannot find", made.path())?;
        Ok(Field {
            path,
            made: Some(made),
            file_bytes: bytes,
            region_bytes: bytes,
            content: Content::Pattern,
        })
    }

    fn model(path: &Path, size: Option<Size>) -> Result<Field> {
        let metadata = fs::metadata(path).at("cannot read", path)?;
        if !metadata.is_file() {
            return Err(Error::message(format!(
                "{} is not a regular file",
                path.display()
            )));
        }
        let file_bytes = metadata.len();
        let region_bytes = file_bytes.min(size.map_or(MODEL_BYTES_MAX, |size| size.0));
        if region_bytes < Workload::Expert.read_bytes() {
            return Err(Error::message(format!(
                "{} has {}; the demo reads pieces of 1 MiB",
                path.display(),
                Size(file_bytes)
            )));
        }
        let bar = console::bytes_bar(region_bytes, "reading the file once, to check against");
        let content = Content::of_file(path, region_bytes, |done| bar.set_position(done))?;
        bar.finish_and_clear();
        let path = fs::canonicalize(path).at("cannot find", path)?;
        Ok(Field {
            path,
            made: None,
            file_bytes,
            region_bytes,
            content,
        })
    }
}

fn measure(args: &DemoArgs, field: &Field) -> Result<Report> {
    let file = File::open(&field.path).at("cannot open", &field.path)?;
    let limit_bytes = args.budget.0.saturating_add(ALLOWANCE_BYTES);
    let mut report = Report {
        file: field.path.clone(),
        made: field.made.is_some(),
        file_bytes: field.file_bytes,
        region_bytes: field.region_bytes,
        budget_bytes: args.budget.0,
        memory_limit: Limit {
            kind: "not limited".into(),
            bytes: None,
            why: None,
        },
        rows: Vec::new(),
        report: Vec::new(),
        notes: notes(args, field, &file),
    };
    let digests = field.content.to_bytes();
    let bar = console::steps_bar((Workload::ALL.len() * Reader::ALL.len()) as u64, "");
    for workload in Workload::ALL {
        for reader in Reader::ALL {
            bar.set_message(format!("{} · {}", workload.name(), reader.name()));
            // A group for each worker: its peak is that worker's alone.
            let group = Group::create(&group_name(), limit_bytes);
            os::drop_cache(&file);
            let command = worker_command(args, field, workload, reader, group.as_ref().ok())?;
            let outcome = run_worker(command, &digests).map_err(|e| match e {
                Error::Message(why) => {
                    Error::Message(format!("{}, {}: {why}", reader.name(), workload.name()))
                }
                other => other,
            })?;
            report.memory_limit = match &group {
                Ok(group) => Limit {
                    kind: group.kind().into(),
                    bytes: Some(limit_bytes),
                    why: None,
                },
                Err(why) => Limit {
                    kind: "not limited".into(),
                    bytes: None,
                    why: Some(why.clone()),
                },
            };
            if reader == Reader::Engine {
                report.report.clone_from(&outcome.items);
            }
            let peak = group.ok().and_then(|group| group.peak_bytes());
            report.rows.push(row(workload, reader, outcome, peak));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    os::drop_cache(&file);
    Ok(report)
}

fn group_name() -> String {
    format!("ringfield-demo-{}", std::process::id())
}

fn notes(args: &DemoArgs, field: &Field, file: &File) -> Vec<String> {
    let mut notes = Vec::new();
    if os::is_memory(file) {
        notes.push("this file system is memory (tmpfs), no disk: try --dir on a disk".to_owned());
    }
    if field.region_bytes <= args.budget.0 {
        notes.push("the file fits into the budget: this is not the case ringfield is for".into());
    }
    if field.region_bytes < field.file_bytes {
        notes.push(format!(
            "only the first {} of the file were read",
            Size(field.region_bytes)
        ));
    }
    notes
}

fn row(workload: Workload, reader: Reader, outcome: Outcome, peak: Option<u64>) -> Row {
    let seconds = outcome.elapsed_s.max(1e-9);
    Row {
        workload,
        reader,
        bw_bytes: outcome.bytes as f64 / seconds,
        reads_per_s: outcome.reads as f64 / seconds,
        lat_us: outcome.lat_us,
        peak_memory_bytes: peak.unwrap_or(outcome.peak_resident_bytes),
        ratio_to_mmap: 1.0,
        reads: outcome.reads,
        wrong: outcome.wrong,
        how: outcome.how,
    }
}

fn relate_to_mmap(rows: &mut [Row]) {
    for workload in Workload::ALL {
        let of_mmap = rows
            .iter()
            .find(|row| row.workload == workload && row.reader == Reader::Mmap)
            .map_or(f64::NAN, |row| row.bw_bytes);
        for row in rows.iter_mut().filter(|row| row.workload == workload) {
            row.ratio_to_mmap = row.bw_bytes / of_mmap;
        }
    }
}

fn worker_command(
    args: &DemoArgs,
    field: &Field,
    workload: Workload,
    reader: Reader,
    group: Option<&Group>,
) -> Result<Command> {
    // The very program that runs, even if the file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ringfield");
    command
        .args([
            "demo-worker",
            "--reader",
            reader.name(),
            "--workload",
            workload.argument(),
        ])
        .args(["--region", &field.region_bytes.to_string()])
        .args(["--budget", &args.budget.0.to_string()])
        .args(["--time-ms", &args.time.as_millis().to_string()])
        .arg("--file")
        .arg(&field.path);
    if let Some(group) = group {
        command.arg("--entrance").arg(group.entrance());
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

fn run_worker(mut command: Command, digests: &[u8]) -> Result<Outcome> {
    let mut child = command.spawn().doing("cannot start a worker")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A worker that died reads nothing; its status says why.
        let _ = stdin.write_all(digests);
    }
    let status = match wait(&mut child) {
        Ok(status) => status,
        Err(e) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(e);
        }
    };
    // Both are far below the 64 KiB that a pipe holds, so they are complete by now.
    let (mut stdout, mut stderr) = (String::new(), String::new());
    if let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) {
        let _ = out.read_to_string(&mut stdout);
        let _ = err.read_to_string(&mut stderr);
    }
    // Ctrl-C reaches the worker too, and may end it first.
    interrupt::check()?;
    match status.signal() {
        Some(libc::SIGKILL) => {
            let why = "was killed; if nobody did it, the memory limit was too small";
            return Err(Error::message(why));
        }
        Some(signal) => return Err(Error::message(format!("was ended by signal {signal}"))),
        None => {}
    }
    if !status.success() {
        let why = stderr.trim().trim_start_matches("ringfield: ");
        return Err(Error::message(if why.is_empty() { "failed" } else { why }));
    }
    serde_json::from_str(&stdout).map_err(Error::message)
}

fn wait(child: &mut Child) -> Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().doing("cannot wait for a worker")? {
            return Ok(status);
        }
        interrupt::check()?;
        thread::sleep(Duration::from_millis(10));
    }
}
