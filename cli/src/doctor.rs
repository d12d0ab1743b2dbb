//! `ringfield doctor [PATH]`: requested, granted, why not, and how to get it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::args::DoctorArgs;
use crate::cgroup;
use crate::console;
use crate::engine_run;
use crate::error::{Context, Result};
use crate::size::Size;

/// One thing the engine asks of the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) item: String,
    pub(crate) requested: String,
    pub(crate) granted: String,
    /// Why less was granted than requested; empty where it was not less.
    pub(crate) why: String,
    pub(crate) fix: String,
}

impl Item {
    /// What is asked for, without the device or file it is asked of.
    pub(crate) fn name(&self) -> &str {
        self.item.rsplit(": ").next().unwrap_or(&self.item)
    }
}

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    path: String,
    rows: Vec<Item>,
}

/// Runs the command.
///
/// # Errors
/// A path that cannot be examined.
pub(crate) fn run(args: &DoctorArgs) -> Result<()> {
    let path = fs::canonicalize(&args.path).at("cannot find", &args.path)?;
    let mut rows = vec![file_system(&path), memory_limit()];
    rows.extend(engine_run::doctor(&args.path)?);
    if args.json {
        return console::print_json(&Report {
            path: path.display().to_string(),
            rows,
        });
    }
    console::print(for_people(&path, &rows))
}

/// A table of all rows, those with less than requested marked, and below it why and how to fix each of these: the
/// lines to read and the commands to copy stay whole at any width.
fn for_people(path: &Path, rows: &[Item]) -> String {
    let mark = |row: &Item| if row.why.is_empty() { "" } else { "!" };
    // All rows are of one path and one device: neither is repeated in each.
    let cells = rows.iter().map(|row| {
        let (name, requested) = (row.name().to_owned(), row.requested.clone());
        vec![mark(row).to_owned(), name, requested, row.granted.clone()]
    });
    let head = ["", "item", "requested", "granted"];
    let table = console::table(&head, &[0, 1, 2, 3], cells.collect());
    let mut text = format!("{}\n\n{table}\n\n", path.display());
    let degraded: Vec<&Item> = rows.iter().filter(|row| !row.why.is_empty()).collect();
    for row in &degraded {
        let (name, granted) = (row.name(), &row.granted);
        let (why, fix) = (&row.why, &row.fix);
        let _ = writeln!(
            text,
            "! {name}: {granted}\n    why:        {why}\n    how to fix: {fix}\n"
        );
    }
    text + &match degraded.len() {
        0 => "Everything was granted.".to_owned(),
        1 => format!(
            "1 of {} items was not granted as requested. Reads work all the same.",
            rows.len()
        ),
        n => format!(
            "{n} of {} items were not granted as requested. Reads work all the same.",
            rows.len()
        ),
    }
}

/// What `path` lies on, by the longest mount point above it.
fn file_system(path: &Path) -> Item {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (source, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
            // Blanks in a mount point are written as octal numbers.
            let at = at.replace("\\040", " ");
            path.starts_with(&at).then_some((at.len(), source, kind))
        })
        // Of two at one place the later one hides the earlier one.
        .max_by_key(|(len, ..)| *len);
    let (granted, kind) = mount.map_or_else(
        || ("unknown".to_owned(), ""),
        |(_, source, kind)| (format!("{kind} on {source}"), kind),
    );
    let (why, fix) = match kind {
        "tmpfs" | "ramfs" => (
            "it is memory, not a disk",
            "put the models on a disk, and name that path",
        ),
        "overlay" => (
            "a container's layers lie between the files and the disk",
            "mount a volume of the host's disk (`docker run -v /DISK/MODELS:/MODELS`) and put the models there",
        ),
        kind if is_remote(kind) => (
            "the disk is behind a network or another process",
            "copy the models to a local disk",
        ),
        _ => ("", ""),
    };
    Item {
        item: "file system".into(),
        requested: "a local disk".into(),
        granted,
        why: why.into(),
        fix: fix.into(),
    }
}

/// Whether files are fetched from a server or another process. A `fuseblk` is a local disk.
fn is_remote(kind: &str) -> bool {
    matches!(
        kind,
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "virtiofs" | "fuse"
    ) || kind.starts_with("fuse.")
}

/// Nothing is asked for: a budget must stay below it.
fn memory_limit() -> Item {
    let granted = match cgroup::memory_limit() {
        Some(bytes) => format!("{} for this control group", Size(bytes)),
        None => "none but the machine's".to_owned(),
    };
    Item {
        item: "memory limit".into(),
        requested: String::new(),
        granted,
        why: String::new(),
        fix: String::new(),
    }
}
