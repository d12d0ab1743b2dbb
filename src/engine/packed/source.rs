//! What is to be packed: the files of a model, and what their headers say of them.

use super::index::{Entry, PLACES_MAX, SourceFormat};
use super::roles;
use super::rows::Rows;
use crate::engine::array::superblocks::is_packed;
use crate::engine::formats::gguf::Gguf;
use crate::engine::formats::safetensors::SafeTensors;
use crate::engine::{Engine, Field};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// A file to be packed.
pub(super) struct SourceFile {
    pub(super) field: Field,
    pub(super) name: String,
    pub(super) format: SourceFormat,
    pub(super) header_bytes: u64,
    /// Its tensors in the header's order; their rows lie in the file.
    pub(super) tensors: Vec<Entry>,
}

impl SourceFile {
    fn of(field: &Field, format: SourceFormat, header_bytes: u64) -> SourceFile {
        let name = field.path().file_name().unwrap_or_default();
        SourceFile {
            field: field.clone(),
            name: name.to_string_lossy().into_owned(),
            format,
            header_bytes,
            tensors: Vec::new(),
        }
    }
}

/// Opens the files of a model: one or more safetensors files, or a GGUF file, which brings the others of its set.
pub(super) fn open(engine: &Engine, paths: &[PathBuf]) -> Result<Vec<SourceFile>> {
    let mut files: Vec<SourceFile> = Vec::new();
    for path in paths {
        if is_packed(path) {
            return Err(Error::InvalidOption {
                option: "pack",
                value: path.display().to_string(),
                why: "is packed already: unpack it first".into(),
            });
        }
        let field = engine.open(path)?;
        let begins = field.read(0..field.len().min(4))?.to_vec();
        drop(field);
        let more = match begins.as_slice() {
            b"GGUF" => gguf(engine, path)?,
            _ => vec![safetensors(engine, path)?],
        };
        files.extend(more);
    }
    let Some(first) = files.first() else {
        return Err(Error::InvalidOption {
            option: "pack",
            value: "no file".into(),
            why: "a model has at least one".into(),
        });
    };
    let format = first.format;
    if let Some(other) = files.iter().find(|file| file.format != format) {
        return Err(Error::InvalidOption {
            option: "pack",
            value: other.name.clone(),
            why: format!("is a {} file, and the first one is {format}", other.format),
        });
    }
    if format == SourceFormat::Gguf && paths.len() > 1 {
        return Err(Error::InvalidOption {
            option: "pack",
            value: format!("{} files", paths.len()),
            why: "name one file of a GGUF model; the others of its set are found by its name"
                .into(),
        });
    }
    for (k, file) in files.iter().enumerate() {
        if files[..k].iter().any(|other| other.name == file.name) {
            return Err(Error::InvalidOption {
                option: "pack",
                value: file.name.clone(),
                why: "two files of this name, of which unpacking could write one only".into(),
            });
        }
    }
    Ok(files)
}

fn gguf(engine: &Engine, path: &PathBuf) -> Result<Vec<SourceFile>> {
    let model = Gguf::open(engine, path)?;
    let mut files: Vec<SourceFile> = model
        .fields()
        .zip(model.header_ends())
        .map(|(field, end)| SourceFile::of(field, SourceFormat::Gguf, end))
        .collect();
    for tensor in model.tensors() {
        let tensor = tensor?;
        let kind = tensor.kind();
        let row_bytes = tensor.row_bytes();
        let number = files
            .iter()
            .position(|file| file.field.path() == tensor.field().path())
            .unwrap_or(0);
        let at = tensor.range().start;
        let dims = tensor.shape().to_vec();
        let outermost = dims.last().copied();
        let mut entry = entry(
            tensor.name(),
            at,
            row_bytes,
            tensor.rows(),
            &dims,
            outermost,
        );
        entry.kind = kind.code();
        entry.dims = dims;
        if let Some(file) = files.get_mut(number) {
            file.tensors.push(entry);
        }
    }
    Ok(files)
}

/// File `number` of the model.
fn safetensors(engine: &Engine, path: &PathBuf) -> Result<SourceFile> {
    let model = SafeTensors::open(engine, path)?;
    let mut file = SourceFile::of(
        model.field(),
        SourceFormat::SafeTensors,
        model.data_offset(),
    );
    for tensor in model.tensors() {
        let tensor = tensor?;
        let row_bytes = tensor.row_bytes();
        let rows = tensor.bytes().checked_div(row_bytes).unwrap_or(0);
        let dims = tensor.shape().to_vec();
        let outermost = dims.first().copied();
        let at = tensor.range().start;
        let mut entry = entry(tensor.name(), at, row_bytes, rows, &dims, outermost);
        entry.kind = tensor.dtype().code();
        entry.dims = dims;
        file.tensors.push(entry);
    }
    Ok(file)
}

/// A tensor in its file, whose number it gets later. One that holds a part of each expert of a layer is cut into them:
/// they are its `outermost` dimension.
fn entry(
    name: &str,
    at: u64,
    row_bytes: u64,
    rows: u64,
    dims: &[u64],
    outermost: Option<u64>,
) -> Entry {
    let named = roles::read(name);
    let mut lies = Rows::contiguous(at, row_bytes, rows);
    // A matrix can be a layer's in many ways; its biases and scales have a row for each expert. No model has more of them
    // than there can be places.
    let of_each = dims.len() > 2 || dims.len() == 2 && roles::is_beside_weights(name);
    if let Some(experts) = outermost
        && of_each
        && named.role.is_expert()
        && named.expert.is_none()
        && rows > 0
        && (1..=PLACES_MAX).contains(&experts)
        && rows.is_multiple_of(experts)
    {
        lies.piece_rows = rows / experts;
    }
    Entry {
        name: name.to_owned(),
        file: 0,
        role: Some(named.role),
        kind: 0,
        dims: Vec::new(),
        layer: named.layer,
        expert: named.expert,
        source_at: at,
        rows: lies,
        places_at: None,
    }
}
