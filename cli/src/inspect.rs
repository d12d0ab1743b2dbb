//! `ringfield inspect`: what a packed field says of itself.

use serde::Serialize;

use crate::args::InspectArgs;
use crate::console;
use crate::engine_run;
use crate::error::Result;
use crate::model::plain;
use crate::size::Size;

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Inspected {
    /// Which array: 32 hexadecimal digits.
    pub(crate) array: String,
    pub(crate) generation: u64,
    pub(crate) creator: String,
    /// Bytes of all members' pages together.
    pub(crate) bytes: u64,
    pub(crate) page_bytes: u64,
    pub(crate) pages: u64,
    pub(crate) members: u32,
    /// The members that were named.
    pub(crate) files: Vec<Facts>,
    /// Those that were not: then nobody can say what was packed.
    pub(crate) missing: Vec<u32>,
    pub(crate) packed: Vec<Original>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tensors: Option<Vec<Place>>,
}

/// A member.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) path: String,
    pub(crate) member: u32,
    pub(crate) pages: u64,
    pub(crate) directory_pages: u64,
    pub(crate) directory_levels: u32,
    /// Where the pages begin in the file.
    pub(crate) data_at: u64,
    pub(crate) bytes: u64,
    /// What is wrong with one of the two superblocks.
    pub(crate) damaged: Option<String>,
}

/// A file that was packed.
#[derive(Debug, Serialize)]
pub(crate) struct Original {
    pub(crate) name: String,
    pub(crate) format: String,
    pub(crate) bytes: u64,
    pub(crate) tensors: u32,
}

/// A tensor, and where it lies.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// Index into `packed`.
    pub(crate) file: u32,
    pub(crate) role: String,
    pub(crate) layer: Option<u32>,
    /// Experts that it holds a part of each of.
    pub(crate) experts: u64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: u64,
    /// Its first byte, in the field.
    pub(crate) start: u64,
}

/// Runs the command.
///
/// # Errors
/// A file that is no packed field, or files that are not of one.
pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let inspected = engine_run::inspect(args)?;
    if args.json {
        return console::print_json(&inspected);
    }
    console::print(format!(
        "array {}, generation {}, made by {}\n{} pages of {}, {}\n\n{}\n",
        inspected.array,
        inspected.generation,
        plain(&inspected.creator),
        inspected.pages,
        Size(inspected.page_bytes),
        Size(inspected.bytes),
        members(&inspected)
    ))?;
    if !inspected.missing.is_empty() {
        let missing: Vec<String> = inspected.missing.iter().map(u32::to_string).collect();
        return console::print(format!(
            "what was packed cannot be told: of {} members, these were not named: {}",
            inspected.members,
            missing.join(", ")
        ));
    }
    console::print(packed(&inspected))?;
    match &inspected.tensors {
        Some(tensors) => console::print(format!("\n{}", table(&inspected, tensors))),
        None => Ok(()),
    }
}

fn members(inspected: &Inspected) -> String {
    let rows = inspected.files.iter().map(|file| {
        vec![
            plain(&file.path),
            format!("{} of {}", file.member, inspected.members),
            file.pages.to_string(),
            format!(
                "{} in {}",
                file.directory_pages,
                levels(file.directory_levels)
            ),
            file.data_at.to_string(),
            console::grouped(file.bytes as f64),
            file.damaged
                .as_deref()
                .map_or_else(|| "both whole".to_owned(), plain),
        ]
    });
    let head = [
        "file",
        "member",
        "pages",
        "directory pages",
        "pages from byte",
        "bytes",
        "superblocks",
    ];
    console::table(&head, &[0, 1, 6], rows.collect()).to_string()
}

fn levels(levels: u32) -> String {
    match levels {
        1 => "1 level".to_owned(),
        levels => format!("{levels} levels"),
    }
}

fn packed(inspected: &Inspected) -> String {
    let rows = inspected.packed.iter().map(|file| {
        vec![
            plain(&file.name),
            file.format.clone(),
            file.tensors.to_string(),
            console::grouped(file.bytes as f64),
        ]
    });
    console::table(
        &["packed", "format", "tensors", "bytes"],
        &[0, 1],
        rows.collect(),
    )
    .to_string()
}

fn table(inspected: &Inspected, tensors: &[Place]) -> String {
    let rows = tensors.iter().map(|tensor| {
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        vec![
            plain(&tensor.name),
            tensor.role.clone(),
            tensor
                .layer
                .map(|layer| layer.to_string())
                .unwrap_or_default(),
            tensor.kind.clone(),
            shape.join(" × "),
            match tensor.experts {
                1 => String::new(),
                experts => experts.to_string(),
            },
            tensor.bytes.to_string(),
            tensor.start.to_string(),
            (tensor.start / inspected.page_bytes.max(1)).to_string(),
        ]
    });
    let head = [
        "tensor",
        "role",
        "layer",
        "type",
        "shape",
        "experts",
        "bytes",
        "from byte",
        "page",
    ];
    console::table(&head, &[0, 1, 3, 4], rows.collect()).to_string()
}
