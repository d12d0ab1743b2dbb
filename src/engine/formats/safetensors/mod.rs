//! safetensors files, read as they are: names, shapes, types and places of tensors, and the metadata.
//!
//! The format: eight bytes with the length of a JSON object, that object, and the tensors' bytes, without gaps
//! (<https://github.com/huggingface/safetensors#format>). As with GGUF, names and shapes stay in the file.

mod dtype;
mod json;

use super::charge::Charge;
use super::cursor::{Cursor, Source};
use super::part::Part;
use super::records::{NameHash, Records};
use crate::engine::array::superblocks::is_packed;
use crate::engine::packed::index::{FileRecord, SourceFormat};
use crate::engine::packed::{PackedField, Placed};
use crate::engine::{Engine, Field, FieldRange};
use crate::error::Result;
use std::ops::Range;
use std::path::Path;

pub use dtype::Dtype;

const FORMAT: &str = "safetensors";
/// Longest header, in bytes: the limit of the format's own implementation.
const HEADER_BYTES_MAX: u64 = 100_000_000;
const NAME_BYTES_MAX: usize = 65_535;
const DIMS_MAX: usize = 8;
const METADATA: &[u8] = b"__metadata__";
const OBJECT: (u8, u8) = (b'{', b'}');
const ARRAY: (u8, u8) = (b'[', b']');

/// A safetensors file.
///
/// # Examples
/// ```no_run
/// # fn main() -> ringfield::Result<()> {
/// let engine = ringfield::Engine::builder().dram_budget(64 << 20).build()?;
/// let model = ringfield::SafeTensors::open(&engine, "model.safetensors")?;
/// for tensor in model.tensors() {
///     let tensor = tensor?;
///     println!("{} {:?} {}", tensor.name(), tensor.shape(), tensor.dtype());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SafeTensors {
    part: Part,
    header: Header,
    /// Where its tensors lie, where it was packed.
    packed: Option<(PackedField, FileRecord)>,
    hasher: NameHash,
    _charge: Charge,
}

/// What is kept of a header.
#[derive(Debug)]
struct Header {
    /// Where the tensors' bytes begin in the file: the end of the header.
    data: u64,
    /// Where each tensor's name begins.
    tensors: Records,
    /// Where the object of the metadata begins.
    metadata: Option<u64>,
}

/// What the file says of a tensor.
#[derive(Debug, Clone, Copy)]
struct TensorRecord {
    dtype: Dtype,
    dims: [u64; DIMS_MAX],
    dim_count: usize,
    /// From the beginning of the data.
    begin: u64,
    end: u64,
}

impl TensorRecord {
    /// Bytes of the elements along the last dimension; all, where those are no whole bytes.
    fn row_bytes(&self) -> u64 {
        let bytes = self.end - self.begin;
        let last = self.dims.get(..self.dim_count).and_then(<[u64]>::last);
        match last.copied().unwrap_or(1).checked_mul(self.dtype.bits()) {
            Some(bits) if bits > 0 && bits % 8 == 0 => bits / 8,
            _ => bytes,
        }
    }
}

impl SafeTensors {
    /// Opens the file `path`; or the packed field in it, which is then its only file.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] where it is not what the format requires; [`crate::Error::MetadataBudget`] where the records do not
    /// fit; those of [`Engine::open`] and [`Field::read`].
    pub fn open(engine: &Engine, path: impl AsRef<Path>) -> Result<SafeTensors> {
        let path = path.as_ref();
        if is_packed(path) {
            return SafeTensors::of(&engine.open_array([path])?, 0);
        }
        SafeTensors::parse(Part::whole(engine.open(path)?), None)
    }

    /// File `number` of a packed field, as [`PackedField::files`] lists them.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] where there is no such file, or it is no safetensors file; those of [`Field::read`].
    pub fn of(field: &Field, number: u32) -> Result<SafeTensors> {
        let packed = PackedField::of(field.clone())?;
        let (file, part) = packed.file(number)?;
        if file.format != SourceFormat::SafeTensors {
            let what = format!("is the packed {} file {}", file.format, file.name);
            return Err(crate::Error::Malformed {
                path: field.path().to_path_buf(),
                format: FORMAT,
                at: 0,
                what,
            });
        }
        SafeTensors::parse(part, Some((packed, file)))
    }

