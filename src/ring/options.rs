//! What a host may ask of the rings.

/// Which backend to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BackendKind {
    /// io_uring, or `preadv` where it is refused. The default.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// `preadv` from a few threads.
    Pread,
    /// Copies out of a bounded mapping of the file, from a few threads: through the page cache, without direct I/O.
    /// For comparison, and for file systems whose page cache is all there is. Never chosen by `Auto`.
    Mmap,
}

/// How completions are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Poll {
    /// The device interrupts. The default.
    #[default]
    Interrupt,
    /// The loop sleeps through about half of the time that a read is expected to take and polls the device for the rest
    /// (`IORING_SETUP_HYBRID_IOPOLL`, Linux 6.13): nearly the latency of [`Poll::IoPoll`] for about half of its processor
    /// time. Falls back to that, visibly.
    Hybrid,
    /// The loop polls the device (`IORING_SETUP_IOPOLL`): lowest latency, one processor in use while reads are in flight.
    /// Needs a device with poll queues; falls back to interrupts, visibly.
    IoPoll,
}
