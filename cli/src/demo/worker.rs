//! One measurement in a process of its own: its memory can be limited, and counts for nobody else.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::bench::round::LatUs;
use crate::console;
use crate::content::Content;
use crate::doctor::Item;
use crate::engine_run;
use crate::error::{Context, Result};
use crate::os;
use crate::size::Size;

use super::rivals;
use super::tally::Tally;
use super::workload::Workload;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reader {
    Engine,
    Mmap,
    Pread,
}

impl Reader {
    pub(crate) const ALL: [Reader; 3] = [Reader::Engine, Reader::Mmap, Reader::Pread];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Reader::Engine => "engine",
            Reader::Mmap => "mmap",
            Reader::Pread => "pread",
        }
    }
}

/// What the demo tells a worker; digests of the file come on standard input, nothing means the
/// pattern of a file that the demo made.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[arg(long)]
    pub(crate) file: PathBuf,
    #[arg(long, value_enum)]
    pub(crate) reader: Reader,
    #[arg(long, value_enum)]
    pub(crate) workload: Workload,
    /// Where the part of the file that takes part begins
    #[arg(long)]
    pub(crate) begin: Size,
    /// Size of the pages of a packed field
    #[arg(long)]
    pub(crate) packed: Option<Size>,
    /// Bytes of the file that take part
    #[arg(long)]
    pub(crate) region: Size,
    #[arg(long)]
    pub(crate) budget: Size,
    #[arg(long)]
    pub(crate) time_ms: u64,
    /// The control group to enter
    #[arg(long)]
    pub(crate) entrance: Option<PathBuf>,
}

/// What a worker found out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    pub(crate) wrong: u64,
    pub(crate) elapsed_s: f64,
    pub(crate) lat_us: LatUs,
    pub(crate) peak_resident_bytes: u64,
    /// How the reads were made: a backend, or the advice given.
    pub(crate) how: String,
    /// What the engine was granted; empty for its rivals.
    pub(crate) items: Vec<Item>,
}

/// Runs one measurement and prints its [`Outcome`].
///
/// # Errors
/// A file that cannot be read, or an engine that failed.
pub(crate) fn run(args: &WorkerArgs) -> Result<()> {
    os::die_with_parent();
    if let Some(entrance) = &args.entrance {
        fs::write(entrance, "0").at("cannot enter", entrance)?;
    }
    let mut digests = Vec::new();
    io::stdin()
        .read_to_end(&mut digests)
        .doing("cannot read the digests")?;
    let content = Content::from_bytes(&digests);
    drop(digests);
    let longest = Duration::from_millis(args.time_ms);
    let mut tally = Tally::new(args.workload, args.region.0, content, longest)?;
    let rival = |how: Result<&str>| how.map(|how| (how.to_owned(), Vec::new()));
    let (how, items) = match args.reader {
        Reader::Engine => {
            let page_bytes = args.packed.map(|size| size.0);
            engine_run::demo(&args.file, page_bytes, args.budget.0, &mut tally)
        }
        Reader::Mmap => rival(rivals::mmap(&args.file, args.begin.0, &mut tally)),
        Reader::Pread => rival(rivals::pread(&args.file, args.begin.0, &mut tally)),
    }?;
    let elapsed_s = tally.elapsed().as_secs_f64();
    console::print_json(&Outcome {
        reads: tally.reads,
        bytes: tally.bytes,
        wrong: tally.wrong,
        elapsed_s,
        lat_us: tally.lat_us(),
        peak_resident_bytes: os::peak_resident_bytes(),
        how,
        items,
    })
}
