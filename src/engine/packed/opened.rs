//! A packed field that is open, and what its index says.

use super::index::{Entry, FileRecord, Index, SourceFormat};
use super::roles::TensorRole;
use crate::engine::array::FORMAT;
use crate::engine::formats::gguf::TensorType;
use crate::engine::formats::part::Part;
use crate::engine::formats::safetensors::Dtype;
use crate::engine::{ArrayOptions, Engine, Field};
use crate::error::{Error, Result};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A packed field that is open: the files that were packed, and where their tensors lie.
///
/// [`crate::Gguf::open`], [`crate::SafeTensors::open`] and [`crate::Model::open`] take packed fields as they take the files
/// that were packed; this is for who wants to see what there is, or to have the files back ([`PackedField::unpack`]).
#[derive(Debug, Clone)]
pub struct PackedField {
    field: Field,
    pub(super) index: Arc<Index<Part>>,
}

/// A file that was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackedFile {
    /// Its name, without a path.
    pub name: String,
    /// What it is.
    pub format: SourceFormat,
    /// Its bytes.
    pub bytes: u64,
    /// Its tensors.
    pub tensors: u32,
}

/// A tensor of a packed field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackedTensor {
    /// Its name.
    pub name: String,
    /// Which of the files it is of.
    pub file: u32,
    /// What it is for, as its name says.
    pub role: TensorRole,
    /// The layer.
    pub layer: Option<u32>,
    /// Elements along each dimension, in the order of its format.
    pub shape: Vec<u64>,
    /// The name of its type, as its format has it.
    pub kind: String,
    /// Bytes of its rows.
    pub bytes: u64,
    /// Bytes of a row.
    pub row_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// How many experts it holds the part of; 1 where it is of no expert, or of one.
    pub experts: u64,
    /// First byte in the field.
    pub start: u64,
}

impl PackedField {
    /// Opens the packed field in these files; see [`Engine::open_array`].
    ///
    /// # Errors
    /// Those of [`Engine::open_array`]; [`Error::Malformed`] where the field holds no tensors, or its index is not what it
    /// should be.
    pub fn open<P: AsRef<Path>>(
        engine: &Engine,
        files: impl IntoIterator<Item = P>,
    ) -> Result<PackedField> {
        PackedField::of(engine.open_array_with(files, ArrayOptions::new())?)
    }

    /// The packed field that was opened as an array.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it holds no tensors, or its index is not what it should be.
    pub fn of(field: Field) -> Result<PackedField> {
        let array = field
            .shared
            .array
            .as_deref()
            .filter(|array| !array.index.is_empty());
        let Some(array) = array else {
            return Err(Error::Malformed {
                path: field.path().to_path_buf(),
                format: FORMAT,
                at: 0,
                what: "holds no tensors".into(),
            });
        };
        let (index, page_bytes) = (array.index.clone(), array.page_bytes);
        let len = index.end - index.start;
        let part = Part {
            field: field.clone(),
            base: index.start,
            held: len,
            len,
        };
        Ok(PackedField {
            index: Arc::new(Index::open(part, field.len(), page_bytes)?),
            field,
        })
    }

    /// Its bytes.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// The files that were packed.
    ///
    /// # Errors
    /// [`Error::Malformed`], and those of [`Field::read`].
    pub fn files(&self) -> Result<Vec<PackedFile>> {
        let files = (0..self.index.file_count()).map(|number| {
            let file = self.index.file(number)?;
            Ok(PackedFile {
                name: file.name,
                format: file.format,
                bytes: file.len,
                tensors: file.tensors,
            })
        });
        files.collect()
    }

    /// All tensors, file by file, in the order of their headers.
    ///
    /// # Errors
    /// Each can fail as [`PackedField::files`] does.
    pub fn tensors(&self) -> impl Iterator<Item = Result<PackedTensor>> {
        let index = &self.index;
        let all = (0..index.entry_count()).map(|number| index.entry(number));
        all.filter_map(|entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => return Some(Err(e)),
            };
            let role = entry.role?;
            Some(self.kind_of(&entry).map(|kind| PackedTensor {
                file: entry.file,
                role,
                layer: entry.layer,
                kind,
                bytes: entry.rows.bytes(),
                row_bytes: entry.rows.row_bytes,
                rows: entry.rows.count,
                experts: entry.rows.pieces(),
                start: entry.rows.start,
                name: entry.name,
                shape: entry.dims,
            }))
        })
    }

    fn kind_of(&self, entry: &Entry) -> Result<String> {
        let known = match self.index.file(entry.file)?.format {
            SourceFormat::Gguf => TensorType::of(entry.kind).map(|kind| kind.to_string()),
            SourceFormat::SafeTensors => Dtype::of_code(entry.kind).map(|kind| kind.to_string()),
        };
        Ok(known.unwrap_or_else(|| format!("type {}", entry.kind)))
    }

    /// File `number`, its header as it was.
    pub(crate) fn file(&self, number: u32) -> Result<(FileRecord, Part)> {
        let file = self.index.file(number)?;
        let part = Part {
            field: self.field.clone(),
            base: file.header.start,
            held: file.header.end - file.header.start,
            len: file.len,
        };
        Ok((file, part))
    }

    /// Where tensor `number` of a file lies, which its header says lies at `range`.
    pub(crate) fn place(
        &self,
        file: &FileRecord,
        number: usize,
        row_bytes: u64,
        range: &Range<u64>,
    ) -> Result<Placed> {
        let entry = match u32::try_from(number) {
            Ok(number) if number < file.tensors => self
                .index
                .entry(u64::from(file.first_entry) + u64::from(number))?,
            _ => return Err(self.contradiction(file, number)),
        };
        let bytes = entry.rows.bytes();
        let rows_fit = entry.rows.row_bytes == row_bytes || bytes == 0;
        if entry.source_at != range.start || bytes != range.end - range.start || !rows_fit {
            return Err(self.contradiction(file, number));
        }
        let places = self.index.places(&entry)?.map(Arc::from);
        Ok(Placed {
            rows: entry.rows,
            places,
        })
    }

    fn contradiction(&self, file: &FileRecord, number: usize) -> Error {
        Error::Malformed {
            path: self.field.path().to_path_buf(),
            format: FORMAT,
            at: file.header.start,
            what: format!(
                "tensor {number} of {} is another in the header than in the index",
                file.name
            ),
        }
    }
}

/// Where the rows of a tensor lie, and its experts among each other.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) rows: super::rows::Rows,
    pub(crate) places: Option<Arc<[u32]>>,
}

impl Placed {
    /// Rows that follow each other.
    pub(crate) fn contiguous(range: Range<u64>, row_bytes: u64) -> Placed {
        let bytes = range.end - range.start;
        let count = bytes.checked_div(row_bytes).unwrap_or(0);
        Placed {
            rows: super::rows::Rows::contiguous(range.start, row_bytes, count),
            places: None,
        }
    }

    /// From the first to the last byte.
    pub(crate) fn span(&self) -> Range<u64> {
        let rows = &self.rows;
        let ends = (0..rows.pieces()).rev().take(rows.group.max(1) as usize);
        let end = ends.map(|piece| rows.piece_end(piece)).max();
        rows.start..end.unwrap_or(rows.start).max(rows.start)
    }

    /// Where rows lie of one expert.
    pub(crate) fn rows_at(&self, rows: Range<u64>) -> Range<u64> {
        self.rows.range(rows, self.places.as_deref())
    }

    /// All bytes in the order of the rows: ranges of the field.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let runs = self.rows.runs(0..self.rows.count, self.places.as_deref());
        runs.map(|(_, range)| range)
    }
}
