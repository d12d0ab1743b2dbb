//! What is wrong with a job file: one line that names file, line and option.

use std::io;
use std::path::PathBuf;

use super::lines::LINE_BYTES_MAX;

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
    #[error("a line longer than {max} bytes", max = LINE_BYTES_MAX)]
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
    #[error("the engine's setting {setting}: {expected}")]
    EngineSetting {
        setting: String,
        expected: &'static str,
    },
    #[error("option '{name}' needs a value")]
    NoValue { name: String },
    #[error("more than {max} job sections", max = super::SECTIONS_MAX)]
    TooManySections,
    #[error("{name}={value} writes, and ringfield reads only: {instead}")]
    Writes {
        name: String,
        value: String,
        instead: &'static str,
    },
    #[error("no job section such as [randread]")]
    NoJob,
    #[error("time_based needs a runtime")]
    NoRuntime,
}
