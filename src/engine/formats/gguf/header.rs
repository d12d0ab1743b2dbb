//! One file's header: walked once from end to end, checked whole, and kept as a few words per record.
//!
//! What is kept is where each record begins and a hash of its name; names, shapes and values are read again, through the
//! pool, when somebody asks. A lying count, length or offset is found before anything is allocated for it. The format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use super::tensor_type::TensorType;
use super::value::{self, ValueType};
use crate::engine::formats::cursor::{Cursor, Source};
use crate::engine::formats::records::{NameHash, Records};
use crate::error::{Error, Result};
use std::ops::Range;

pub(super) const FORMAT: &str = "GGUF";
const MAGIC: [u8; 4] = *b"GGUF";
const ALIGNMENT_DEFAULT: u64 = 32;
/// A file that asks for more than this is meant to hurt.
const ALIGNMENT_MAX: u64 = 64 << 20;
/// Longest key (the format's limit) and longest name of a tensor, in bytes.
const NAME_BYTES_MAX: u64 = 65_535;
pub(super) const DIMS_MAX: usize = 4;
/// A header is tens of megabytes at most; a longer one keeps its reader busy for nothing.
const HEADER_BYTES_MAX: u64 = 1 << 30;
/// Least bytes of a key and its value: two lengths, a byte each.
const KEY_BYTES_MIN: u64 = 8 + 1 + 4 + 1;
/// Least bytes of a tensor: name, one dimension, type, offset.
const TENSOR_BYTES_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// What is kept of a header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) alignment: u64,
    /// Where the tensors' bytes begin in the file.
    pub(super) data: u64,
    /// Where the header ends.
    pub(super) end: u64,
    pub(super) keys: Records,
    pub(super) tensors: Records,
}

/// What the file says of a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct TensorRecord {
    pub(super) dims: [u64; DIMS_MAX],
    pub(super) dim_count: usize,
    pub(super) kind: TensorType,
    /// From the beginning of the data.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

fn cursor_at<S: Source>(source: &S, at: u64) -> Cursor<'_, S> {
    Cursor::new(source, FORMAT, at, source.len())
}

/// Reads the name of the record at `at`.
pub(super) fn read_name<S: Source>(source: &S, at: u64, name: &mut Vec<u8>) -> Result<()> {
    cursor_at(source, at).name("a name", NAME_BYTES_MAX, name)
}

/// The error of two records with one name.
fn twice<S: Source>(source: &S, what: &str, first: u64, at: u64, name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    cursor_at(source, at).malformed(
        at,
        format!("{what} `{name}` is there twice, first at byte {first}"),
    )
}

impl Header {
    /// Walks and checks the header of a file.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`], and those of reading.
    pub(super) fn parse<S: Source>(source: &S, hasher: &NameHash) -> Result<Header> {
        let room = source.header_room().min(HEADER_BYTES_MAX);
        let mut cursor = Cursor::new(source, FORMAT, 0, room);
        let magic: [u8; 4] = cursor.array("the magic")?;
        if magic != MAGIC {
            return Err(cursor.malformed(0, format!("begins with {magic:02x?}, not with \"GGUF\"")));
        }
        let version = cursor.u32("the version")?;
        match version {
            2 | 3 => {}
            1 => {
                return Err(
                    cursor.malformed(4, "version 1, which lasted a month in 2023: convert it")
                );
            }
            _ if matches!(version.swap_bytes(), 1..=3) => {
                return Err(cursor.malformed(4, "is big-endian: convert it to little-endian"));
            }
            _ => {
                return Err(cursor.malformed(4, format!("version {version}, not 2 or 3")));
            }
        }
        let tensor_count = cursor.u64("the number of tensors")?;
        let key_count = cursor.u64("the number of keys")?;
        let keys = read_keys(&mut cursor, source, hasher, key_count)?;
        let alignment = alignment(source, hasher, &keys)?;
        let (tensors, data) = read_tensors(&mut cursor, source, hasher, tensor_count, alignment)?;
        Ok(Header {
            version,
            alignment,
            data,
            end: cursor.at(),
            keys,
            tensors,
        })
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.keys.memory_bytes() + self.tensors.memory_bytes()
    }

