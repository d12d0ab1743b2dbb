//! `ringfield bench JOB.fio`: an fio job through several engines, in turns.
//!
//! A disk's speed drifts by more than engines differ. So all engines run in every round, one step
//! of the job (the sections that run together) right after each other; the order is reversed every
//! other round; ratios are taken within a round; and fio also runs against itself, which shows how
//! much of a difference means nothing.

mod fio;
mod hugepages;
pub(crate) mod load;
mod mmap;
pub(crate) mod order;
mod plan;
mod plot;
mod pread;
pub(crate) mod reads;
mod region;
pub(crate) mod round;
mod summary;
mod table;
pub(crate) mod thinktime;

use serde::Serialize;

use crate::args::{BenchArgs, Peer};
use crate::console;
use crate::engine_run;
use crate::error::Result;
use crate::interrupt;
use crate::job::{EngineSettings, JobFile};

use load::Load;
use plan::{Plan, Step};
use round::Round;
use summary::{Row, Series};

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The section's name; of several sections the job file's.
    pub(crate) job: String,
    /// All files, separated by colons.
    pub(crate) file: String,
    pub(crate) file_bytes: u64,
    pub(crate) rounds: u32,
    pub(crate) fio_version: Option<String>,
    /// Section by section, and in each engine by engine.
    pub(crate) rows: Vec<Row>,
    pub(crate) omitted: Vec<Omitted>,
}

/// An engine that did not run, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Omitted {
    pub(crate) engine: &'static str,
    /// The sections without it, where others have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jobs: Option<String>,
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

    /// Another program, with reasons of its own to fail.
    fn is_fio(self) -> bool {
        matches!(self, Engine::Fio | Engine::FioHugepages | Engine::FioAa)
    }

    fn round(self, loads: &[Load], settings: &EngineSettings) -> Result<Vec<Round>> {
        match self {
            Engine::Ringfield => engine_run::bench_round(loads, settings),
            Engine::Fio | Engine::FioAa => fio::round(loads, fio::Memory::Default),
            Engine::FioHugepages => fio::round(loads, fio::Memory::Huge),
            Engine::Mmap => mmap::round(loads),
            Engine::Pread => pread::round(loads),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A job that is wrong or not implemented, a file that does not fit it, an engine that failed.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let mut jobs = JobFile::load(&args.job)?;
    if let Some(runtime) = args.runtime {
        for job in &mut jobs.jobs {
            job.runtime = Some(runtime);
        }
    }
    let plan = Plan::new(&jobs, &args.file)?;
    if let Some(path) = &args.plot {
        plot::check(&plan, path)?;
    }
    let (present, mut omitted, fio_version) = present(args);
    let mut running: Vec<Running> = plan
        .steps
        .iter()
        .map(|step| Running::new(step, &present))
        .collect();
    let settings = args.engine().or(&jobs.engine);
    measure(&mut running, args.rounds, &settings)?;

    omitted.extend(left_out(&running));
    let names: Vec<String> = plan
        .files
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect();
    let report = Report {
        job: match jobs.jobs.as_slice() {
            [job] => job.name.clone(),
            _ => args.job.display().to_string(),
        },
        file: names.join(":"),
        file_bytes: plan.files.iter().map(|(_, bytes)| bytes).sum(),
        rounds: args.rounds,
        fio_version,
        rows: running.iter().flat_map(Running::rows).collect(),
        omitted,
    };
    // First what was measured: a picture that cannot be written must not lose it.
    if args.json {
        console::print_json(&report)?;
    } else {
        console::print(table::show(&report))?;
    }
    match &args.plot {
        Some(path) => plot::write(&report.rows, &table::sweep_title(&report), path),
        None => Ok(()),
    }
}

/// Who could take part, in the order of a round: those whose ratio matters stand next to each other.
fn present(args: &BenchArgs) -> (Vec<Engine>, Vec<Omitted>, Option<String>) {
    let mut engines = vec![Engine::Ringfield];
    let mut omitted = Vec::new();
    let mut fio_version = None;
    if args.compare.contains(&Peer::Fio) {
        match fio::version() {
            Ok(version) => {
                fio_version = Some(version);
                engines.insert(0, Engine::Fio);
                engines.extend([Engine::FioHugepages, Engine::FioAa]);
            }
            Err(why) => {
                for engine in [Engine::Fio, Engine::FioHugepages, Engine::FioAa] {
                    omitted.push(Omitted {
                        engine: engine.name(),
                        jobs: None,
                        why: why.clone(),
                    });
                }
            }
        }
    }
    for (peer, engine) in [(Peer::Mmap, Engine::Mmap), (Peer::Pread, Engine::Pread)] {
        engines.extend(args.compare.contains(&peer).then_some(engine));
    }
    (engines, omitted, fio_version)
}

/// Why an engine does not take part in a step.
fn unfit(engine: Engine, loads: &[Load]) -> Option<String> {
    match engine {
        Engine::FioHugepages => {
            let wished = |load: &Load| load.iomem.as_deref() == Some("mmaphuge");
            if loads.iter().all(wished) {
                return Some("the job itself asks for iomem=mmaphuge: see the fio row".into());
            }
            fio::reserve(loads).err()
        }
        Engine::Mmap if !loads.iter().all(Load::map_fits) => {
            Some("remembering which blocks were read takes too much memory".into())
        }
        _ => None,
    }
}

/// A step with what its engines did so far.
struct Running<'a> {
    step: &'a Step,
    /// Of each engine the rounds, and of each round the sections.
    series: Vec<(Engine, Vec<Vec<Round>>)>,
    omitted: Vec<(Engine, String)>,
}

