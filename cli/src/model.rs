//! `ringfield gguf` and `ringfield safetensors`: what is in a model file, and whether it reads right.

use serde::Serialize;

use crate::args::{Backend, ListArgs, ModelAction, VerifyArgs};
use crate::console;
use crate::engine_run;
use crate::error::{Error, Result};
use crate::size::Size;

/// Longest value of a key in the table, in characters.
const VALUE_CHARACTERS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Gguf,
    Safetensors,
}

/// Everything that `list --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    pub(crate) format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alignment: Option<u64>,
    pub(crate) files: Vec<ModelFile>,
    pub(crate) metadata: Vec<Key>,
    pub(crate) tensors: Vec<TensorRow>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ModelFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) data_offset: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Key {
    pub(crate) key: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<serde_json::Value>,
    /// Elements of an array, which is not printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) len: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TensorRow {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) shape: Vec<u64>,
    /// Index into `files`.
    pub(crate) file: usize,
    /// From the beginning of that file, in bytes.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// One backend's row of `verify`.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) backend: String,
    pub(crate) tensors: usize,
    pub(crate) bytes: u64,
    /// Of every tensor's name, a zero byte and its SHA-256, in the order of the file.
    pub(crate) sha256: String,
    /// Tensors that are not what a plain read gives.
    pub(crate) wrong: Vec<String>,
    pub(crate) bytes_read: u64,
    pub(crate) pinned_bytes: u64,
}

impl Listing {
    pub(crate) fn new(format: &'static str, version: Option<u32>, alignment: Option<u64>) -> Self {
        Listing {
            format,
            version,
            alignment,
            files: Vec::new(),
            metadata: Vec::new(),
            tensors: Vec::new(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be read or is not one; tensors that are not what a plain read gives.
pub(crate) fn run(format: Format, action: &ModelAction) -> Result<()> {
    match action {
        ModelAction::List(args) => list(format, args),
        ModelAction::Verify(args) => verify(format, args),
    }
}

fn list(format: Format, args: &ListArgs) -> Result<()> {
    let listing = engine_run::list_model(format, &args.files)?;
    if args.json {
        return console::print_json(&listing);
    }
    let bytes: u64 = listing.tensors.iter().map(|tensor| tensor.bytes).sum();
    for file in &listing.files {
        console::print(format!(
            "{}: {} bytes, tensors from byte {}",
            plain(&file.path),
            console::grouped(file.bytes as f64),
            file.data_offset
        ))?;
    }
    let version = listing
        .version
        .map(|version| format!(" version {version}"))
        .unwrap_or_default();
    let alignment = listing
        .alignment
        .map(|bytes| format!(", aligned to {bytes} bytes"))
        .unwrap_or_default();
    console::print(format!(
        "{}{version}{alignment}; {} keys; {} tensors, {} bytes\n",
        listing.format,
        listing.metadata.len(),
        listing.tensors.len(),
        console::grouped(bytes as f64)
    ))?;
    if !listing.metadata.is_empty() {
        let rows = listing.metadata.iter();
        let rows = rows.map(|key| vec![plain(&key.key), key.kind.clone(), shown(key)]);
        let table = console::table(&["key", "type", "value"], &[0, 1, 2], rows.collect());
        console::print(format!("{table}\n"))?;
    }
    let rows = listing.tensors.iter().map(|tensor| {
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        vec![
            plain(&tensor.name),
            tensor.kind.clone(),
            shape.join(" × "),
            tensor.offset.to_string(),
            tensor.bytes.to_string(),
        ]
    });
    let head = ["tensor", "type", "shape", "offset", "bytes"];
    console::print(console::table(&head, &[0, 1, 2], rows.collect()))
}

/// A value as a cell of the table.
fn shown(key: &Key) -> String {
    match (&key.value, key.len) {
        (Some(serde_json::Value::String(text)), _) => {
            let mut short: String = plain(text).chars().take(VALUE_CHARACTERS).collect();
            if plain(text).chars().count() > VALUE_CHARACTERS {
                short.push('…');
            }
            short
        }
        (Some(value), _) => value.to_string(),
        (None, Some(len)) => format!("{len} elements"),
        (None, None) => String::new(),
    }
}

/// Text of a file for a terminal: without control characters, which could be commands to it.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

fn verify(format: Format, args: &VerifyArgs) -> Result<()> {
    let mut rows: Vec<Checked> = Vec::new();
    let listing = engine_run::list_model(format, &args.files)?;
    let bytes: u64 = listing.tensors.iter().map(|tensor| tensor.bytes).sum();
    // Not `Uring`, which insists: a machine without io_uring reads models all the same.
    let backends: &[Backend] = if args.backend.is_empty() {
        &[Backend::Auto, Backend::Pread, Backend::Mmap]
    } else {
        &args.backend
    };
    let bar = console::bytes_bar(bytes * backends.len() as u64, "reading tensors");
    for &backend in backends {
        rows.push(engine_run::verify_model(format, args, backend, |bytes| {
            bar.inc(bytes);
        })?);
    }
    bar.finish_and_clear();
    let wrong: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.wrong.iter().map(String::as_str))
        .collect();
    if args.json {
        console::print_json(&rows)?;
    } else {
        let cells = rows.iter().map(|row| {
            vec![
                row.backend.clone(),
                row.tensors.to_string(),
                console::grouped(row.bytes as f64),
                Size(row.pinned_bytes).to_string(),
                row.sha256.clone(),
                if row.wrong.is_empty() {
                    "right"
                } else {
                    "WRONG"
                }
                .to_owned(),
            ]
        });
        let head = ["backend", "tensors", "bytes", "memory", "sha256", "content"];
        console::print(console::table(&head, &[0, 4, 5], cells.collect()))?;
        if args.backend.is_empty() && rows.iter().all(|row| row.backend != "io_uring") {
            console::print("\nio_uring was not granted: `ringfield doctor` says why.")?;
        }
    }
    match wrong.first() {
        None => Ok(()),
        Some(name) => Err(Error::message(format!(
            "{} tensors are not what a plain read gives, `{}` among them",
            wrong.len(),
            plain(name)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(plain("blk.0.é"), "blk.0.é");
    }
}
