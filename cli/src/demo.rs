//! `ringfield demo`: a file bigger than the memory budget, read in three ways by three readers.
//!
//! Every measurement runs in a process of its own, from a cold page cache, in a control group
//! whose memory limit all three readers share; where no group may be made, the rows say so.

mod field;
mod process;
pub(crate) mod rivals;
mod table;
pub(crate) mod tally;
pub(crate) mod worker;
pub(crate) mod workload;

use std::fs::File;

use serde::Serialize;

use crate::args::DemoArgs;
use crate::bench::round::LatUs;
use crate::cgroup::Group;
use crate::console;
use crate::doctor::Item;
use crate::error::{Context, Error, Result};
use crate::os;
use crate::size::Size;

use field::Field;
use process::Measurement;
use worker::{Outcome, Reader};
use workload::Workload;

const MIB: u64 = 1 << 20;
const BUDGET_BYTES: u64 = 256 * MIB;
/// A burst of 24 MiB, pinned as a whole, must fit beside the engine's own needs.
const BUDGET_BYTES_MIN: u64 = 32 * MIB;
const SIZE_BYTES_MIN: u64 = 32 * MIB;
/// What a process needs beside its budget: code, stacks, the kernel's share.
const ALLOWANCE_BYTES: u64 = 8 * MIB;

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) file: String,
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
    check_budget(args, &field)?;
    let report = measure(args, &field)?;
    drop(field);
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
        ("--budget", args.budget, BUDGET_BYTES_MIN),
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

/// A burst is pinned as a whole, in whole pages.
fn budget_bytes_min(field: &Field) -> u64 {
    match field.page_bytes.filter(|&page_bytes| page_bytes > MIB) {
        Some(page_bytes) => BUDGET_BYTES_MIN + (Workload::BURST + 2) * page_bytes,
        None => BUDGET_BYTES_MIN,
    }
}

fn check_budget(args: &DemoArgs, field: &Field) -> Result<()> {
    let min = budget_bytes_min(field);
    match args.budget.filter(|given| given.0 < min) {
        Some(given) => Err(Error::message(format!(
            "--budget {given} is too small: with the field's pages the demo needs at least {}",
            Size(min)
        ))),
        None => Ok(()),
    }
}

/// What was asked for, else a quarter of a small file: memory that holds all of it shows nothing.
fn budget_bytes(args: &DemoArgs, field: &Field) -> u64 {
    let min = budget_bytes_min(field);
    let quarter = (field.region_bytes / 4 / MIB * MIB).clamp(min, BUDGET_BYTES.max(min));
    args.budget.map_or(quarter, |budget| budget.0)
}

fn measure(args: &DemoArgs, field: &Field) -> Result<Report> {
    let file = File::open(&field.path).at("cannot open", &field.path)?;
    let digests = field.content.to_bytes();
    let budget_bytes = budget_bytes(args, field);
    // A worker holds the digests as it reads them and once more as numbers.
    let limit_bytes = budget_bytes.saturating_add(ALLOWANCE_BYTES + 4 * digests.len() as u64);
    let mut rows = Vec::new();
    let mut items = Vec::new();
    let mut memory_limit = Err(String::new());
    let bar = console::steps_bar((Workload::ALL.len() * Reader::ALL.len()) as u64, "");
    for workload in Workload::ALL {
        for reader in Reader::ALL {
            bar.set_message(format!("{} · {}", workload.name(), reader.name()));
            // A group for each worker: its peak is that worker's alone.
            let name = format!("ringfield-demo-{}", std::process::id());
            let group = Group::create(&name, limit_bytes);
            os::drop_cache(&file);
            let time = args.time;
            let measurement = Measurement {
                field,
                budget_bytes,
                time,
                workload,
                reader,
            };
            let outcome = measurement.run(&digests, group.as_ref().ok())?;
            if reader == Reader::Engine {
                items.clone_from(&outcome.items);
            }
            let peak = group.as_ref().ok().and_then(Group::peak_bytes);
            rows.push(row(workload, reader, outcome, peak));
            memory_limit = group.as_ref().map(Group::kind).map_err(Clone::clone);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    os::drop_cache(&file);
    relate_to_mmap(&mut rows);
    Ok(Report {
        file: field.path.display().to_string(),
        made: field.made.is_some(),
        file_bytes: field.file_bytes,
        region_bytes: field.region_bytes,
        budget_bytes,
        memory_limit: Limit::new(memory_limit, limit_bytes),
        rows,
        report: items,
        notes: notes(budget_bytes, field, &file),
    })
}

impl Limit {
    fn new(kind: std::result::Result<&'static str, String>, bytes: u64) -> Limit {
        match kind {
            Ok(kind) => Limit {
                kind: kind.into(),
                bytes: Some(bytes),
                why: None,
            },
            Err(why) => Limit {
                kind: "not limited".into(),
                bytes: None,
                why: Some(why),
            },
        }
    }
}

fn notes(budget_bytes: u64, field: &Field, file: &File) -> Vec<String> {
    let mut notes = Vec::new();
    if os::is_memory(file) {
        notes.push("this file system is memory (tmpfs), no disk: try --dir on a disk".to_owned());
    }
    if field.region_bytes <= budget_bytes {
        notes.push("the file fits into the budget: this is not the case ringfield is for".into());
    }
    if let Some(page_bytes) = field.page_bytes {
        let page = Size(page_bytes);
        notes.push(format!(
            "a packed field: the engine reads whole pages of {page} and compares each with its checksum"
        ));
    }
    if field.region_bytes < field.readable_bytes {
        let read = Size(field.region_bytes);
        notes.push(format!("only the first {read} of the file were read"));
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
