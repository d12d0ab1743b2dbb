//! `ringfield verify`: is every byte of a packed field what it should be?

use serde::Serialize;

use crate::args::VerifyFieldArgs;
use crate::console;
use crate::engine_run;
use crate::error::{Error, Result};
use crate::model::plain;
use crate::size::Size;

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Verification {
    pub(crate) files: Vec<String>,
    /// Pages that were compared with their checksums.
    pub(crate) pages: u64,
    /// Bytes of the files.
    pub(crate) bytes: u64,
    /// Nothing is damaged.
    pub(crate) whole: bool,
    /// All damages; of very many, `damages` has the first ones only.
    pub(crate) damage_count: u64,
    pub(crate) damages: Vec<Damage>,
    /// What was damaged and is whole again.
    pub(crate) repaired: Vec<String>,
    /// Members that were not named, and not looked at.
    pub(crate) missing: Vec<u32>,
    pub(crate) seconds: f64,
    pub(crate) bw_bytes: f64,
}

/// A place that is not as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Damage {
    pub(crate) file: String,
    /// Of the field, over all members; `None` for what is no page.
    pub(crate) page: Option<u64>,
    pub(crate) member: u32,
    /// In the file, in bytes.
    pub(crate) offset: u64,
    pub(crate) cause: String,
}

/// Runs the command.
///
/// # Errors
/// A field that is damaged, or cannot be read at all; an interrupt.
pub(crate) fn run(args: &VerifyFieldArgs) -> Result<()> {
    let bar = console::bytes_bar(0, "verifying");
    let verification = engine_run::verify(args, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let verification = verification?;
    if args.json {
        console::print_json(&verification)?;
    } else {
        console::print(report(&verification))?;
    }
    match verification.damage_count {
        0 => Ok(()),
        1 => Err(Error::message(format!(
            "the field is damaged in 1 place{}",
            hint(args)
        ))),
        damages => Err(Error::message(format!(
            "the field is damaged in {damages} places{}",
            hint(args)
        ))),
    }
}

/// What can be done about it, where something was not tried yet.
fn hint(args: &VerifyFieldArgs) -> &'static str {
    match args.repair {
        true => "",
        false => {
            "; --repair writes a damaged superblock anew, pages come back from their source only"
        }
    }
}

fn report(verification: &Verification) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(
        verification
            .repaired
            .iter()
            .map(|what| format!("repaired: {}", plain(what))),
    );
    lines.extend(verification.damages.iter().map(line));
    let more = verification.damage_count - verification.damages.len() as u64;
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.extend(
        verification
            .missing
            .iter()
            .map(|member| format!("not looked at: member {member}, whose file was not named")),
    );
    let found = match verification.whole {
        true => "all whole",
        false => "DAMAGED",
    };
    lines.push(format!(
        "{found}: {} pages, {} of files in {:.1} s, {} MB/s",
        verification.pages,
        Size(verification.bytes),
        verification.seconds,
        console::grouped(verification.bw_bytes / 1e6)
    ));
    lines.join("\n")
}

fn line(damage: &Damage) -> String {
    let page = damage
        .page
        .map(|page| format!("page {page}, "))
        .unwrap_or_default();
    format!(
        "{}: {page}member {}, byte {}: {}",
        plain(&damage.file),
        damage.member,
        damage.offset,
        plain(&damage.cause)
    )
}
