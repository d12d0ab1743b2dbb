//! Packing loses nothing: tensors read the same, and unpacking gives the same files.

use crate::child::skipped;
use crate::writer::Dir;
use ringfield::{Engine, Gguf, Pack, PackedField, Tensor};
use std::path::{Path, PathBuf};

fn engine(page_bytes: u64) -> Engine {
    Engine::builder()
        .dram_budget(64 << 20)
        .page_size(page_bytes)
        .build()
        .unwrap()
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in tensor.runs() {
        for start in run.clone().step_by(1 << 20) {
            let end = run.end.min(start + (1 << 20));
            bytes.extend(tensor.field().read(start..end).unwrap().to_vec());
        }
    }
    bytes
}

/// Packs `source` into `members` files of pages of `page_bytes`, and compares everything.
fn round_trip(source: &Path, members: usize, page_bytes: u64) {
    let dir = Dir::new();
    let paths: Vec<PathBuf> = (0..members)
        .map(|k| dir.path().join(format!("{k}.rf")))
        .collect();
    let packed = Pack::new([source])
        .page_size(page_bytes)
        .run(&paths, |_| true)
        .unwrap();
    println!("{packed:?}");
    let engine = engine(page_bytes);
    let field = engine.open_array(paths.iter().rev()).unwrap();
    let (plain, model) = (
        Gguf::open(&engine, source).unwrap(),
        Gguf::of(&field).unwrap(),
    );
    assert_eq!(model.tensor_count(), plain.tensor_count());
    for (one, other) in plain.tensors().zip(model.tensors()) {
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(
            (one.name(), one.shape(), one.kind()),
            (other.name(), other.shape(), other.kind())
        );
        assert!(bytes_of(&one) == bytes_of(&other), "{}", one.name());
    }
    let unpacked = PackedField::of(field)
        .unwrap()
        .unpack(dir.path(), false, |_| true)
        .unwrap();
    for path in unpacked {
        assert!(std::fs::read(&path).unwrap() == std::fs::read(source).unwrap());
    }
}

#[test]
fn real_models_come_back_byte_for_byte() {
    for name in [
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "gemma-3-270m-q4_k_m.gguf",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("models")
            .join(name);
        if !path.exists() {
            skipped!("models/{name} is not here: scripts/get-models.sh takes it");
        }
        round_trip(&path, 1, 256 << 10);
        round_trip(&path, 3, 4096);
    }
}