    /// A cursor behind the name of the record at `at`, and the name.
    pub(super) fn named<'s, S: Source>(
        &self,
        source: &'s S,
        at: u64,
    ) -> Result<(String, Cursor<'s, S>)> {
        let mut cursor = Cursor::new(source, FORMAT, at, self.end);
        let mut name = Vec::new();
        cursor.name("a name", NAME_BYTES_MAX, &mut name)?;
        // Checked by `name`; a file that changed meanwhile may still lie.
        Ok((String::from_utf8_lossy(&name).into_owned(), cursor))
    }

    /// Reads what the file says of the tensor at `at`, and its name.
    pub(super) fn tensor_at<S: Source>(
        &self,
        source: &S,
        at: u64,
    ) -> Result<(String, TensorRecord)> {
        let (name, mut cursor) = self.named(source, at)?;
        let record = read_tensor(&mut cursor, at, &name, self.alignment)?;
        Ok((name, record))
    }

    /// Where a tensor's bytes lie in the file.
    pub(super) fn range_of(&self, tensor: &TensorRecord) -> Range<u64> {
        let start = self.data.saturating_add(tensor.offset);
        start..start.saturating_add(tensor.bytes)
    }
}

fn check_count<S: Source>(
    cursor: &Cursor<'_, S>,
    what: &str,
    count: u64,
    bytes_min: u64,
) -> Result<()> {
    if count > cursor.left() / bytes_min {
        return Err(cursor.malformed(
            8,
            format!(
                "{count} {what} do not fit the {} bytes that are left",
                cursor.left()
            ),
        ));
    }
    Ok(())
}

fn read_keys<S: Source>(
    cursor: &mut Cursor<'_, S>,
    source: &S,
    hasher: &NameHash,
    count: u64,
) -> Result<Records> {
    check_count(cursor, "keys", count, KEY_BYTES_MIN)?;
    let mut keys = Records::default();
    let mut key = Vec::new();
    for _ in 0..count {
        let at = cursor.at();
        cursor.name("a key", NAME_BYTES_MAX, &mut key)?;
        keys.push(at, hasher.of(&key));
        value::skip(cursor)?;
    }
    keys.index(
        |at, name| read_name(source, at, name),
        |first, at, name| twice(source, "key", first, at, name),
    )?;
    Ok(keys)
}

/// The alignment of tensors: `general.alignment`, or the format's default.
fn alignment<S: Source>(source: &S, hasher: &NameHash, keys: &Records) -> Result<u64> {
    let found = keys.find(hasher, "general.alignment", |at, name| {
        read_name(source, at, name)
    })?;
    let Some(index) = found else {
        return Ok(ALIGNMENT_DEFAULT);
    };
    let at = keys.at(index).unwrap_or_default();
    let mut cursor = cursor_at(source, at);
    cursor.string("a key")?;
    let kind = cursor.u32("a value's type")?;
    if kind != ValueType::U32 as u32 {
        return Err(cursor.malformed(at, "general.alignment is not a u32"));
    }
    let alignment = u64::from(cursor.u32("general.alignment")?);
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        return Err(cursor.malformed(
            at,
            format!("general.alignment is {alignment}, not a power of two up to {ALIGNMENT_MAX}"),
        ));
    }
    Ok(alignment)
}

/// Reads the tensors' records; also returns where their bytes begin.
fn read_tensors<S: Source>(
    cursor: &mut Cursor<'_, S>,
    source: &S,
    hasher: &NameHash,
    count: u64,
    alignment: u64,
) -> Result<(Records, u64)> {
    check_count(cursor, "tensors", count, TENSOR_BYTES_MIN)?;
    let mut tensors = Records::default();
    let mut name = Vec::new();
    for _ in 0..count {
        let at = cursor.at();
        cursor.name("a tensor's name", NAME_BYTES_MAX, &mut name)?;
        tensors.push(at, hasher.of(&name));
        let shown = String::from_utf8_lossy(&name);
        read_tensor(cursor, at, &shown, alignment)?;
    }
    tensors.index(
        |at, name| read_name(source, at, name),
        |first, at, name| twice(source, "tensor", first, at, name),
    )?;
    let data = cursor.at().next_multiple_of(alignment);
    check_places(source, &tensors, alignment, data)?;
    Ok((tensors, data))
}

