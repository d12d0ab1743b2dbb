//! fio job files: `[global]` and sections of reads, exactly as fio 3.x reads them.
//!
//! What is implemented is recorded in [`Job`], one for each section; everything else is an error that names the file, the
//! line and the option, because a benchmark that ignores an option measures something else than
//! its reader believes. A job file is untrusted input: its size is bounded, and nothing in it is
//! executed, expanded or allocated for.

mod amount;
mod block_sizes;
mod blocks;
mod engine_line;
mod error;
mod given;
mod lines;
mod options;
mod rw;
mod value;

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use amount::Amount;
pub(crate) use block_sizes::BlockSizes;
use blocks::Blocks;
use engine_line::EngineLine;
pub(crate) use engine_line::{EngineSettings, PREFETCH};
pub(crate) use error::{JobError, JobErrorKind};
pub(crate) use rw::{Pattern, Rw};

/// A job file larger than this is not a job file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// More sections than anybody reads the rows of.
const SECTIONS_MAX: usize = 256;

/// The sections of a job file, in its order; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobFile {
    pub(crate) jobs: Vec<Job>,
    /// From the comment that is for the engine.
    pub(crate) engine: EngineSettings,
}

/// What one section asks for, with what it inherits and fio's defaults where nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The job section's name.
    pub(crate) name: String,
    pub(crate) rw: Rw,
    pub(crate) pattern: Pattern,
    /// `rw_sequencer=identical`: the reads of a run are all of the same place.
    pub(crate) identical: bool,
    /// The line of `rw=rw` or `rw=randrw`, which write unless `rwmixread=100`.
    mixed_line: Option<usize>,
    /// `rwmixread=100`.
    only_reads: bool,
    blocks: Blocks,
    /// Share of random reads in percent; only with `rw=randread`.
    pub(crate) percentage_random: Option<u32>,
    /// Reads in flight of each of the `numjobs`.
    pub(crate) iodepth: u32,
    pub(crate) numjobs: u32,
    /// The part of all files together that is read, each giving the same share; `None`: all of them.
    pub(crate) size: Option<Amount>,
    /// What is read before the job ends; `None`: as much as `size`.
    pub(crate) io_size: Option<Amount>,
    /// Where in each file reading begins.
    pub(crate) offset: Option<Amount>,
    /// Empty where the job names none. Shared, so that inheriting a long list costs nothing.
    pub(crate) filenames: Arc<[PathBuf]>,
    nrfiles: Option<u32>,
    /// `file_service_type=random`; fio's default reads the files in turn.
    pub(crate) random_file: bool,
    /// `None` or the longest time the job runs; with `time_based` exactly the time it runs.
    pub(crate) runtime: Option<Duration>,
    pub(crate) time_based: bool,
    /// `Some(false)` only where the job says `direct=0`.
    pub(crate) direct: Option<bool>,
    /// Recorded: the comparison always runs fio with `io_uring`.
    pub(crate) ioengine: Option<String>,
    pub(crate) fixedbufs: Option<bool>,
    pub(crate) registerfiles: Option<bool>,
    pub(crate) batch_submit: Option<u32>,
    pub(crate) batch_complete_min: Option<u32>,
    pub(crate) batch_complete_max: Option<u32>,
    pub(crate) iodepth_low: Option<u32>,
    pub(crate) iomem: Option<String>,
    /// Random reads may repeat a block before every block was read once.
    pub(crate) norandommap: bool,
    /// The same random order in every run (fio's default).
    pub(crate) randrepeat: bool,
    pub(crate) randseed: Option<u64>,
    /// Reads per second of each of the `numjobs`.
    pub(crate) rate_iops: Option<u32>,
    /// After every `thinktime_blocks` reads: wait for all of them, then this long; zero: never.
    pub(crate) thinktime: Duration,
    pub(crate) thinktime_blocks: u32,
    /// `thinktime_blocks_type=issue`; fio's default counts completed reads instead.
    pub(crate) thinktime_by_issue: bool,
    /// From the comment that is for the engine: its reads are hints.
    pub(crate) prefetch: bool,
    /// fio runs its jobs as threads instead of processes.
    pub(crate) thread: bool,
    /// Recorded: every section is a row of its own.
    pub(crate) group_reporting: bool,
    pub(crate) new_group: bool,
    /// Begins only after all earlier sections have ended.
    pub(crate) stonewall: bool,
}

impl JobFile {
    /// Reads and checks a job file.
    ///
    /// # Errors
    /// A file that cannot be read, is malformed, or asks for what is not implemented.
    pub(crate) fn load(path: &Path) -> Result<JobFile, JobError> {
        let whole = |kind| JobError {
            file: path.to_owned(),
            line: None,
            kind,
        };
        let mut text = Vec::new();
        // Without waiting: a FIFO would otherwise hold the open until somebody writes.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| whole(JobErrorKind::Read(e)))?;
        let kind = file
            .metadata()
            .map_err(|e| whole(JobErrorKind::Read(e)))?
            .file_type();
        if !kind.is_file() {
            return Err(whole(JobErrorKind::Malformed("not a regular file")));
        }
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|e| whole(JobErrorKind::Read(e)))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(whole(JobErrorKind::TooLarge));
        }
        JobFile::parse(path, &text)
    }

    /// Checks the text of a job file; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`JobFile::load`].
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<JobFile, JobError> {
        let at = |line, kind| JobError {
            file: path.to_owned(),
            line,
            kind,
        };
        let mut sections = Sections::default();
        for item in lines::Lines::new(text) {
            let (line, item) = item.map_err(|(line, kind)| at(Some(line), kind))?;
            match item {
                lines::Line::Section(name) => sections.enter(name, line),
                lines::Line::Engine(settings) => sections.engine(settings),
                lines::Line::Option { name, value } => sections
                    .current()
                    .and_then(|job| options::apply(job, name, value, line)),
            }
            .map_err(|kind| at(Some(line), kind))?;
        }
        sections.finish().map_err(|(line, kind)| at(line, kind))
    }
}