impl<'a> Running<'a> {
    fn new(step: &'a Step, engines: &[Engine]) -> Running<'a> {
        let mut running = Running {
            step,
            series: Vec::new(),
            omitted: Vec::new(),
        };
        for &engine in engines {
            match unfit(engine, &step.loads) {
                Some(why) => running.omitted.push((engine, why)),
                None => running.series.push((engine, Vec::new())),
            }
        }
        running
    }

    /// One run of the engine at `place`.
    ///
    /// Whatever fio fails with (no io_uring, huge pages that are gone again, an option that it does
    /// not know), its row is left out with the reason and the others are measured all the same.
    fn run(&mut self, place: usize, settings: &EngineSettings) -> Result<()> {
        let Some((engine, rounds)) = self.series.get_mut(place) else {
            return Ok(());
        };
        let engine = *engine;
        if self.omitted.iter().any(|(omitted, _)| *omitted == engine) {
            return Ok(());
        }
        match engine.round(&self.step.loads, settings) {
            Ok(round) => rounds.push(round),
            Err(e) if engine.is_fio() && interrupt::check().is_ok() => {
                self.omitted.push((engine, e.to_string()));
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (section, load) in self.step.loads.iter().enumerate() {
            let of = |engine: Engine| -> Vec<Round> {
                let found = self.series.iter().find(|(e, _)| *e == engine);
                let rounds = found.map_or(&[][..], |(_, rounds)| rounds.as_slice());
                rounds
                    .iter()
                    .filter_map(|sections| sections.get(section).cloned())
                    .collect()
            };
            let (fio, fio_hugepages) = (of(Engine::Fio), of(Engine::FioHugepages));
            for (engine, _) in &self.series {
                if self.omitted.iter().any(|(omitted, _)| omitted == engine) {
                    continue;
                }
                let series = Series {
                    engine: engine.name(),
                    rounds: &of(*engine),
                };
                rows.push(series.row(load, &fio, &fio_hugepages));
            }
        }
        rows
    }
}

/// The engines that some steps are without, each reason once.
fn left_out(running: &[Running]) -> Vec<Omitted> {
    let mut reasons: Vec<(Engine, &str, Vec<String>)> = Vec::new();
    for step in running {
        for (engine, why) in &step.omitted {
            let same = |known: &&mut (Engine, &str, _)| (known.0, known.1) == (*engine, why);
            match reasons.iter_mut().find(same) {
                Some((_, _, jobs)) => jobs.push(step.step.name()),
                None => reasons.push((*engine, why, vec![step.step.name()])),
            }
        }
    }
    let omitted = |(engine, why, jobs): (Engine, &str, Vec<String>)| Omitted {
        engine: engine.name(),
        jobs: (jobs.len() < running.len()).then(|| jobs.join(", ")),
        why: why.to_owned(),
    };
    reasons.into_iter().map(omitted).collect()
}

fn measure(running: &mut [Running], rounds: u32, settings: &EngineSettings) -> Result<()> {
    let runs: usize = running.iter().map(|step| step.series.len()).sum();
    let bar = console::steps_bar(u64::from(rounds) * runs as u64, "");
    for number in 0..rounds {
        for step in running.iter_mut() {
            let mut order: Vec<usize> = (0..step.series.len()).collect();
            if number % 2 == 1 {
                order.reverse();
            }
            for place in order {
                interrupt::check()?;
                let engine = step
                    .series
                    .get(place)
                    .map_or("", |(engine, _)| engine.name());
                bar.set_message(format!(
                    "round {} of {}: {}: {engine}",
                    number + 1,
                    rounds,
                    step.step.name()
                ));
                bar.inc(1);
                step.run(place, settings)?;
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}
