//! `ringfield pack`: a model rewritten into a packed field.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use ringfield::PackedInfo;
use serde::Serialize;

use crate::args::PackArgs;
use crate::console;
use crate::engine_run;
use crate::error::{Error, Result};
use crate::routing::ExpertOrder;
use crate::size::Size;

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Packing {
    pub(crate) files: Vec<String>,
    pub(crate) tensors: u64,
    /// Bytes of the model's files.
    pub(crate) source_bytes: u64,
    /// Bytes of the field's files together.
    pub(crate) packed_bytes: u64,
    /// Of these, bytes that belong to nothing, at the ends of pages.
    pub(crate) padding_bytes: u64,
    pub(crate) hole_bytes: u64,
    /// Of these, directories with checksums, and superblocks.
    pub(crate) checksum_bytes: u64,
    pub(crate) page_bytes: u64,
    pub(crate) pages: u64,
    /// Layers whose experts lie in the order of the routing log.
    pub(crate) ordered_layers: usize,
    pub(crate) seconds: f64,
    /// Bytes of the model that were packed in a second.
    pub(crate) bw_bytes: f64,
}

/// Runs the command.
///
/// # Errors
/// A model or a routing log that cannot be read, files that are there already or cannot be written, an interrupt:
/// nothing is left then.
pub(crate) fn run(args: &PackArgs) -> Result<()> {
    check(args)?;
    let order = match &args.routing {
        Some(path) => ExpertOrder::read(path)?,
        None => ExpertOrder::none(),
    };
    let bar = console::bytes_bar(0, "packing");
    let packing = engine_run::pack(args, &order, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let packing = packing?;
    if args.json {
        return console::print_json(&packing);
    }
    console::print(summary(args, &packing))
}

fn check(args: &PackArgs) -> Result<()> {
    let mut names = HashSet::new();
    for path in &args.model {
        if PackedInfo::is_packed(path) {
            return Err(Error::message(format!(
                "{0} is a packed field already: `ringfield unpack {0}` gives back what was packed",
                path.display()
            )));
        }
        if !names.insert(path.file_name()) {
            return Err(Error::message(format!(
                "{}: another file to be packed has this name too, and they are unpacked by their names",
                path.display()
            )));
        }
    }
    let mut places = HashSet::new();
    for path in &args.out {
        if !places.insert(place(path)) {
            return Err(Error::message(format!(
                "--out {}: is named twice: each member of a field is a file of its own",
                path.display()
            )));
        }
        if !args.replace && path.symlink_metadata().is_ok() {
            return Err(Error::message(format!(
                "--out {}: is there already: name another file, or give --replace",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Where a file will be, however its directory is spelled.
fn place(path: &Path) -> PathBuf {
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    dir.join(path.file_name().unwrap_or_default())
}

fn summary(args: &PackArgs, packing: &Packing) -> String {
    let of_all = |bytes: u64| 100.0 * bytes as f64 / packing.packed_bytes.max(1) as f64;
    let members = match packing.files.len() {
        1 => "1 file".to_owned(),
        members => format!("{members} files"),
    };
    let ordered = match (&args.routing, packing.ordered_layers) {
        (None, _) => String::new(),
        (Some(_), 1) => "\nthe experts of 1 layer lie as they fire together".to_owned(),
        (Some(_), layers) => format!("\nthe experts of {layers} layers lie as they fire together"),
    };
    format!(
        "{} tensors, {}, packed into {members} of {} together\n\
         {} pages of {}: padding {:.1} %, checksums {:.1} %; holes of the files: {:.1} %{ordered}\n\
         {:.1} s, {} MB/s\n\n\
         Next:\n  {}\n  ringfield verify {}",
        packing.tensors,
        Size(packing.source_bytes),
        Size(packing.packed_bytes),
        packing.pages,
        Size(packing.page_bytes),
        of_all(packing.padding_bytes),
        of_all(packing.checksum_bytes),
        of_all(packing.hole_bytes),
        packing.seconds,
        console::grouped(packing.bw_bytes / 1e6),
        next(args),
        packing.files.join(" "),
    )
}

/// The command that uses the field.
fn next(args: &PackArgs) -> String {
    let mut files = args.out.iter().map(|path| path.display().to_string());
    let first = files.next().unwrap_or_default();
    let members: String = files.map(|file| format!(" --member {file}")).collect();
    let is_gguf = args.model.first().is_some_and(|path| begins_as_gguf(path));
    match is_gguf {
        true => format!("ringfield run {first}{members} -p \"Once upon a time\""),
        false => format!("ringfield safetensors list {first}{members}"),
    }
}

fn begins_as_gguf(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && &magic == b"GGUF"
}
