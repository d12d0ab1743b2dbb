//! `ringfield unpack`: the files that were packed, byte for byte.

use serde::Serialize;

use crate::args::UnpackArgs;
use crate::console;
use crate::engine_run;
use crate::error::Result;
use crate::model::plain;
use crate::size::Size;

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Unpacked {
    pub(crate) files: Vec<String>,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) bw_bytes: f64,
}

/// Runs the command.
///
/// # Errors
/// A field that is damaged or not all there, files that are there already or cannot be written, an interrupt: the file
/// that was being written is not there then.
pub(crate) fn run(args: &UnpackArgs) -> Result<()> {
    let bar = console::bytes_bar(0, "unpacking");
    let unpacked = engine_run::unpack(args, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let unpacked = unpacked?;
    if args.json {
        return console::print_json(&unpacked);
    }
    for file in &unpacked.files {
        console::print(plain(file))?;
    }
    console::print(format!(
        "{} in {:.1} s, {} MB/s; every page was compared with its checksum",
        Size(unpacked.bytes),
        unpacked.seconds,
        console::grouped(unpacked.bw_bytes / 1e6)
    ))
}
