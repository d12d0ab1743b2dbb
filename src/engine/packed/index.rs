//! The tensor index of a packed field: which files were packed, and where their tensors lie. FORMAT.md has the tables.
//!
//! It is bytes of the field like any other, and so checked and striped. Nothing in it is believed all the same: a checksum
//! says that the bytes are those that were written, not who wrote them.

use super::roles::TensorRole;
use super::rows::Rows;
use crate::engine::array::FORMAT;
use crate::engine::formats::cursor::Source;
use crate::error::{Error, Result};
use std::ops::Range;

const MAGIC: [u8; 8] = *b"RFTENSOR";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 40;
const FILE_BYTES: u64 = 56;
const ENTRY_BYTES: u64 = 176;
pub(crate) const DIMS_MAX: usize = 8;
const NONE: u32 = u32::MAX;
/// Longest name, in bytes: the limit of both formats' names.
const NAME_BYTES_MAX: u32 = 65_535;
/// Files at most: of a model that is split over several.
const FILES_MAX: u32 = u16::MAX as u32;
/// Bytes of a packed file, at most.
const FILE_BYTES_MAX: u64 = 1 << 62;
/// Experts of a layer whose order is stored, at most.
pub(crate) const PLACES_MAX: u64 = 1 << 16;

/// What a packed file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum SourceFormat {
    /// A GGUF file.
    Gguf = 1,
    /// A safetensors file.
    SafeTensors = 2,
}

impl std::fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            SourceFormat::Gguf => "GGUF",
            SourceFormat::SafeTensors => "safetensors",
        })
    }
}

/// A file that was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRecord {
    pub(crate) name: String,
    pub(crate) format: SourceFormat,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Its first bytes, in the field: the header.
    pub(crate) header: Range<u64>,
    /// Its entries: the tensors in the header's order, then what else is not zero.
    pub(crate) first_entry: u32,
    pub(crate) tensors: u32,
    pub(crate) others: u32,
}

/// A tensor, or other bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) file: u32,
    /// `None` for bytes that are no tensor's.
    pub(crate) role: Option<TensorRole>,
    /// The type, by the number that its format gives it.
    pub(crate) kind: u32,
    pub(crate) dims: Vec<u64>,
    pub(crate) layer: Option<u32>,
    pub(crate) expert: Option<u32>,
    /// Where it begins in its file.
    pub(crate) source_at: u64,
    pub(crate) rows: Rows,
    /// Where the places of its pieces are among those of the index, where they do not lie in order.
    pub(crate) places_at: Option<u64>,
}

/// What an index holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IndexContent {
    pub(crate) files: Vec<FileRecord>,
    pub(crate) entries: Vec<Entry>,
    /// Places of pieces.
    pub(crate) places: Vec<u32>,
}

impl IndexContent {
    /// Bytes of the index.
    pub(crate) fn encoded_len(&self) -> u64 {
        let names = self.files.iter().map(|file| file.name.len());
        let names: usize = names.chain(self.entries.iter().map(|e| e.name.len())).sum();
        HEADER_BYTES
            + self.files.len() as u64 * FILE_BYTES
            + self.entries.len() as u64 * ENTRY_BYTES
            + self.places.len() as u64 * 4
            + names as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len() as usize);
        let mut names: Vec<u8> = Vec::new();
        let mut named = |name: &str| {
            let at = names.len() as u64;
            names.extend(name.as_bytes());
            (at, name.len() as u32)
        };
        let mut records: Vec<u8> = Vec::new();
        for file in &self.files {
            let (at, len) = named(&file.name);
            records.extend(at.to_le_bytes());
            records.extend(len.to_le_bytes());
            records.extend((file.format as u32).to_le_bytes());
            let header = &file.header;
            for number in [file.len, header.start, header.end - header.start] {
                records.extend(number.to_le_bytes());
            }
            for number in [file.first_entry, file.tensors, file.others, 0] {
                records.extend(number.to_le_bytes());
            }
        }
        for entry in &self.entries {
            let (at, len) = named(&entry.name);
            let rows = &entry.rows;
            records.extend(at.to_le_bytes());
            records.extend(len.to_le_bytes());
            records.extend((entry.file as u16).to_le_bytes());
            records.extend(entry.role.map_or(0, |role| role as u16).to_le_bytes());
            let dims = entry.dims.len() as u32;
            let (layer, expert) = (entry.layer.unwrap_or(NONE), entry.expert.unwrap_or(NONE));
            for number in [entry.kind, dims, layer, expert] {
                records.extend(number.to_le_bytes());
            }
            for k in 0..DIMS_MAX {
                let dim = entry.dims.get(k).copied().unwrap_or(0);
                records.extend(dim.to_le_bytes());
            }
            for number in [entry.source_at, rows.start, rows.row_bytes, rows.count] {
                records.extend(number.to_le_bytes());
            }
            records.extend(u32::from(rows.is_padded()).to_le_bytes());
            records.extend((rows.group as u32).to_le_bytes());
            for number in [rows.piece_rows, rows.piece_stride, rows.group_stride] {
                records.extend(number.to_le_bytes());
            }
            records.extend(entry.places_at.unwrap_or(u64::MAX).to_le_bytes());
            records.extend(0u64.to_le_bytes());
        }
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((self.files.len() as u32).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        out.extend((self.places.len() as u64).to_le_bytes());
        out.extend((names.len() as u64).to_le_bytes());
        out.extend(records);
        for place in &self.places {
            out.extend(place.to_le_bytes());
        }
        out.extend(names);
        out
    }
}

