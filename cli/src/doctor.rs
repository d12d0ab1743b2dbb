//! `ringfield doctor [PATH]`: requested, granted, why not, and how to get it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::args::DoctorArgs;
use crate::console;
use crate::engine_run;
use crate::error::Result;

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

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    rows: Vec<Item>,
}

/// Runs the command.
///
/// # Errors
/// A path that cannot be examined.
pub(crate) fn run(args: &DoctorArgs) -> Result<()> {
    let rows = engine_run::doctor(&args.path)?;
    if args.json {
        return console::print_json(&Report {
            path: args.path.clone(),
            rows,
        });
    }
    let degraded = rows.iter().filter(|row| !row.why.is_empty()).count();
    let cells = rows
        .into_iter()
        .map(|row| vec![row.item, row.requested, row.granted, row.why, row.fix])
        .collect();
    let head = ["item", "requested", "granted", "why", "how to fix"];
    console::print(console::table(&head, &[0, 1, 2, 3, 4], cells))?;
    console::print(match degraded {
        0 => "\nEverything was granted.".to_owned(),
        1 => "\n1 item was not granted as requested.".to_owned(),
        n => format!("\n{n} items were not granted as requested."),
    })
}
