//! fio job files: `[global]` and one job of reads, exactly as fio 3.x reads them.
//!
//! What is implemented is recorded in [`Job`]; everything else is an error that names the file, the
//! line and the option, because a benchmark that ignores an option measures something else than
//! its reader believes. A job file is untrusted input: its size is bounded, and nothing in it is
//! executed, expanded or allocated for.

mod lines;
mod options;
mod value;

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A job file larger than this is not a job file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a job file asks for, with fio's defaults where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The job section's name.
    pub(crate) name: String,
    pub(crate) rw: Rw,
    /// Bytes of one read: a multiple of 512, as direct I/O needs.
    pub(crate) block_bytes: u64,
    /// Reads in flight of each of the `numjobs`.
    pub(crate) iodepth: u32,
    pub(crate) numjobs: u32,
    /// The part of the file that is read; `None`: all of it.
    pub(crate) size: Option<u64>,
    pub(crate) filename: Option<PathBuf>,
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
    /// After every `thinktime_blocks` reads: wait for all of them, then this long.
    pub(crate) thinktime: Option<Duration>,
    pub(crate) thinktime_blocks: u32,
    /// `thinktime_blocks_type=issue`; fio's default counts completed reads instead.
    pub(crate) thinktime_by_issue: bool,
    /// fio runs its jobs as threads instead of processes.
    pub(crate) thread: bool,
    pub(crate) group_reporting: bool,
}

/// The order of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rw {
    Read,
    RandRead,
}

impl Rw {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Rw::Read => "read",
            Rw::RandRead => "randread",
        }
    }
}

/// Where a job file is wrong, and how.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {kind}", file.display(), line.map(|n| format!(":{n}")).unwrap_or_default())]
pub(crate) struct JobError {
    pub(crate) file: PathBuf,
    /// Counted from one; `None` where the whole file is meant.
    pub(crate) line: Option<usize>,
    pub(crate) kind: JobErrorKind,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum JobErrorKind {
    #[error("{0}")]
    Read(io::Error),
    #[error("larger than 1 MiB: not a job file")]
    TooLarge,
    #[error("a line longer than {max} bytes", max = lines::LINE_BYTES_MAX)]
    LineTooLong,
    #[error("not UTF-8 text")]
    NotText,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("option '{name}' is not implemented yet")]
    OptionNotImplemented { name: String },
    #[error("{name}={value} is not implemented yet: {implemented}")]
    ValueNotImplemented {
        name: String,
        value: String,
        implemented: &'static str,
    },
    #[error("{name}={value}: {expected}")]
    BadValue {
        name: String,
        value: String,
        expected: String,
    },
    #[error("option '{name}' needs a value")]
    NoValue { name: String },
    #[error("job section [{name}] is not implemented yet: a job file has one job")]
    SecondJob { name: String },
    #[error("no job section such as [randread]")]
    NoJob,
    #[error("time_based needs a runtime")]
    NoRuntime,
    #[error(
        "thinktime after completed reads is not implemented yet: thinktime_blocks_type=issue is"
    )]
    ThinktimeByCompletion,
}

impl Job {
    /// Reads and checks a job file.
    ///
    /// # Errors
    /// A file that cannot be read, is malformed, or asks for what is not implemented.
    pub(crate) fn load(path: &Path) -> Result<Job, JobError> {
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
        Job::parse(path, &text)
    }

    /// Checks the text of a job file; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Job::load`].
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Job, JobError> {
        let at = |line, kind| JobError {
            file: path.to_owned(),
            line,
            kind,
        };
        let mut job = Job::default();
        let mut section = Section::None;
        let mut job_line = None;
        for item in lines::Lines::new(text) {
            let (line, item) = item.map_err(|(line, kind)| at(Some(line), kind))?;
            let applied = match item {
                lines::Line::Section(name) => section.enter(name),
                lines::Line::Option { name, value } => section
                    .check()
                    .and_then(|()| options::apply(&mut job, name, value)),
            };
            applied.map_err(|kind| at(Some(line), kind))?;
            if job_line.is_none()
                && let Section::Job(name) = &section
            {
                job_line = Some(line);
                job.name.clone_from(name);
            }
        }
        if job_line.is_none() {
            return Err(at(None, JobErrorKind::NoJob));
        }
        if job.time_based && job.runtime.is_none() {
            return Err(at(job_line, JobErrorKind::NoRuntime));
        }
        if job.thinktime.is_some() && !job.thinktime_by_issue {
            return Err(at(job_line, JobErrorKind::ThinktimeByCompletion));
        }
        Ok(job)
    }
}

impl Default for Job {
    fn default() -> Self {
        Job {
            name: String::new(),
            rw: Rw::Read,
            block_bytes: 4096,
            iodepth: 1,
            numjobs: 1,
            size: None,
            filename: None,
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
            thinktime: None,
            thinktime_blocks: 1,
            thinktime_by_issue: false,
            thread: false,
            group_reporting: false,
        }
    }
}

/// The section that the current line belongs to.
enum Section {
    None,
    Global,
    Job(String),
}

impl Section {
    fn enter(&mut self, name: &str) -> Result<(), JobErrorKind> {
        *self = match (&self, name) {
            (Section::None | Section::Global, "global") => Section::Global,
            (Section::None | Section::Global, _) => Section::Job(name.to_owned()),
            // fio applies it to later jobs only; there are none, so it would be ignored.
            (Section::Job(_), "global") => {
                return Err(JobErrorKind::Malformed(
                    "[global] after the job has no effect",
                ));
            }
            (Section::Job(_), _) => {
                return Err(JobErrorKind::SecondJob {
                    name: name.to_owned(),
                });
            }
        };
        Ok(())
    }

    fn check(&self) -> Result<(), JobErrorKind> {
        match self {
            Section::None => Err(JobErrorKind::Malformed(
                "an option before the first [global] or [job]",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