/// An index that stays in its field: what is kept is where its parts lie.
#[derive(Debug)]
pub(crate) struct Index<S> {
    source: S,
    files: u32,
    entries: u64,
    places: u64,
    names_bytes: u64,
    /// What tensors can lie in: bytes of the field, and of its pages.
    room: u64,
    page_bytes: u64,
}

impl<S: Source> Index<S> {
    /// The index in `source`, of a field of `room` bytes in pages of `page_bytes`.
    pub(crate) fn open(source: S, room: u64, page_bytes: u64) -> Result<Index<S>> {
        let mut index = Index {
            source,
            files: 0,
            entries: 0,
            places: 0,
            names_bytes: 0,
            room,
            page_bytes,
        };
        if index.source.len() < HEADER_BYTES {
            return Err(index.malformed(0, "a tensor index that is shorter than its header"));
        }
        let mut header = Numbers::read::<S, { HEADER_BYTES as usize }>(&index.source, 0)?;
        if header.array() != MAGIC {
            return Err(index.malformed(0, "no tensor index where there should be one"));
        }
        let version = header.u32();
        if version != VERSION {
            let what = format!("a tensor index of version {version}; known: {VERSION}");
            return Err(index.malformed(8, what));
        }
        index.files = header.u32();
        index.entries = header.u64();
        index.places = header.u64();
        index.names_bytes = header.u64();
        let parts = [
            (u64::from(index.files), FILE_BYTES),
            (index.entries, ENTRY_BYTES),
            (index.places, 4),
            (index.names_bytes, 1),
        ];
        let total = parts
            .into_iter()
            .try_fold(HEADER_BYTES, |sum, (count, each)| {
                sum.checked_add(count.checked_mul(each)?)
            });
        if total != Some(index.source.len()) || index.files > FILES_MAX {
            let what = format!(
                "a tensor index of {} files, {} entries, {} places and {} bytes of names in {} bytes",
                index.files,
                index.entries,
                index.places,
                index.names_bytes,
                index.source.len()
            );
            return Err(index.malformed(12, what));
        }
        Ok(index)
    }

    pub(crate) fn file_count(&self) -> u32 {
        self.files
    }

    pub(crate) fn entry_count(&self) -> u64 {
        self.entries
    }

    fn malformed(&self, at: u64, what: impl Into<String>) -> Error {
        Error::Malformed {
            path: self.source.path().to_path_buf(),
            format: FORMAT,
            at,
            what: what.into(),
        }
    }

    fn entries_at(&self) -> u64 {
        HEADER_BYTES + u64::from(self.files) * FILE_BYTES
    }

    fn places_at(&self) -> u64 {
        self.entries_at() + self.entries * ENTRY_BYTES
    }

    fn name(&self, record: u64, at: u64, len: u32) -> Result<String> {
        let end = at.checked_add(u64::from(len));
        if len > NAME_BYTES_MAX || end.is_none_or(|end| end > self.names_bytes) {
            return Err(self.malformed(record, format!("a name of {len} bytes that is not there")));
        }
        let mut name = vec![0; len as usize];
        let names_at = self.places_at() + self.places * 4;
        self.source.read(names_at + at, &mut name)?;
        String::from_utf8(name).map_err(|_| self.malformed(record, "a name that is not UTF-8"))
    }

    /// File `number`.
    pub(crate) fn file(&self, number: u32) -> Result<FileRecord> {
        let at = HEADER_BYTES + u64::from(number) * FILE_BYTES;
        if number >= self.files {
            return Err(self.malformed(at, format!("there is no file {number}")));
        }
        let mut record = Numbers::read::<S, { FILE_BYTES as usize }>(&self.source, at)?;
        let (name_at, name_len) = (record.u64(), record.u32());
        let format = match record.u32() {
            1 => SourceFormat::Gguf,
            2 => SourceFormat::SafeTensors,
            other => {
                let what = format!(
                    "a file of the unknown format {other}; known: 1 (GGUF), 2 (safetensors)"
                );
                return Err(self.malformed(at, what));
            }
        };
        let (len, header_at, header_bytes) = (record.u64(), record.u64(), record.u64());
        let (first_entry, tensors, others) = (record.u32(), record.u32(), record.u32());
        let header_end = header_at.checked_add(header_bytes);
        let entries_end = u64::from(first_entry) + u64::from(tensors) + u64::from(others);
        if header_end.is_none_or(|end| end > self.room)
            || header_bytes > len
            || len > FILE_BYTES_MAX
            || entries_end > self.entries
        {
            return Err(self.malformed(at, format!("file {number} lies outside of the field")));
        }
        Ok(FileRecord {
            name: self.name(at, name_at, name_len)?,
            format,
            len,
            header: header_at..header_at + header_bytes,
            first_entry,
            tensors,
            others,
        })
    }