    fn parse(part: Part, packed: Option<(PackedField, FileRecord)>) -> Result<SafeTensors> {
        let hasher = NameHash::new();
        let header = Header::parse(&part, &hasher)?;
        let mut charge = Charge::new(&part.field.engine());
        charge.add(part.field.path(), header.tensors.memory_bytes())?;
        Ok(SafeTensors {
            part,
            header,
            packed,
            hasher,
            _charge: charge,
        })
    }

    /// The file, or the packed field that it lies in.
    pub fn field(&self) -> &Field {
        &self.part.field
    }

    /// Where the header ends.
    pub(crate) fn data_offset(&self) -> u64 {
        self.header.data
    }

    /// How many tensors there are.
    pub fn tensor_count(&self) -> usize {
        self.header.tensors.len()
    }

    /// All tensors in the order of the header.
    ///
    /// # Errors
    /// Each can fail as [`Field::read`] does.
    pub fn tensors(&self) -> impl Iterator<Item = Result<SafeTensor>> {
        (0..self.header.tensors.len()).map(|index| self.tensor_at(index))
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// As [`Field::read`].
    pub fn tensor(&self, name: &str) -> Result<Option<SafeTensor>> {
        let tensors = &self.header.tensors;
        let read_name = |at, found: &mut Vec<u8>| self.header.read_name(&self.part, at, found);
        match tensors.find(&self.hasher, name, read_name)? {
            Some(index) => self.tensor_at(index).map(Some),
            None => Ok(None),
        }
    }

    /// Keys and values of the metadata.
    ///
    /// # Errors
    /// As [`Field::read`].
    pub fn metadata(&self) -> Result<Vec<(String, String)>> {
        let Some(at) = self.header.metadata else {
            return Ok(Vec::new());
        };
        let mut cursor = self.header.cursor(&self.part, at);
        let mut entries = Vec::new();
        json::members(&mut cursor, OBJECT, |cursor| {
            let key = text(cursor)?;
            json::expect(cursor, b':')?;
            entries.push((key, text(cursor)?));
            Ok(())
        })?;
        Ok(entries)
    }

    fn tensor_at(&self, index: usize) -> Result<SafeTensor> {
        let at = self.header.tensors.at(index).unwrap_or_default();
        let (name, record) = self.header.tensor_at(&self.part, at)?;
        let data = self.header.data;
        let range = data.saturating_add(record.begin)..data.saturating_add(record.end);
        let row_bytes = record.row_bytes();
        let placed = match &self.packed {
            None => Placed::contiguous(range, row_bytes),
            Some((packed, file)) => packed.place(file, index, row_bytes, &range)?,
        };
        Ok(SafeTensor {
            name,
            dtype: record.dtype,
            dims: record.dims,
            dim_count: record.dim_count,
            placed,
            field: self.part.field.clone(),
        })
    }
}

impl Header {
    fn parse<S: Source>(source: &S, hasher: &NameHash) -> Result<Header> {
        let mut cursor = Cursor::new(source, FORMAT, 0, source.header_room());
        let bytes = cursor.u64("the header's length")?;
        if bytes > HEADER_BYTES_MAX || bytes > cursor.left() {
            return Err(cursor.malformed(
                0,
                format!(
                    "a header of {bytes} bytes: more than the {} that are left, or than {HEADER_BYTES_MAX}",
                    cursor.left()
                ),
            ));
        }
        let mut header = Header {
            data: 8 + bytes,
            tensors: Records::default(),
            metadata: None,
        };
        let mut cursor = header.cursor(source, 8);
        if cursor.peek()? != Some(b'{') {
            return Err(cursor.malformed(8, "the header does not begin with '{'"));
        }
        let mut name = Vec::new();
        json::members(&mut cursor, OBJECT, |cursor| {
            json::next(cursor)?;
            let at = cursor.at();
            json::string(cursor, NAME_BYTES_MAX, &mut name)?;
            json::expect(cursor, b':')?;
            if name == METADATA {
                if header.metadata.replace(cursor.at()).is_some() {
                    return Err(cursor.malformed(at, "__metadata__ is there twice"));
                }
                return skip_metadata(cursor);
            }
            header.tensors.push(at, hasher.of(&name));
            read_tensor(cursor, at, &name)?;
            Ok(())
        })?;
        if json::next(&mut cursor)?.is_some() {
            return Err(cursor.malformed(cursor.at(), "more than white space behind the header"));
        }
        let mut tensors = std::mem::take(&mut header.tensors);
        tensors.index(
            |at, name| header.read_name(source, at, name),
            |first, at, name| {
                let name = String::from_utf8_lossy(name);
                let what = format!("tensor `{name}` is there twice, first at byte {first}");
                header.cursor(source, at).malformed(at, what)
            },
        )?;
        header.tensors = tensors;
        header.check_places(source)?;
        Ok(header)
    }

