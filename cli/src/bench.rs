//! `ringfield bench JOB.fio`: one fio job through several engines, in turns.
//!
//! A disk's speed drifts by more than engines differ. So all engines run in every round, right
//! after each other; the order is reversed every other round; ratios are taken within a round;
//! and fio also runs against itself, which shows how much of a difference means nothing.

mod fio;
mod hugepages;
pub(crate) mod load;
mod mmap;
pub(crate) mod order;
mod pread;
pub(crate) mod round;
mod summary;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::args::{BenchArgs, Peer};
use crate::console;
use crate::engine_run;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::job::Job;
use crate::made_file::MadeFile;

use load::Load;
use round::Round;
use summary::{Row, Series};

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) job: String,
    pub(crate) file: String,
    pub(crate) file_bytes: u64,
    pub(crate) rounds: u32,
    pub(crate) fio_version: Option<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) omitted: Vec<Omitted>,
}

/// An engine that did not run, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Omitted {
    pub(crate) engine: &'static str,
    pub(crate) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Ringfield,
    Fio,
    FioHugepages,
    FioAa,
    Mmap,
    Pread,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Ringfield => "ringfield",
            Engine::Fio => "fio",
            Engine::FioHugepages => "fio-hugepages",
            Engine::FioAa => "fio-aa",
            Engine::Mmap => "mmap",
            Engine::Pread => "pread",
        }
    }

    fn round(self, load: &Load, args: &BenchArgs) -> Result<Round> {
        match self {
            Engine::Ringfield => engine_run::bench_round(load, args),
            Engine::Fio | Engine::FioAa => fio::round(load, fio::Memory::Default),
            Engine::FioHugepages => fio::round(load, fio::Memory::Huge),
            Engine::Mmap => mmap::round(load),
            Engine::Pread => pread::round(load),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A job that is wrong or not implemented, a file that does not fit it, an engine that failed.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let mut job = Job::load(&args.job)?;
    if let Some(runtime) = args.runtime {
        job.runtime = Some(runtime);
    }
    let (path, _made) = input(args, &job)?;
    let file_bytes = file_bytes(&path)?;
    let load = Load::new(&job, path, file_bytes)?;
    let (engines, mut omitted, fio_version) = engines(args, &load);

    let series = measure(&engines, &load, args, &mut omitted)?;
    let of = |engine: Engine| {
        let found = series.iter().find(|(e, _)| *e == engine);
        found.map_or(&[][..], |(_, rounds)| rounds.as_slice())
    };
    let rows = series
        .iter()
        .map(|(engine, rounds)| {
            let series = Series {
                engine: engine.name(),
                rounds,
            };
            series.row(&load, of(Engine::Fio), of(Engine::FioHugepages))
        })
        .collect();
    let report = Report {
        job: job.name.clone(),
        file: load.path.display().to_string(),
        file_bytes,
        rounds: args.rounds,
        fio_version,
        rows,
        omitted,
    };
    if args.json {
        console::print_json(&report)
    } else {
        console::print(table::show(&report))
    }
}

/// The file to read; made for the time of the run where the job's does not exist.
fn input(args: &BenchArgs, job: &Job) -> Result<(PathBuf, Option<MadeFile>)> {
    if let Some(file) = &args.file {
        return Ok((file.clone(), None));
    }
    // fio's own name for the file of a job that names none.
    let path = job
        .filename
        .clone()
        .unwrap_or_else(|| format!("{}.0.0", job.name).into());
    if path.exists() {
        return Ok((path, None));
    }
    let Some(size) = job.size else {
        return Err(Error::message(format!(
            "{} does not exist, and job [{}] has no size to make it with (or give --file)",
            path.display(),
            job.name
        )));
    };
    let bar = console::bytes_bar(size, &format!("making {}", path.display()));
    let made = MadeFile::create(path.clone(), size, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok((path, Some(made)))
}

/// The length of a regular file or of a block device; everything else is refused without waiting.
fn file_bytes(path: &Path) -> Result<u64> {
    use std::io::{Seek, SeekFrom};
    use std::os::unix::fs::FileTypeExt;
    let kind = fs::metadata(path).at("cannot read", path)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::message(format!(
            "{} is neither a regular file nor a block device",
            path.display()
        )));
    }
    let mut file = fs::File::open(path).at("cannot open", path)?;
    file.seek(SeekFrom::End(0)).at("cannot measure", path)
}

