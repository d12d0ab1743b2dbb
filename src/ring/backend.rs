//! The seam between the submission loop, which decides what to read or write and what to make of the answer, and
//! whatever moves the bytes: an io_uring, threads that call `preadv` and `pwritev`, or a simulated disk.

use crate::ring::wake::WakeWord;
use std::io;
use std::os::fd::BorrowedFd;

/// A stretch of arena memory that a read fills, or a write takes its bytes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// First byte; inside the arena, aligned to a frame or to the file's alignment within one.
    pub(crate) ptr: *mut u8,
    /// Bytes.
    pub(crate) len: u32,
}

/// One read or write for the backend to issue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer<'a> {
    /// Handed back with the completion; below the queue depth, and unique among the transfers in flight.
    pub(crate) token: u32,
    /// Index given to [`Backend::add_file`].
    pub(crate) file: u32,
    /// Offset in the file, in bytes.
    pub(crate) offset: u64,
    /// Where the bytes go, or come from, in order; at least one, at most [`SEGMENTS_MAX`].
    pub(crate) segments: &'a [Segment],
    /// The segments are written to the file rather than filled from it.
    pub(crate) write: bool,
}

/// Segments in one vectored transfer. Bounds the memory a ring keeps for its vectors (1 KiB a transfer in flight).
pub(crate) const SEGMENTS_MAX: usize = 64;

/// A finished transfer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) token: u32,
    /// Bytes read or written, or a negative errno.
    pub(crate) result: i32,
}

/// How long [`Backend::submit`] may sleep.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until a transfer completes, the wake word is released, or `until_ns` of [`Backend::now_ns`].
    ///
    /// Where the backend can, it waits for `count` completions, but after `batch_us` one is enough.
    Until {
        count: u32,
        batch_us: u32,
        until_ns: Option<u64>,
    },
}

/// Moves bytes. All methods are called by the one thread of the submission loop.
pub(crate) trait Backend {
    /// Makes `file` known under `index`.
    fn add_file(&mut self, index: u32, file: BorrowedFd<'_>) -> io::Result<()>;
    /// Forgets `index`; nothing of it is in flight.
    fn remove_file(&mut self, index: u32);
    /// True where one transfer may have several segments.
    fn vectored(&self) -> bool;
    /// True where two addresses can be reached by one transfer (they lie in one registered buffer).
    fn same_buffer(&self, a: *mut u8, b: *mut u8) -> bool;
    /// Prepares a transfer. The segments' memory belongs to the backend until the completion is reaped; that of a write
    /// keeps its bytes until then.
    fn stage(&mut self, transfer: Transfer<'_>);
    /// Hands everything staged over, then sleeps as `wait` says. An error is one of the backend itself, not of a
    /// transfer.
    fn submit(&mut self, wait: Wait, wake: &WakeWord) -> io::Result<()>;
    /// Delivers what has completed.
    fn reap(&mut self, each: &mut dyn FnMut(Completion));
    /// The clock of this backend, in nanoseconds.
    fn now_ns(&self) -> u64;
    /// Reads that went through a registered buffer.
    fn fixed_reads(&self) -> u64 {
        0
    }
    /// Asks the backend to give up what is in flight; the completions still arrive, if ever.
    fn cancel_all(&mut self) {}
}
