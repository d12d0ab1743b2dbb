//! What a command can fail with, and the exit status that goes with it.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// One clear line for the user; `main` prints it after `ringfield: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The job file is wrong or asks for something that is not implemented.
    #[error(transparent)]
    Job(#[from] crate::job::JobError),
    /// A system call on a named thing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path it was done to.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The engine refused or failed.
    #[error("{what}: {source}")]
    Engine {
        /// What was being done.
        what: String,
        /// The engine's own message: file, page and cause.
        source: ringfield::Error,
    },
    /// A kernel was called wrongly.
    #[error(transparent)]
    Kernel(#[from] ringfield::kernels::ShapeError),
    /// Anything else that is the user's to act on.
    #[error("{0}")]
    Message(String),
    /// Ctrl-C or a termination signal, after everything made was removed.
    #[error("interrupted")]
    Interrupted,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn message(text: impl Display) -> Self {
        Error::Message(text.to_string())
    }

    /// The status of the process: 130 as shells report a Ctrl-C, else 1 (2 is clap's, for usage).
    fn exit_status(&self) -> u8 {
        match self {
            Error::Interrupted => 130,
            _ => 1,
        }
    }

    /// Says what went wrong, and gives the status to end with.
    pub(crate) fn report(&self) -> u8 {
        eprintln!("ringfield: {self}");
        self.exit_status()
    }
}

/// Names what failed on which path, in the one place where both are known.
pub(crate) trait Context<T> {
    fn at(self, doing: &str, path: &Path) -> Result<T>;
    fn doing(self, what: &str) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: format!("{doing} {}", path.display()),
            source,
        })
    }

    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what.to_owned(),
            source,
        })
    }
}