    fn cursor<'s, S: Source>(&self, source: &'s S, at: u64) -> Cursor<'s, S> {
        Cursor::new(source, FORMAT, at, self.data)
    }

    fn read_name<S: Source>(&self, source: &S, at: u64, name: &mut Vec<u8>) -> Result<()> {
        json::string(&mut self.cursor(source, at), NAME_BYTES_MAX, name)
    }

    fn tensor_at<S: Source>(&self, source: &S, at: u64) -> Result<(String, TensorRecord)> {
        let mut cursor = self.cursor(source, at);
        let mut name = Vec::new();
        json::string(&mut cursor, NAME_BYTES_MAX, &mut name)?;
        json::expect(&mut cursor, b':')?;
        let record = read_tensor(&mut cursor, at, &name)?;
        Ok((String::from_utf8_lossy(&name).into_owned(), record))
    }

    /// Checks that the tensors fill the data, without gaps and without overlaps.
    fn check_places<S: Source>(&self, source: &S) -> Result<()> {
        let room = source.len() - self.data;
        let mut places = Vec::with_capacity(self.tensors.len());
        for at in self.tensors.all() {
            let (_, tensor) = self.tensor_at(source, at)?;
            places.push((tensor.begin, tensor.end, at));
        }
        places.sort_unstable();
        // Behind its neighbour of no bytes a tensor can only begin at the same place.
        let mut end = 0;
        for (begin, its_end, at) in places {
            if begin != end && !(begin == its_end && its_end <= end) {
                let (name, _) = self.tensor_at(source, at)?;
                return Err(self.cursor(source, at).malformed(
                    at,
                    format!("tensor `{name}` begins at {begin} and the one before ends at {end}"),
                ));
            }
            end = end.max(its_end);
        }
        if end != room {
            return Err(self.cursor(source, 0).malformed(
                0,
                format!("its tensors have {end} bytes and the file holds {room}"),
            ));
        }
        Ok(())
    }
}

