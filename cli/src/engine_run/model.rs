//! What a model file says of itself, and whether its tensors read right.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ringfield::{Engine, Field, FieldRange, Gguf, SafeTensors, Value};
use sha2::{Digest, Sha256};

use super::EngineContext;
use crate::args::{Backend, VerifyArgs};
use crate::cgroup;
use crate::error::{Context, Result};
use crate::interrupt;
use crate::model::{Checked, Format, Key, Listing, ModelFile, TensorRow};

/// To verify with, unless another is asked for.
const VERIFY_BUDGET_BYTES: u64 = 16 << 20;
/// Bytes of a tensor read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads everything but the tensors.
pub(crate) fn list(format: Format, path: &Path) -> Result<Listing> {
    let engine = super::for_headers()?;
    match format {
        Format::Gguf => list_gguf(&engine, path),
        Format::Safetensors => list_safetensors(&engine, path),
    }
}

fn list_gguf(engine: &Engine, path: &Path) -> Result<Listing> {
    let model = Gguf::open(engine, path).engine("cannot open the model")?;
    let files: Vec<&Field> = model.fields().collect();
    let mut listing = Listing::new("GGUF", Some(model.version()), Some(model.alignment()));
    for (field, data_offset) in files.iter().zip(model.data_offsets()) {
        listing.files.push(file_of(field, data_offset));
    }
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
    Ok(listing)
}

fn list_safetensors(engine: &Engine, path: &Path) -> Result<Listing> {
    let model = SafeTensors::open(engine, path).engine("cannot open the model")?;
    let mut listing = Listing::new("safetensors", None, None);
    let mut data_offset = u64::MAX;
    for tensor in model.tensors() {
        let tensor = tensor.engine("cannot read the tensors' names")?;
        data_offset = data_offset.min(tensor.range().start);
        listing.tensors.push(TensorRow {
            name: tensor.name().to_owned(),
            kind: tensor.dtype().to_string(),
            shape: tensor.shape().to_vec(),
            file: 0,
            offset: tensor.range().start,
            bytes: tensor.bytes(),
        });
    }
    listing
        .files
        .push(file_of(model.field(), data_offset.min(model.field().len())));
    for (key, value) in model.metadata().engine("cannot read the metadata")? {
        listing.metadata.push(Key {
            key,
            kind: "string".into(),
            value: Some(value.into()),
            len: None,
        });
    }
    Ok(listing)
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

/// A tensor to be read: its place and its name.
struct Place {
    name: String,
    at: FieldRange,
    start: u64,
    bytes: u64,
    field: Field,
}

/// Reads every tensor through `backend`, in random order, and compares it with a plain read of the file. `read` is told
/// how many bytes were.
pub(crate) fn verify(
    format: Format,
    args: &VerifyArgs,
    backend: Backend,
    mut read: impl FnMut(u64),
) -> Result<Checked> {
    let budget = match args.dram {
        Some(size) => size.0,
        None => cgroup::budget_bytes(VERIFY_BUDGET_BYTES),
    };
    let engine = Engine::builder()
        .dram_budget(budget)
        .page_size(args.page_size.0)
        .backend(super::kind(backend))
        .build()
        .engine("the engine cannot be built")?;
    let places = places(&engine, format, &args.model)?;
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
        let end = place.start + place.bytes;
        let mut at = place.start;
        while at < end {
            let next = end.min(at + CHUNK_BYTES.min(budget / 8));
            let view = place.field.read(at..next).engine("cannot read")?;
            view.chunks().for_each(|chunk| ours.update(chunk));
            read(next - at);
            at = next;
        }
        digests[index] = ours.finalize().into();
        if digests[index] != plain(place)? {
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

fn places(engine: &Engine, format: Format, path: &Path) -> Result<Vec<Place>> {
    const READING: &str = "cannot read the tensors' names";
    let place = |name: &str, at: FieldRange, range: Range<u64>, field: &Field| Place {
        name: name.to_owned(),
        at,
        start: range.start,
        bytes: range.end - range.start,
        field: field.clone(),
    };
    let places: ringfield::Result<Vec<Place>> = match format {
        Format::Gguf => {
            let model = Gguf::open(engine, path).engine("cannot open the model")?;
            let tensors = model.tensors();
            tensors
                .map(|tensor| tensor.map(|t| place(t.name(), t.at(), t.range(), t.field())))
                .collect()
        }
        Format::Safetensors => {
            let model = SafeTensors::open(engine, path).engine("cannot open the model")?;
            let tensors = model.tensors();
            tensors
                .map(|tensor| tensor.map(|t| place(t.name(), t.at(), t.range(), t.field())))
                .collect()
        }
    };
    places.engine(READING)
}

/// The digest of a tensor as the page cache gives it.
fn plain(place: &Place) -> Result<[u8; 32]> {
    let path = place.field.path();
    let file = File::open(path).at("cannot open", path)?;
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    let mut digest = Sha256::new();
    let (mut at, end) = (place.start, place.start + place.bytes);
    while at < end {
        let here = (end - at).min(CHUNK_BYTES) as usize;
        file.read_exact_at(&mut buffer[..here], at)
            .at("cannot read", path)?;
        digest.update(&buffer[..here]);
        at += here as u64;
    }
    Ok(digest.finalize().into())
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