/// Reads a tensor's record behind its name.
fn read_tensor<S: Source>(
    cursor: &mut Cursor<'_, S>,
    at: u64,
    name: &str,
    alignment: u64,
) -> Result<TensorRecord> {
    let dim_count = cursor.u32("a tensor's number of dimensions")? as usize;
    if dim_count == 0 || dim_count > DIMS_MAX {
        return Err(cursor.malformed(
            at,
            format!("tensor `{name}` has {dim_count} dimensions, not 1 to {DIMS_MAX}"),
        ));
    }
    let mut dims = [1u64; DIMS_MAX];
    let mut elements = 1u64;
    for dim in dims.iter_mut().take(dim_count) {
        *dim = cursor.u64("a tensor's dimension")?;
        let product = elements.checked_mul(*dim).filter(|&n| n <= i64::MAX as u64);
        elements = match product {
            Some(product) if *dim > 0 => product,
            _ => {
                return Err(cursor.malformed(
                    at,
                    format!("tensor `{name}` has a dimension of {dim}: zero, or too many elements"),
                ));
            }
        };
    }
    let code = cursor.u32("a tensor's type")?;
    let Some(kind) = TensorType::of(code) else {
        return Err(cursor.malformed(at, format!("tensor `{name}` has the unknown type {code}")));
    };
    let offset = cursor.u64("a tensor's offset")?;
    let [row, ..] = dims;
    if !row.is_multiple_of(kind.block_elements()) {
        return Err(cursor.malformed(
            at,
            format!(
                "tensor `{name}` has rows of {row} elements, not whole blocks of {kind} ({})",
                kind.block_elements()
            ),
        ));
    }
    let bytes = (elements / kind.block_elements()).checked_mul(kind.block_bytes());
    let Some(bytes) = bytes else {
        return Err(cursor.malformed(at, format!("tensor `{name}` has more than 2^64 bytes")));
    };
    if !offset.is_multiple_of(alignment) {
        return Err(cursor.malformed(
            at,
            format!("tensor `{name}` is at {offset}, not a multiple of the alignment {alignment}"),
        ));
    }
    Ok(TensorRecord {
        dims,
        dim_count,
        kind,
        offset,
        bytes,
    })
}

/// Checks that all tensors lie in the file and that no two overlap.
fn check_places<S: Source>(source: &S, tensors: &Records, alignment: u64, data: u64) -> Result<()> {
    let room = source.len().saturating_sub(data);
    let mut places = Vec::with_capacity(tensors.len());
    let mut name = Vec::new();
    let mut record_at = |at: u64| -> Result<(String, TensorRecord)> {
        let mut cursor = cursor_at(source, at);
        cursor.name("a tensor's name", NAME_BYTES_MAX, &mut name)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let record = read_tensor(&mut cursor, at, &name, alignment)?;
        Ok((name, record))
    };
    for at in tensors.all() {
        let (name, tensor) = record_at(at)?;
        let end = tensor.offset.checked_add(tensor.bytes);
        if end.is_none_or(|end| end > room) {
            return Err(cursor_at(source, at).malformed(
                at,
                format!(
                    "tensor `{name}` lies at {} with {} bytes, and the data has {room}: the file is cut short",
                    tensor.offset, tensor.bytes
                ),
            ));
        }
        places.push((tensor.offset, tensor.offset + tensor.bytes, at));
    }
    places.sort_unstable();
    for (&(_, end, other), &(offset, _, at)) in places.iter().zip(places.iter().skip(1)) {
        if end > offset {
            let (name, _) = record_at(at)?;
            return Err(cursor_at(source, at).malformed(
                at,
                format!("tensor `{name}` at {offset} overlaps the one described at byte {other}"),
            ));
        }
    }
    Ok(())
}