/// Who takes part, in the order of a round: those whose ratio matters stand next to each other.
fn engines(args: &BenchArgs, load: &Load) -> (Vec<Engine>, Vec<Omitted>, Option<String>) {
    let mut engines = vec![Engine::Ringfield];
    let mut omitted = Vec::new();
    let mut fio_version = None;
    let mut omit = |engine: Engine, why: String| {
        omitted.push(Omitted {
            engine: engine.name(),
            why,
        })
    };
    if args.compare.contains(&Peer::Fio) {
        match fio::version() {
            Ok(version) => {
                fio_version = Some(version);
                engines.insert(0, Engine::Fio);
                match fio::reserve(load) {
                    _ if load.iomem.as_deref() == Some("mmaphuge") => {
                        let why = "the job itself asks for iomem=mmaphuge: see the fio row";
                        omit(Engine::FioHugepages, why.into());
                    }
                    Ok(_) => engines.push(Engine::FioHugepages),
                    Err(why) => omit(Engine::FioHugepages, why),
                }
                engines.push(Engine::FioAa);
            }
            Err(why) => {
                for engine in [Engine::Fio, Engine::FioHugepages, Engine::FioAa] {
                    omit(engine, why.clone());
                }
            }
        }
    }
    for (peer, engine) in [(Peer::Mmap, Engine::Mmap), (Peer::Pread, Engine::Pread)] {
        match (args.compare.contains(&peer), peer) {
            (true, Peer::Pread) if load.burst.is_some() => {
                omit(
                    engine,
                    "its threads do not wait for each other between bursts".to_owned(),
                );
            }
            (true, _) => engines.push(engine),
            (false, _) => {}
        }
    }
    (engines, omitted, fio_version)
}

///
/// Huge pages that were there when asked for may be gone when fio maps them: that row is then left out, with the reason.
fn measure(
    engines: &[Engine],
    load: &Load,
    args: &BenchArgs,
    omitted: &mut Vec<Omitted>,
) -> Result<Vec<(Engine, Vec<Round>)>> {
    let mut series: Vec<_> = engines.iter().map(|&engine| (engine, Vec::new())).collect();
    let bar = console::steps_bar(u64::from(args.rounds) * engines.len() as u64, "");
    for number in 0..args.rounds {
        let mut order: Vec<usize> = (0..engines.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for place in order {
            interrupt::check()?;
            let (engine, rounds) = &mut series[place];
            bar.set_message(format!(
                "round {} of {}: {}",
                number + 1,
                args.rounds,
                engine.name()
            ));
            bar.inc(1);
            let engine = *engine;
            if omitted.iter().any(|row| row.engine == engine.name()) {
                continue;
            }
            match engine.round(load, args) {
                Ok(round) => rounds.push(round),
                Err(e) if engine == Engine::FioHugepages && interrupt::check().is_ok() => {
                    omitted.push(Omitted {
                        engine: engine.name(),
                        why: e.to_string(),
                    });
                }
                Err(e) => return Err(e),
            }
        }
    }
    bar.finish_and_clear();
    series.retain(|(engine, _)| omitted.iter().all(|row| row.engine != engine.name()));
    Ok(series)
}

/// Sleeps until the job's rate allows read number `index`.
pub(crate) fn wait_until_due(load: &Load, start: Instant, index: u64) {
    let wait = load.due(index).saturating_sub(start.elapsed());
    if !wait.is_zero() {
        std::thread::sleep(wait);
    }
}
