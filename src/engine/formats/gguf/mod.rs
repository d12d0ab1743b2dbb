//! GGUF models, read as they are: names, shapes, types and places of tensors, and the metadata.
//!
//! Opening walks the header once through the pool and checks all of it. In memory stay twelve bytes a record, charged to
//! the metadata budget; names, values and vocabularies are ranges of the file that are read when they are asked for.

mod header;
mod split;
mod tensor_type;
mod value;

use super::charge::Charge;
use super::part::Part;
use super::records::NameHash;
use crate::engine::array::superblocks::is_packed;
use crate::engine::packed::index::{FileRecord, SourceFormat};
use crate::engine::packed::{PackedField, Placed};
use crate::engine::{Engine, Field, FieldRange};
use crate::error::{Error, Result};
use header::{DIMS_MAX, FORMAT, Header, read_name};
use std::ops::Range;
use std::path::Path;

pub use tensor_type::TensorType;
pub use value::{Array, ArrayIter, Value, ValueType};

/// Files in a set at most: their number has sixteen bits.
const SHARDS_MAX: u32 = u16::MAX as u32;

/// A GGUF model: one file, or a set of files that it was split over.
///
/// # Examples
/// ```no_run
/// # fn main() -> ringfield::Result<()> {
/// let engine = ringfield::Engine::builder().dram_budget(64 << 20).build()?;
/// let model = ringfield::Gguf::open(&engine, "model.gguf")?;
/// if let Some(tensor) = model.tensor("token_embd.weight")? {
///     println!("{} {:?} of {}", tensor.name(), tensor.shape(), tensor.kind());
///     let row_bytes = tensor.bytes() / tensor.rows();
///     let start = tensor.range().start + 42 * row_bytes;
///     let row = tensor.field().read(start..start + row_bytes)?;
///     println!("row 42 begins with {:?}", &row.to_vec()[..4]);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Gguf {
    shards: Vec<Shard>,
    hasher: NameHash,
    charge: Charge,
}

#[derive(Debug)]
struct Shard {
    part: Part,
    header: Header,
    /// Where its tensors lie, where it was packed.
    packed: Option<(PackedField, FileRecord)>,
}

impl Gguf {
    /// Opens the model in the file `path`, and the other files of its set where it is one of several
    /// (`NAME-00001-of-00003.gguf`; any of them may be named); or a packed field in one file.
    ///
    /// # Errors
    /// [`Error::Malformed`] where a file is not what the format requires; [`Error::MetadataBudget`] where the records do
    /// not fit; those of [`Engine::open`] and [`Field::read`].
    pub fn open(engine: &Engine, path: impl AsRef<Path>) -> Result<Gguf> {
        let path = path.as_ref();
        if is_packed(path) {
            return Gguf::of(&engine.open_array([path])?);
        }
        let count = split::count(path);
        if count > SHARDS_MAX {
            return Err(malformed(path, 0, "a set of more than 65535 files"));
        }
        let mut model = Gguf {
            shards: Vec::new(),
            hasher: NameHash::new(),
            charge: Charge::new(engine),
        };
        for number in 1..=count {
            let field = engine.open(split::member(path, number))?;
            model.add(Part::whole(field), count, None)?;
        }
        Ok(model)
    }

    /// The model in a packed field, of whatever number of files.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the field holds no GGUF model, or where its index is not what it should be; those of
    /// [`Field::read`].
    pub fn of(field: &Field) -> Result<Gguf> {
        let packed = PackedField::of(field.clone())?;
        let mut model = Gguf {
            shards: Vec::new(),
            hasher: NameHash::new(),
            charge: Charge::new(&field.engine()),
        };
        let files = packed.files()?;
        let count = files.len() as u32;
        if let Some(other) = files.iter().find(|file| file.format != SourceFormat::Gguf) {
            let what = format!("is the packed {} file {}", other.format, other.name);
            return Err(malformed(field.path(), 0, what));
        }
        for number in 0..count {
            let (record, part) = packed.file(number)?;
            model.add(part, count, Some((packed.clone(), record)))?;
        }
        Ok(model)
    }