    /// Entry `number`.
    pub(crate) fn entry(&self, number: u64) -> Result<Entry> {
        if number >= self.entries {
            return Err(self.malformed(0, format!("there is no entry {number}")));
        }
        let at = self.entries_at() + number * ENTRY_BYTES;
        let mut record = Numbers::read::<S, { ENTRY_BYTES as usize }>(&self.source, at)?;
        let (name_at, name_len) = (record.u64(), record.u32());
        let (file, role) = (record.u16(), record.u16());
        let (kind, dim_count) = (record.u32(), record.u32());
        let (layer, expert) = (record.u32(), record.u32());
        let dims: [u64; DIMS_MAX] = std::array::from_fn(|_| record.u64());
        let source_at = record.u64();
        let (start, row_bytes, count) = (record.u64(), record.u64(), record.u64());
        let (padded, group) = (record.u32(), record.u32());
        let rows = Rows {
            start,
            row_bytes,
            count,
            page_bytes: if padded == 0 { 0 } else { self.page_bytes },
            piece_rows: record.u64(),
            group: u64::from(group),
            piece_stride: record.u64(),
            group_stride: record.u64(),
        };
        let places_at = Some(record.u64()).filter(|&at| at != u64::MAX);
        let Some(dims) = dims.get(..dim_count as usize) else {
            let what =
                format!("entry {number} has {dim_count} dimensions; there can be {DIMS_MAX}");
            return Err(self.malformed(at, what));
        };
        if padded > 1 || !rows.fits(self.room) {
            return Err(self.malformed(
                at,
                format!("the rows of entry {number} cannot lie as it says"),
            ));
        }
        let pieces = Some(rows.pieces()).filter(|&pieces| pieces <= PLACES_MAX);
        let places = places_at.map(|at| at.checked_add(pieces?));
        if places.is_some_and(|end| end.is_none_or(|end| end > self.places)) {
            return Err(self.malformed(
                at,
                format!("entry {number} names places that are not there"),
            ));
        }
        let len = self.file(u32::from(file))?.len;
        if source_at
            .checked_add(rows.bytes())
            .is_none_or(|end| end > len)
        {
            return Err(self.malformed(at, format!("entry {number} lies outside of its file")));
        }
        Ok(Entry {
            name: self.name(at, name_at, name_len)?,
            file: file.into(),
            role: match role {
                0 => None,
                // A role that is not known is only a hint less.
                code => Some(TensorRole::of_code(code).unwrap_or(TensorRole::Other)),
            },
            kind,
            dims: dims.to_vec(),
            layer: Some(layer).filter(|&layer| layer != NONE),
            expert: Some(expert).filter(|&expert| expert != NONE),
            source_at,
            rows,
            places_at,
        })
    }

    /// Where the pieces of an entry lie, where they do not lie in order: a permutation.
    pub(crate) fn places(&self, entry: &Entry) -> Result<Option<Vec<u32>>> {
        let Some(at) = entry.places_at else {
            return Ok(None);
        };
        let at = self.places_at() + at * 4;
        let count = entry.rows.pieces();
        let mut places = Vec::new();
        let mut seen = Vec::new();
        for k in 0..count {
            let mut place = [0; 4];
            self.source.read(at + k * 4, &mut place)?;
            let place = u32::from_le_bytes(place);
            places.push(place);
            seen.push(place);
        }
        seen.sort_unstable();
        if !seen.iter().map(|&place| u64::from(place)).eq(0..count) {
            let what = format!("the pieces of `{}` do not have a place each", entry.name);
            return Err(self.malformed(at, what));
        }
        Ok(Some(places))
    }
}

impl<S: Source> Index<S> {
    /// The places of the pieces of all entries.
    pub(crate) fn all_places(&self) -> Result<Vec<u32>> {
        let at = self.places_at();
        let mut places = Vec::new();
        for k in 0..self.places {
            let mut place = [0; 4];
            self.source.read(at + k * 4, &mut place)?;
            places.push(u32::from_le_bytes(place));
        }
        Ok(places)
    }
}

/// Reads all of an index.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn parse(source: impl Source, room: u64, page_bytes: u64) -> Result<IndexContent> {
    let index = Index::open(source, room, page_bytes)?;
    let mut content = IndexContent::default();
    for number in 0..index.file_count() {
        content.files.push(index.file(number)?);
    }
    for number in 0..index.entry_count() {
        let entry = index.entry(number)?;
        index.places(&entry)?;
        content.entries.push(entry);
    }
    content.places = index.all_places()?;
    Ok(content)
}

/// Numbers one after the other.
struct Numbers {
    bytes: Vec<u8>,
    at: usize,
}

impl Numbers {
    fn read<S: Source, const N: usize>(source: &S, at: u64) -> Result<Numbers> {
        let mut bytes = vec![0; N];
        source.read(at, &mut bytes)?;
        Ok(Numbers { bytes, at: 0 })
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        // The records are as long as their fields.
        array.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        array
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}
