//! `ringfield doctor [PATH]`: requested, granted, why not, and how to get it.

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
    let degraded = rows.iter().filter(|row| !row.why.is_empty()).count();
    let mut head = vec!["item", "requested", "granted", "why", "how to fix"];
    if degraded == 0 {
        head.truncate(3);
    }
    let columns: Vec<usize> = (0..head.len()).collect();
    let cells = rows
        .into_iter()
        .map(|row| {
            let mut cells = vec![row.item, row.requested, row.granted, row.why, row.fix];
            cells.truncate(head.len());
            cells
        })
        .collect();
    console::print(console::table(&head, &columns, cells))?;
    console::print(match degraded {
        0 => "\nEverything was granted.".to_owned(),
        1 => "\n1 item was not granted as requested.".to_owned(),
        n => format!("\n{n} items were not granted as requested."),
    })
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
        "tmpfs" | "ramfs" => ("it is memory, not a disk", "name a path on a disk"),
        "overlay" => (
            "a container's layers lie between the files and the disk",
            "mount a volume",
        ),
        "nfs" | "nfs4" | "cifs" | "9p" | "fuse" => (
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
