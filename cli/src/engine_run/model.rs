//! What a model file says of itself, and whether its tensors read right.

mod plain;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;

use ringfield::{Engine, Field, FieldRange, Value};
use sha2::{Digest, Sha256};

use super::EngineContext;
use super::source::Source;
use crate::args::{Backend, ModelFiles, VerifyArgs};
use crate::cgroup;
use crate::error::Result;
use crate::interrupt;
use crate::model::{Checked, Format, Key, Listing, ModelFile, TensorRow};
use plain::PlainRead;

/// To verify with, unless another is asked for.
const VERIFY_BUDGET_BYTES: u64 = 16 << 20;
const VERIFY_PAGES: u64 = 32;
/// Bytes of a tensor read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads everything but the tensors.
pub(crate) fn list(format: Format, files: &ModelFiles) -> Result<Listing> {
    let source = Source::of(files)?;
    let engine = source.engine_for_headers()?;
    match format {
        Format::Gguf => list_gguf(&source, &engine),
        Format::Safetensors => list_safetensors(&source, &engine),
    }
}

fn list_gguf(source: &Source, engine: &Engine) -> Result<Listing> {
    let model = source.gguf(engine)?;
    let files: Vec<&Field> = model.fields().collect();
    let mut listing = Listing::new("GGUF", Some(model.version()), Some(model.alignment()));
    for entry in model.metadata() {
        let (key, value) = entry.engine("cannot read the metadata")?;
        listing.metadata.push(key_of(key, value));
    }
    for tensor in model.tensors() {
        let tensor = tensor.engine("cannot read the tensors' names")?;
        let file = files
            .iter()
            .position(|field| field.path() == tensor.field().path());
        listing.tensors.push(TensorRow {
            name: tensor.name().to_owned(),
            kind: tensor.kind().to_string(),
            shape: tensor.shape().to_vec(),
            file: file.unwrap_or_default(),
            offset: tensor.range().start,
            bytes: tensor.bytes(),
        });
    }
    if source.is_packed() {
        // Its files are in one field.
        listing
            .files
            .extend(files.first().map(|field| field_of(field, &listing.tensors)));
        return Ok(listing);
    }
    for (field, data_offset) in files.iter().zip(model.data_offsets()) {
        listing.files.push(file_of(field, data_offset));
    }
    Ok(listing)
}

fn list_safetensors(source: &Source, engine: &Engine) -> Result<Listing> {
    let mut listing = Listing::new("safetensors", None, None);
    let models = source.safetensors(engine)?;
    for model in &models {
        for tensor in model.tensors() {
            let tensor = tensor.engine("cannot read the tensors' names")?;
            listing.tensors.push(TensorRow {
                name: tensor.name().to_owned(),
                kind: tensor.dtype().to_string(),
                shape: tensor.shape().to_vec(),
                file: 0,
                offset: tensor.range().start,
                bytes: tensor.bytes(),
            });
        }
        for (key, value) in model.metadata().engine("cannot read the metadata")? {
            listing.metadata.push(Key {
                key,
                kind: "string".into(),
                value: Some(value.into()),
                len: None,
            });
        }
    }
    if let Some(model) = models.first() {
        listing
            .files
            .push(field_of(model.field(), &listing.tensors));
    }
    Ok(listing)
}

/// A file in which the first of `tensors` begins where they all do.
fn field_of(field: &Field, tensors: &[TensorRow]) -> ModelFile {
    let first = tensors.iter().map(|tensor| tensor.offset).min();
    file_of(field, first.unwrap_or(u64::MAX).min(field.len()))
}

fn file_of(field: &Field, data_offset: u64) -> ModelFile {
    ModelFile {
        path: field.path().display().to_string(),
        bytes: field.len(),
        data_offset,
    }
}

fn key_of(key: String, value: Value) -> Key {
    let (kind, value) = match value {
        Value::U8(n) => ("u8", n.into()),
        Value::I8(n) => ("i8", n.into()),
        Value::U16(n) => ("u16", n.into()),
        Value::I16(n) => ("i16", n.into()),
        Value::U32(n) => ("u32", n.into()),
        Value::I32(n) => ("i32", n.into()),
        Value::U64(n) => ("u64", n.into()),
        Value::I64(n) => ("i64", n.into()),
        // By way of its digits: 1e-5, not 9.999999747378752e-6.
        Value::F32(x) => (
            "f32",
            x.to_string().parse::<f64>().unwrap_or(x.into()).into(),
        ),
        Value::F64(x) => ("f64", x.into()),
        Value::Bool(b) => ("bool", b.into()),
        Value::String(text) => ("string", text.into()),
        Value::Bytes(bytes) => ("string", String::from_utf8_lossy(&bytes).into()),
        Value::Array(array) => {
            return Key {
                key,
                kind: format!("array of {}", array.element()),
                value: None,
                len: Some(array.len()),
            };
        }
        _ => ("unknown", serde_json::Value::Null),
    };
    Key {
        key,
        kind: kind.into(),
        value: Some(value),
        len: None,
    }
}

