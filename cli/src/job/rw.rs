//! The order of reads: `rw`, the number behind its colon, and `rw_sequencer`.

use super::given::Given;
use super::{JobErrorKind, value};

/// What `rw` says.
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

/// What the number behind the colon of `rw` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// `randread:8`: a random place is drawn for every eighth read only. Above zero.
    pub(crate) run: u32,
    /// `read:4k`: bytes left out behind every read.
    pub(crate) stride: u64,
}

/// Each read a random one, or right behind the one before.
impl Default for Pattern {
    fn default() -> Self {
        Pattern { run: 1, stride: 0 }
    }
}

/// `rw`, `readwrite`.
pub(super) struct GivenRw {
    pub(super) rw: Rw,
    /// The job mixes reads with writes unless told otherwise.
    pub(super) mixed: bool,
    pub(super) pattern: Pattern,
}

impl GivenRw {
    pub(super) fn of(option: &Given) -> Result<GivenRw, JobErrorKind> {
        let text = option.text()?;
        let (kind, behind) = match text.split_once(':') {
            Some((kind, behind)) => (kind.trim(), Some(behind.trim())),
            None => (text, None),
        };
        let (rw, mixed) = match kind {
            "read" => (Rw::Read, false),
            "randread" => (Rw::RandRead, false),
            "rw" | "readwrite" => (Rw::Read, true),
            "randrw" => (Rw::RandRead, true),
            "write" | "randwrite" | "trim" | "randtrim" | "trimwrite" | "randtrimwrite" => {
                return Err(option.writes("read and randread are there"));
            }
            _ => return Err(option.not_implemented("read and randread are")),
        };
        let pattern = match behind {
            Some(behind) => pattern(option, rw, behind)?,
            None => Pattern::default(),
        };
        Ok(GivenRw { rw, mixed, pattern })
    }
}

fn pattern(option: &Given, rw: Rw, text: &str) -> Result<Pattern, JobErrorKind> {
    if text.starts_with('-') && rw == Rw::Read {
        return Err(option.not_implemented("reading forwards is"));
    }
    let mut pattern = Pattern::default();
    match rw {
        // fio takes `8k` for 8 here, and what it does not understand for 0.
        Rw::RandRead => {
            let run = text.parse().ok().filter(|&run| run > 0);
            pattern.run =
                run.ok_or_else(|| option.bad("a number of reads such as 8 was expected"))?;
        }
        Rw::Read => {
            let stride = value::bytes(text)
                .filter(|&bytes| bytes.is_multiple_of(512) && bytes <= STRIDE_MAX);
            pattern.stride = stride.ok_or_else(|| {
                option.bad("a multiple of 512 bytes such as 4k was expected, as direct I/O needs")
            })?;
        }
    }
    Ok(pattern)
}

/// Larger than any file, and far from where sums of places overflow.
const STRIDE_MAX: u64 = 1 << 60;