impl Job {
    /// The sizes of its reads.
    pub(crate) fn sizes(&self) -> BlockSizes {
        self.blocks.reads().clone()
    }

    /// What shares of a file are rounded to, in bytes.
    pub(crate) fn share_unit(&self) -> u64 {
        self.blocks.least()
    }

    /// What only the whole section shows to be wrong, and the line to blame.
    fn check(&self, section_line: usize) -> Result<(), (Option<usize>, JobErrorKind)> {
        if let Some(line) = self.mixed_line.filter(|_| !self.only_reads) {
            let kind = JobErrorKind::Writes {
                name: "rw".into(),
                value: match self.rw {
                    Rw::Read => "rw".into(),
                    Rw::RandRead => "randrw".into(),
                },
                instead: "rwmixread=100 makes it a mix of reads alone",
            };
            return Err((Some(line), kind));
        }
        let section = |kind| Err((Some(section_line), kind));
        if self.blocks.are_given_twice() {
            return section(JobErrorKind::Malformed("bsrange and bssplit in one job"));
        }
        if self.percentage_random.is_some() && self.rw == Rw::Read {
            return section(JobErrorKind::Malformed(
                "percentage_random has no effect on rw=read: it makes a part of rw=randread sequential",
            ));
        }
        let files = self.filenames.len().max(1);
        if self.nrfiles.is_some_and(|n| n as usize != files) {
            return section(JobErrorKind::Malformed(
                "nrfiles that is not the number of names in filename is not implemented yet",
            ));
        }
        if self.time_based && self.runtime.is_none() {
            return section(JobErrorKind::NoRuntime);
        }
        Ok(())
    }
}

impl Default for Job {
    fn default() -> Self {
        Job {
            name: String::new(),
            rw: Rw::Read,
            pattern: Pattern::default(),
            identical: false,
            mixed_line: None,
            only_reads: false,
            blocks: Blocks::default(),
            percentage_random: None,
            iodepth: 1,
            numjobs: 1,
            size: None,
            io_size: None,
            offset: None,
            filenames: Arc::new([]),
            nrfiles: None,
            random_file: false,
            runtime: None,
            time_based: false,
            direct: None,
            ioengine: None,
            fixedbufs: None,
            registerfiles: None,
            batch_submit: None,
            batch_complete_min: None,
            batch_complete_max: None,
            iodepth_low: None,
            iomem: None,
            norandommap: false,
            randrepeat: true,
            randseed: None,
            rate_iops: None,
            thinktime: Duration::ZERO,
            thinktime_blocks: 1,
            thinktime_by_issue: false,
            prefetch: false,
            thread: false,
            group_reporting: false,
            new_group: false,
            stonewall: false,
        }
    }
}

/// What the lines so far have said.
#[derive(Default)]
struct Sections {
    global: Job,
    jobs: Vec<(usize, Job)>,
    inside: Inside,
    /// The line of a `[global]` that no job follows yet.
    global_line: usize,
    engine: Option<EngineSettings>,
}

/// The section that the current line belongs to.
#[derive(Default, PartialEq, Eq)]
enum Inside {
    #[default]
    None,
    Global,
    Job,
}

impl Sections {
    fn enter(&mut self, name: &str, line: usize) -> Result<(), JobErrorKind> {
        // fio looks at the first letters only: [globals] is [global].
        if name.starts_with("global") {
            self.inside = Inside::Global;
            self.global_line = line;
            return Ok(());
        }
        if self.jobs.len() == SECTIONS_MAX {
            return Err(JobErrorKind::TooManySections);
        }
        let job = Job {
            name: name.to_owned(),
            ..self.global.clone()
        };
        self.jobs.push((line, job));
        self.inside = Inside::Job;
        Ok(())
    }

    fn engine(&mut self, text: &str) -> Result<(), JobErrorKind> {
        let line = EngineLine::parse(text)?;
        if let Some(prefetch) = line.prefetch {
            self.current()
                .map_err(|_| JobErrorKind::EngineSetting {
                    setting: "prefetch".into(),
                    expected: "it stands in the section that it is for",
                })?
                .prefetch = prefetch;
        }
        if line.settings == EngineSettings::default() {
            return Ok(());
        }
        match self.engine.replace(line.settings) {
            None => Ok(()),
            Some(_) => Err(JobErrorKind::Malformed(
                "a second comment with settings of the engine",
            )),
        }
    }

    fn current(&mut self) -> Result<&mut Job, JobErrorKind> {
        let job = match self.inside {
            Inside::None => None,
            Inside::Global => Some(&mut self.global),
            Inside::Job => self.jobs.last_mut().map(|(_, job)| job),
        };
        job.ok_or(JobErrorKind::Malformed(
            "an option before the first [global] or [job]",
        ))
    }

    fn finish(self) -> Result<JobFile, (Option<usize>, JobErrorKind)> {
        if self.jobs.is_empty() {
            return Err((None, JobErrorKind::NoJob));
        }
        // fio applies it to later jobs only; there are none, so it would be ignored.
        if self.inside == Inside::Global {
            return Err((
                Some(self.global_line),
                JobErrorKind::Malformed("[global] after the last job has no effect"),
            ));
        }
        for (line, job) in &self.jobs {
            job.check(*line)?;
        }
        Ok(JobFile {
            jobs: self.jobs.into_iter().map(|(_, job)| job).collect(),
            engine: self.engine.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