/// A tensor to be read: its name and its place.
struct Place {
    name: String,
    at: FieldRange,
    /// Its bytes in the order of its rows.
    runs: Vec<Range<u64>>,
    bytes: u64,
    field: Field,
}

impl Place {
    /// Runs without a gap between them are read as one.
    fn new(
        name: &str,
        at: FieldRange,
        runs: impl Iterator<Item = Range<u64>>,
        field: &Field,
    ) -> Place {
        let mut joined: Vec<Range<u64>> = Vec::new();
        let mut bytes = 0;
        for run in runs {
            bytes += run.end - run.start;
            match joined.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => joined.push(run),
            }
        }
        Place {
            name: name.to_owned(),
            at,
            runs: joined,
            bytes,
            field: field.clone(),
        }
    }

    /// Its bytes, at most `most` at a time.
    fn pieces(&self, most: u64) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().flat_map(move |run| {
            let starts = (run.start..run.end).step_by(most.max(1) as usize);
            starts.map(move |start| start..run.end.min(start + most))
        })
    }
}

/// Reads every tensor through `backend`, in random order, and compares it with a plain read of the file. `read` is told
/// how many bytes were.
pub(crate) fn verify(
    format: Format,
    args: &VerifyArgs,
    backend: Backend,
    mut read: impl FnMut(u64),
) -> Result<Checked> {
    let source = Source::of(&args.files)?;
    let page_bytes = source.page_bytes(args.page_size)?;
    let budget = match args.dram {
        Some(size) => size.0,
        None => cgroup::budget_bytes(VERIFY_BUDGET_BYTES.max(VERIFY_PAGES * page_bytes)),
    };
    let engine = Engine::builder()
        .dram_budget(budget)
        .page_size(page_bytes)
        .backend(super::kind(backend))
        .build()
        .engine("the engine cannot be built")?;
    let places = places(&engine, format, &source)?;
    let mut plain = PlainRead::new(&source);
    let mut order: Vec<usize> = (0..places.len()).collect();
    shuffle(&mut order);
    let mut digests = vec![[0u8; 32]; places.len()];
    let mut wrong = Vec::new();
    for index in order {
        interrupt::check()?;
        let place = &places[index];
        // What follows is known: the rest of this tensor.
        let _plan = engine.plan(std::slice::from_ref(&place.at));
        let mut ours = Sha256::new();
        for piece in place.pieces(CHUNK_BYTES.min(budget / 8)) {
            read(piece.end - piece.start);
            let view = place.field.read(piece).engine("cannot read")?;
            view.chunks().for_each(|chunk| ours.update(chunk));
        }
        digests[index] = ours.finalize().into();
        if digests[index] != plain.digest(place)? {
            wrong.push(place.name.clone());
        }
    }
    let mut all = Sha256::new();
    for (place, digest) in places.iter().zip(&digests) {
        all.update(place.name.as_bytes());
        all.update([0]);
        all.update(digest);
    }
    let stats = engine.stats();
    Ok(Checked {
        backend: super::backend(&super::items(&engine)),
        tensors: places.len(),
        bytes: places.iter().map(|place| place.bytes).sum(),
        sha256: all
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        wrong,
        bytes_read: stats.read_bytes,
        pinned_bytes: stats.pinned_bytes,
    })
}

fn places(engine: &Engine, format: Format, source: &Source) -> Result<Vec<Place>> {
    const READING: &str = "cannot read the tensors' names";
    let mut places = Vec::new();
    match format {
        Format::Gguf => {
            for tensor in source.gguf(engine)?.tensors() {
                let t = tensor.engine(READING)?;
                places.push(Place::new(t.name(), t.at(), t.runs(), t.field()));
            }
        }
        Format::Safetensors => {
            for model in source.safetensors(engine)? {
                for tensor in model.tensors() {
                    let t = tensor.engine(READING)?;
                    places.push(Place::new(t.name(), t.at(), t.runs(), t.field()));
                }
            }
        }
    }
    Ok(places)
}

/// A random order (Fisher-Yates with SplitMix64): another at every run, as a wrong order is to be found.
fn shuffle(order: &mut [usize]) {
    let mut state = RandomState::new().hash_one(order.len());
    for last in (1..order.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(last, ((z ^ (z >> 31)) % (last as u64 + 1)) as usize);
    }
}