    fn add(
        &mut self,
        part: Part,
        count: u32,
        packed: Option<(PackedField, FileRecord)>,
    ) -> Result<()> {
        let path = part.field.path().to_path_buf();
        let path = path.as_path();
        let header = Header::parse(&part, &self.hasher)?;
        let bytes = header.memory_bytes() + size_of::<Shard>() as u64;
        self.charge.add(path, bytes)?;
        let shard = Shard {
            part,
            header,
            packed,
        };
        let number = self.shards.len() as u64;
        for (key, wanted) in [("split.no", number), ("split.count", u64::from(count))] {
            let value = shard.get(&self.hasher, key)?;
            if count == 1 && value.is_none() {
                continue;
            }
            // Whatever else is there can be of any length, and is not printed.
            let found = value.as_ref().and_then(Value::as_u64);
            if found != Some(wanted) {
                let found = match (&value, found) {
                    (None, _) => "None".into(),
                    (Some(_), None) => "no whole number".into(),
                    (Some(_), Some(found)) => found.to_string(),
                };
                let what = format!("{key} is {found}, not {wanted} as its name says");
                return Err(malformed(path, 0, what));
            }
        }
        for before in &self.shards {
            for at in shard.header.tensors.all() {
                let (name, _) = shard.header.named(&shard.part, at)?;
                if before.find_tensor(&self.hasher, &name)?.is_some() {
                    return Err(malformed(
                        path,
                        at,
                        format!(
                            "tensor `{name}` is in {} too",
                            before.part.field.path().display()
                        ),
                    ));
                }
            }
        }
        self.shards.push(shard);
        Ok(())
    }

    /// Version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.shards.first().map_or(0, |shard| shard.header.version)
    }

    /// What every tensor's offset is a multiple of, in bytes from the beginning of the data: 32 where the file says
    /// nothing.
    pub fn alignment(&self) -> u64 {
        self.shards
            .first()
            .map_or(0, |shard| shard.header.alignment)
    }

    /// The model's files.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.shards.iter().map(|shard| &shard.part.field)
    }

    /// Where the header of each file ends.
    pub(crate) fn header_ends(&self) -> impl Iterator<Item = u64> {
        self.shards.iter().map(|shard| shard.header.end)
    }

    /// Where the tensors of a file begin, one for each of [`Gguf::fields`], in bytes.
    pub fn data_offsets(&self) -> impl Iterator<Item = u64> {
        self.shards.iter().map(|shard| shard.header.data)
    }

    /// Tensors in all files.
    pub fn tensor_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.header.tensors.len())
            .sum()
    }

    /// Keys of the metadata.
    pub fn key_count(&self) -> usize {
        self.shards
            .first()
            .map_or(0, |shard| shard.header.keys.len())
    }

    /// All tensors in the order of the files.
    ///
    /// # Errors
    /// Each can fail as [`Field::read`] does.
    pub fn tensors(&self) -> impl Iterator<Item = Result<Tensor>> {
        self.shards
            .iter()
            .flat_map(|shard| (0..shard.header.tensors.len()).map(|index| shard.tensor(index)))
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// As [`Field::read`].
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        for shard in &self.shards {
            if let Some(index) = shard.find_tensor(&self.hasher, name)? {
                return shard.tensor(index).map(Some);
            }
        }
        Ok(None)
    }

    /// All keys and values of the metadata in the order of the first file, which holds them for the whole set.
    ///
    /// # Errors
    /// Each can fail as [`Field::read`] does.
    pub fn metadata(&self) -> impl Iterator<Item = Result<(String, Value)>> {
        let first = self.shards.first();
        first
            .into_iter()
            .flat_map(|shard| shard.header.keys.all().map(|at| shard.key_at(at)))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// As [`Field::read`].
    pub fn get(&self, key: &str) -> Result<Option<Value>> {
        match self.shards.first() {
            Some(shard) => shard.get(&self.hasher, key),
            None => Ok(None),
        }
    }
}

impl Shard {
    fn key_at(&self, at: u64) -> Result<(String, Value)> {
        let (key, mut cursor) = self.header.named(&self.part, at)?;
        let value = value::read_typed(&self.part, &mut cursor)?;
        Ok((key, value))
    }

