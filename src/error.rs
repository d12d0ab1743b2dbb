//! What can go wrong, where, and what to do about it.

use crate::ring::fault::Fault;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that ringfield's functions can fail with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A builder option has a value that cannot work.
    #[error("{option} = {value}: {why}")]
    InvalidOption {
        /// The builder's method.
        option: &'static str,
        /// What it was given.
        value: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// The budget cannot hold the smallest useful pool.
    #[error(
        "dram_budget of {budget} bytes is too small for pages of {page_size} bytes: at least {minimum} bytes are needed"
    )]
    BudgetTooSmall {
        /// Bytes given.
        budget: u64,
        /// Page size, in bytes.
        page_size: u64,
        /// Bytes that would do.
        minimum: u64,
    },
    /// The budget is more than this process may have.
    #[error(
        "dram_budget of {budget} bytes is above the {limit_of} of {limit} bytes: lower it or raise the limit"
    )]
    BudgetOverLimit {
        /// Bytes given.
        budget: u64,
        /// Bytes that there are.
        limit: u64,
        /// Whose limit: the memory cgroup's, or the machine's memory.
        limit_of: &'static str,
    },
    /// The part of the budget that is kept for open fields and devices is used up.
    #[error(
        "{what} needs {need} bytes of metadata and {have} are left of the budget's share: raise dram_budget or metadata_budget, or close fields"
    )]
    MetadataBudget {
        /// What was to be opened.
        what: String,
        /// Bytes needed.
        need: u64,
        /// Bytes left.
        have: u64,
    },
    /// The machine refused memory or a thread.
    #[error("{what}: {}", os(*.errno))]
    Os {
        /// What was being done.
        what: String,
        /// The errno.
        errno: i32,
    },
    /// A path could not be opened.
    #[error("{}: {}", .path.display(), os(*.errno))]
    Open {
        /// The path.
        path: PathBuf,
        /// The errno.
        errno: i32,
    },
    /// A file could not be made.
    #[error("cannot make {}: {}", .path.display(), os(*.errno))]
    Create {
        /// The file.
        path: PathBuf,
        /// The errno.
        errno: i32,
    },
    /// A path is neither a regular file nor a block device.
    #[error("{}: is {kind}; a field is a regular file or a block device", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A range does not lie in the field.
    #[error("{}: bytes {start}..{end} do not lie in its {len} bytes", .path.display())]
    OutOfBounds {
        /// The field's file.
        path: PathBuf,
        /// First byte asked for.
        start: u64,
        /// End of the range.
        end: u64,
        /// Length of the field.
        len: u64,
    },
    /// A range, or an extent, is larger than the whole pool.
    #[error(
        "{need} pages at once do not fit the pool of {frames}: read in smaller ranges or raise dram_budget"
    )]
    RangeTooLarge {
        /// Frames needed.
        need: u64,
        /// Frames there are.
        frames: u64,
    },
    /// Too many pages are pinned by views to make room.
    #[error(
        "no room for {need} pages: views pin {pinned} of {frames} frames; drop views, raise dram_budget, or set pin_wait"
    )]
    PoolPinned {
        /// Frames needed.
        need: u64,
        /// Frames pinned by views and waiting reads.
        pinned: u64,
        /// Frames there are.
        frames: u64,
    },
    /// A page could not be read, or is not what its checksum says.
    #[error("{}: {}{} (bytes from {offset}): {fault}", .path.display(), named(*.page), of_member(*.member))]
    Read {
        /// The field's file; of an array the member's.
        path: PathBuf,
        /// Which member of an array that is.
        member: Option<u32>,
        /// Page, or extent in a field of extents. In an array pages count over all members; with the highest bit set it
        /// is a page of a member's directory.
        page: u64,
        /// Where it begins in the file.
        offset: u64,
        /// Why.
        fault: Fault,
    },
    /// A page lies on a member of the array that is not there.
    #[error(
        "{}: member {member} of {members} is missing{}: name all files of the array, or accept the loss with degraded(true)",
        .path.display(), .page.map(|page| format!(", and page {page} with it")).unwrap_or_default()
    )]
    MissingMember {
        /// The array's first file.
        path: PathBuf,
        /// Which one.
        member: u32,
        /// How many the array has.
        members: u32,
        /// The page that was asked for; `None` at `open_array`.
        page: Option<u64>,
    },
    /// A file is not a member of the array that the others are of.
    #[error("{}: not of one array with {}: {what}", .path.display(), .first.display())]
    ArrayMismatch {
        /// The file.
        path: PathBuf,
        /// The first that was named.
        first: PathBuf,
        /// How they differ.
        what: String,
    },
    /// A packed field's pages are not of the engine's size.
    #[error(
        "{}: pages of {field} bytes, the engine's have {engine}: build it with page_size({field})", .path.display()
    )]
    PageSizeMismatch {
        /// The field's file.
        path: PathBuf,
        /// Bytes of its pages.
        field: u64,
        /// Bytes of the engine's.
        engine: u64,
    },
    /// Another process has the file open in a way that excludes this one.
    #[error("{}: in use by another process {holder}", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// What for.
        holder: &'static str,
    },
    /// A page could not be written.
    #[error("{}: {} (bytes from {offset}) could not be written: {fault}", .path.display(), named(*.page))]
    Write {
        /// The file.
        path: PathBuf,
        /// Page.
        page: u64,
        /// Where it begins in the file.
        offset: u64,
        /// Why.
        fault: Fault,
    },
    /// The file is not what it was at `open`.
    #[error("{}: changed while open: {what}; open it again", .path.display())]
    FileChanged {
        /// The field's file.
        path: PathBuf,
        /// What changed.
        what: String,
    },
    /// A file is not what its format requires: damaged, cut short, of another format, or made to do harm.
    #[error("{}: not a valid {format} file: byte {at}: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// Where in the file the trouble begins.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// A model asks for something that there is no code for.
    #[error("{}: {key} is `{found}`, which is not supported; supported: {supported}", .path.display())]
    Unsupported {
        /// The model's first file.
        path: PathBuf,
        /// The key of its metadata, or what of it.
        key: &'static str,
        /// Its value, or how it begins.
        found: String,
        /// The values that would do.
        supported: String,
    },
    /// A token is not in the vocabulary.
    #[error("there is no token {token}: the vocabulary has {len}")]
    NoSuchToken {
        /// The token.
        token: u32,
        /// Tokens there are.
        len: u32,
    },
    /// The device did not answer within `read_deadline`.
    #[error("{}: {} was not read within {deadline:?}", .path.display(), named(*.page))]
    TimedOut {
        /// The field's file.
        path: PathBuf,
        /// Page, or extent in a field of extents.
        page: u64,
        /// The deadline.
        deadline: Duration,
    },
    /// All preallocated places are taken: let something finish and try again.
    #[error("all {limit} {what} are in use: let some finish, then try again")]
    Busy {
        /// Of what.
        what: &'static str,
        /// How many there are.
        limit: u64,
    },
    /// The pool is too small to run a model.
    #[error(
        "a pool of {have} frames is too small to run the model: it needs {need}; raise dram_budget"
    )]
    PoolTooSmall {
        /// Frames needed.
        need: u64,
        /// Frames there are.
        have: u64,
    },
    /// A session has no room for more tokens.
    #[error("the context has room for {room} more of {positions} tokens, not {need}: raise it")]
    ContextFull {
        /// Tokens asked for.
        need: u64,
        /// Tokens there is room for.
        room: u64,
        /// Tokens of the whole context.
        positions: u64,
    },
    /// Ended because its cancel handle was used.
    #[error("cancelled")]
    Cancelled,
    /// Slices given to a kernel do not fit together.
    #[error(transparent)]
    Shape(#[from] crate::kernels::ShapeError),
    /// This process is a fork of the one that built the engine.
    #[error(
        "this process is a fork: the engine and its memory stayed with the parent; build a new engine here"
    )]
    Forked,
}

/// A unit's name.
fn named(unit: u64) -> String {
    const DIRECTORY: u64 = 1 << 63;
    match unit & DIRECTORY {
        0 => format!("page {unit}"),
        _ => format!("directory page {}", unit & ((1 << 48) - 1)),
    }
}

fn of_member(member: Option<u32>) -> String {
    member
        .map(|member| format!(", member {member} of the array"))
        .unwrap_or_default()
}

fn os(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps an I/O error of a step that has no path.
    pub(crate) fn os(what: impl Into<String>, e: &std::io::Error) -> Error {
        Error::Os {
            what: what.into(),
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}