/// Takes a string of any length.
fn text<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<String> {
    let mut text = Vec::new();
    json::string(cursor, usize::MAX, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn skip_metadata<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<()> {
    json::members(cursor, OBJECT, |cursor| {
        json::skip_string(cursor)?;
        json::expect(cursor, b':')?;
        json::skip_string(cursor)
    })
}

/// Reads the object that describes the tensor `name`, whose record begins at `at`.
fn read_tensor<S: Source>(
    cursor: &mut Cursor<'_, S>,
    at: u64,
    name: &[u8],
) -> Result<TensorRecord> {
    let shown = String::from_utf8_lossy(name);
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    let mut word = Vec::new();
    json::members(cursor, OBJECT, |cursor| {
        json::string(cursor, 64, &mut word)?;
        json::expect(cursor, b':')?;
        let twice = match word.as_slice() {
            b"dtype" => {
                json::string(cursor, 64, &mut word)?;
                let Some(found) = Dtype::of(&word) else {
                    let word = String::from_utf8_lossy(&word);
                    return Err(cursor
                        .malformed(at, format!("tensor `{shown}` has the unknown type {word}")));
                };
                dtype.replace(found).is_some()
            }
            b"shape" => {
                let dims = numbers::<DIMS_MAX, S>(cursor, at, &shown)?;
                shape.replace(dims).is_some()
            }
            b"data_offsets" => {
                let (numbers, count) = numbers::<2, S>(cursor, at, &shown)?;
                if count != 2 {
                    let what = format!("tensor `{shown}` has {count} offsets, not 2");
                    return Err(cursor.malformed(at, what));
                }
                offsets.replace(numbers).is_some()
            }
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(cursor.malformed(
                    at,
                    format!("tensor `{shown}` has the unknown field {other}"),
                ));
            }
        };
        if twice {
            let what = format!("tensor `{shown}` has a field twice");
            return Err(cursor.malformed(at, what));
        }
        Ok(())
    })?;
    let (Some(dtype), Some((dims, dim_count)), Some([begin, end])) = (dtype, shape, offsets) else {
        let what = format!("tensor `{shown}` lacks its dtype, shape or data_offsets");
        return Err(cursor.malformed(at, what));
    };
    let elements = dims
        .iter()
        .take(dim_count)
        .try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let bits = elements.and_then(|elements| elements.checked_mul(dtype.bits()));
    let stored = end.checked_sub(begin);
    if bits.is_none() || stored.and_then(|bytes| bytes.checked_mul(8)) != bits {
        return Err(cursor.malformed(
            at,
            format!("tensor `{shown}` lies at {begin}..{end}, which is not what its shape and {dtype} need"),
        ));
    }
    Ok(TensorRecord {
        dtype,
        dims,
        dim_count,
        begin,
        end,
    })
}

/// Takes an array of at most `N` numbers; returns them and how many there are.
fn numbers<const N: usize, S: Source>(
    cursor: &mut Cursor<'_, S>,
    at: u64,
    name: &str,
) -> Result<([u64; N], usize)> {
    let mut numbers = [0; N];
    let mut count = 0;
    json::members(cursor, ARRAY, |cursor| {
        let number = json::number(cursor)?;
        let Some(place) = numbers.get_mut(count) else {
            let what = format!("tensor `{name}` has an array of more than {N} numbers");
            return Err(cursor.malformed(at, what));
        };
        *place = number;
        count += 1;
        Ok(())
    })?;
    Ok((numbers, count))
}

/// A tensor of a safetensors file: its name, shape and type, and where its bytes are.
#[derive(Debug, Clone)]
pub struct SafeTensor {
    name: String,
    dtype: Dtype,
    dims: [u64; DIMS_MAX],
    dim_count: usize,
    placed: Placed,
    field: Field,
}

impl SafeTensor {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Elements along each dimension, none to eight of them, the slowest first: a matrix is `[rows, columns]`.
    pub fn shape(&self) -> &[u64] {
        self.dims.get(..self.dim_count).unwrap_or_default()
    }

    /// How the elements are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Where its bytes lie in its field, from the first to the last; see [`crate::Tensor::range`].
    pub fn range(&self) -> Range<u64> {
        self.placed.span()
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> u64 {
        self.placed.rows.bytes()
    }

    /// Bytes of a row: of the elements along the last dimension. Where those are no whole bytes the tensor is one row.
    pub fn row_bytes(&self) -> u64 {
        self.placed.rows.row_bytes
    }

    /// Where rows lie; see [`crate::Tensor::rows_at`].
    pub fn rows_at(&self, rows: Range<u64>) -> Range<u64> {
        self.placed.rows_at(rows)
    }

    /// Its bytes in the order of its rows: ranges of its field; see [`crate::Tensor::runs`].
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.placed.runs()
    }

    /// Its file.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// Its bytes, as [`Engine::plan`] takes them.
    pub fn at(&self) -> FieldRange {
        self.field.at(self.range())
    }
}

/// Walks a header as [`SafeTensors::open`] does; returns (tensors, bytes of the header).
#[cfg(feature = "sim")]
pub(crate) fn parse(source: &impl Source) -> Result<(usize, u64)> {
    let header = Header::parse(source, &NameHash::new())?;
    Ok((header.tensors.len(), header.data))
}