    fn get(&self, hasher: &NameHash, key: &str) -> Result<Option<Value>> {
        let keys = &self.header.keys;
        let found = keys.find(hasher, key, |at, name| read_name(&self.part, at, name))?;
        match found {
            Some(index) => {
                let (_, value) = self.key_at(keys.at(index).unwrap_or_default())?;
                Ok(Some(value))
            }
            None => Ok(None),
        }
    }

    fn find_tensor(&self, hasher: &NameHash, name: &str) -> Result<Option<usize>> {
        let tensors = &self.header.tensors;
        tensors.find(hasher, name, |at, found| read_name(&self.part, at, found))
    }

    fn tensor(&self, index: usize) -> Result<Tensor> {
        let at = self.header.tensors.at(index).unwrap_or_default();
        let (name, record) = self.header.tensor_at(&self.part, at)?;
        let [row, ..] = record.dims;
        let row_bytes = row / record.kind.block_elements() * record.kind.block_bytes();
        let range = self.header.range_of(&record);
        let placed = match &self.packed {
            None => Placed::contiguous(range, row_bytes),
            Some((packed, file)) => packed.place(file, index, row_bytes, &range)?,
        };
        Ok(Tensor {
            name,
            dims: record.dims,
            dim_count: record.dim_count,
            kind: record.kind,
            placed,
            field: self.part.field.clone(),
        })
    }
}

/// The error of what begins at byte `at` of a file.
pub(crate) fn malformed(path: &Path, at: u64, what: impl Into<String>) -> Error {
    Error::Malformed {
        path: path.to_path_buf(),
        format: FORMAT,
        at,
        what: what.into(),
    }
}

/// A tensor: its name, shape and type, and where its bytes are.
#[derive(Debug, Clone)]
pub struct Tensor {
    name: String,
    dims: [u64; DIMS_MAX],
    dim_count: usize,
    kind: TensorType,
    placed: Placed,
    field: Field,
}

impl Tensor {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Elements along each dimension, one to four of them, the fastest first: a matrix is `[columns, rows]`.
    pub fn shape(&self) -> &[u64] {
        self.dims.get(..self.dim_count).unwrap_or_default()
    }

    /// Elements in all.
    pub fn elements(&self) -> u64 {
        self.shape().iter().product()
    }

    /// Rows in all: elements without the first dimension.
    pub fn rows(&self) -> u64 {
        self.shape().iter().skip(1).product()
    }

    /// How the elements are stored.
    pub fn kind(&self) -> TensorType {
        self.kind
    }

    /// Where its bytes lie in its field, from the first to the last. In a packed field ([`Tensor::is_packed`]) pages can end
    /// with bytes that are no row's, and experts lie among those of other tensors: [`Tensor::runs`] are its bytes alone.
    pub fn range(&self) -> Range<u64> {
        self.placed.span()
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> u64 {
        self.placed.rows.bytes()
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        self.placed.rows.row_bytes
    }

    /// Where rows lie, from the first byte of the first to the last of the last; of a tensor that holds several experts, rows
    /// of one.
    pub fn rows_at(&self, rows: Range<u64>) -> Range<u64> {
        self.placed.rows_at(rows)
    }

    /// Its bytes in the order of its rows: ranges of its field. In a packed field none reaches beyond a page, unless a row
    /// does; in a file there is one.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.placed.runs()
    }

    /// How many rows from `row` on lie without a gap.
    pub(crate) fn run(&self, row: u64) -> u64 {
        let rows = &self.placed.rows;
        rows.run(row, u64::MAX, self.placed.places.as_deref())
    }

    /// True where no row of at most a page lies in two.
    pub fn is_packed(&self) -> bool {
        self.placed.rows.is_padded()
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

/// Walks a header as [`Gguf::open`] does, and reads every tensor's record again; returns (tensors, keys, bytes of the
/// header).
#[cfg(feature = "sim")]
pub(crate) fn parse(source: &impl super::cursor::Source) -> Result<(usize, usize, u64)> {
    let header = Header::parse(source, &NameHash::new())?;
    for at in header.tensors.all() {
        header.tensor_at(source, at)?;
    }
    Ok((header.tensors.len(), header.keys.len(), header.end))
}
