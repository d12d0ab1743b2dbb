//! Why a read of one slot did not deliver its bytes, or a write did not store them, in a form small enough to be kept in
//! a frame.

use std::fmt;

/// The cause of a failed read or write of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The kernel or the device answered this errno, after the bounded retries where it is a transient one.
    Os(i32),
    /// The file ended before the page did: this many bytes of the page were there. It was truncated after `open`.
    Short(u32),
    /// The file has more bytes where it ended at `open`: it was appended to or replaced.
    Grew,
    /// The engine is shutting down.
    Shutdown,
    /// The submission loop of the device failed (a panic inside it) and serves no more requests.
    LoopFailed,
    /// The field was closed before this prefetch was issued.
    Closed,
    /// The page is not what its checksum says, twice: damaged, misdirected, or of another time.
    Checksum,
    /// The directory page with this page's checksum could not be read.
    Directory,
    /// The device took this many bytes of a page that was written, and then none, however often it was asked; no error
    /// said why.
    Partial(u32),
    /// A page to be written is in the pool already: a page is written once, before anybody reads it.
    Present,
}

impl Fault {
    /// Packs the cause into a word (kind in the high half, value in the low half).
    pub(crate) fn encode(self) -> u64 {
        let (kind, value) = match self {
            Fault::Os(errno) => (1u64, errno as u32),
            Fault::Short(got) => (2, got),
            Fault::Grew => (3, 0),
            Fault::Shutdown => (4, 0),
            Fault::LoopFailed => (5, 0),
            Fault::Closed => (6, 0),
            Fault::Checksum => (7, 0),
            Fault::Directory => (8, 0),
            Fault::Partial(taken) => (9, taken),
            Fault::Present => (10, 0),
        };
        kind << 32 | u64::from(value)
    }

    /// The inverse of [`Fault::encode`].
    pub(crate) fn decode(word: u64) -> Fault {
        let value = word as u32;
        match word >> 32 {
            2 => Fault::Short(value),
            3 => Fault::Grew,
            4 => Fault::Shutdown,
            5 => Fault::LoopFailed,
            6 => Fault::Closed,
            7 => Fault::Checksum,
            8 => Fault::Directory,
            9 => Fault::Partial(value),
            10 => Fault::Present,
            _ => Fault::Os(value as i32),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Os(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
            Fault::Short(got) => write!(
                f,
                "the file ended after {got} bytes of this page: it was truncated while open"
            ),
            Fault::Grew => write!(f, "the file is longer than when it was opened"),
            Fault::Shutdown => write!(f, "the engine is shutting down"),
            Fault::LoopFailed => write!(
                f,
                "the submission loop of this device failed; build a new engine"
            ),
            Fault::Closed => write!(f, "the field was closed"),
            Fault::Checksum => write!(
                f,
                "not what its checksum says, read twice: damaged, misdirected or stale; restore the file from its source"
            ),
            Fault::Directory => write!(f, "the directory page with its checksum cannot be read"),
            Fault::Partial(taken) => write!(
                f,
                "the device took {taken} bytes of this page and no more, without an error"
            ),
            Fault::Present => write!(f, "the page is in the pool already, read or written before"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Fault;

    #[test]
    fn every_fault_survives_packing() {
        for fault in [
            Fault::Os(libc::EIO),
            Fault::Os(i32::MAX),
            Fault::Short(511),
            Fault::Grew,
            Fault::Shutdown,
            Fault::LoopFailed,
            Fault::Closed,
            Fault::Checksum,
            Fault::Directory,
            Fault::Partial(512),
            Fault::Present,
        ] {
            assert_eq!(Fault::decode(fault.encode()), fault);
        }
    }
}
