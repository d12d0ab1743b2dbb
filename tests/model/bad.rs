//! Files that are no model, or another one than their header says: typed errors that name the trouble, and no panic.

use crate::engine;
use crate::tiny::{Rope, Tiny};
use crate::writer::{Dir, GgufFile, STRING, U32, string, tensor};
use ringfield::{Error, Model, ModelOptions, Result, SessionOptions, TensorType};

fn open(dir: &Dir, file: &GgufFile) -> Result<Model> {
    let path = dir.write("model.gguf", &file.bytes());
    Model::open(&engine().build().unwrap(), path)
}

/// Opens and runs a model of which a part was spoilt.
fn run(dir: &Dir, file: &GgufFile) -> Result<Vec<f32>> {
    let model = open(dir, file)?;
    let mut session = model.session(SessionOptions::new())?;
    session.feed(&[1, 2, 3])?;
    Ok(session.logits().to_vec())
}

fn set(file: &mut GgufFile, key: &str, kind: u32, value: &[u8]) {
    let name = key.as_bytes();
    file.keys.retain(|(key, ..)| key != name);
    file.keys.push((name.to_vec(), kind, value.to_vec()));
}

#[test]
fn an_architecture_without_code_is_named_with_those_that_have_it() {
    let dir = Dir::new();
    let mut file = Tiny::new("llama").file();
    for name in ["mamba", "", &"x".repeat(100_000)] {
        set(
            &mut file,
            "general.architecture",
            STRING,
            &string(name.as_bytes()),
        );
        let error = open(&dir, &file).unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported { supported, .. } if supported.contains("gemma3"))
        );
        assert!(error.to_string().len() < 400, "{error}");
    }
    set(&mut file, "general.architecture", U32, &7u32.to_le_bytes());
    assert!(matches!(open(&dir, &file), Err(Error::Malformed { .. })));
}

#[test]
fn a_missing_tensor_is_named() {
    let dir = Dir::new();
    for architecture in ["llama", "qwen2", "qwen3", "gemma3"] {
        let whole = Tiny::new(architecture).file();
        for index in 0..whole.tensors.len() {
            let mut file = whole.clone();
            let gone = file.tensors.remove(index);
            let name = String::from_utf8(gone.name).unwrap();
            let error = open(&dir, &file).unwrap_err();
            assert!(error.to_string().contains(&name), "{name}: {error}");
        }
    }
}

#[test]
fn a_tensor_or_a_key_that_would_change_the_result_and_is_not_known_is_refused() {
    let dir = Dir::new();
    let mut file = Tiny::new("llama").file();
    let offset = file.data.len().next_multiple_of(32);
    file.data.resize(offset + 4 * 80, 0);
    let bias = tensor("blk.0.ffn_up.bias", &[80], TensorType::F32, offset as u64);
    file.tensors.push(bias);
    let error = open(&dir, &file).unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported { found, .. } if found == "blk.0.ffn_up.bias"),
        "{error}"
    );
    for (key, neutral) in [
        ("llama.final_logit_softcapping", Some(0.0f32)),
        ("llama.rope.scaling.yarn_beta_fast", Some(32.0)),
        ("llama.attention.scale", None),
    ] {
        let mut file = Tiny::new("llama").file();
        set(&mut file, key, 6, &7.0f32.to_le_bytes());
        let error = open(&dir, &file).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        if let Some(neutral) = neutral {
            set(&mut file, key, 6, &neutral.to_le_bytes());
            assert!(open(&dir, &file).is_ok());
        }
    }
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    let dir = Dir::new();
    let whole = Tiny::new("gemma3").file();
    for index in 0..whole.tensors.len() {
        let mut file = whole.clone();
        let name = String::from_utf8(file.tensors[index].name.clone()).unwrap();
        // One less along the first dimension.
        file.tensors[index].dims[0] -= 1;
        let error = open(&dir, &file).unwrap_err();
        assert!(
            matches!(&error, Error::Malformed { what, .. } if what.contains(&name)),
            "{error}"
        );
    }
}

#[test]
fn a_tensor_type_without_kernels_is_named_with_those_that_have_them() {
    let dir = Dir::new();
    let mut file = Tiny::new("llama").file();
    let at = file
        .tensors
        .iter()
        .position(|t| t.name == b"blk.1.attn_norm.weight");
    let spoilt = &mut file.tensors[at.unwrap()];
    *spoilt = tensor(
        "blk.1.attn_norm.weight",
        &spoilt.dims,
        TensorType::F64,
        spoilt.offset,
    );
    file.data.resize(file.data.len() + 4096, 0);
    // Behind everything, so that it overlaps nothing.
    file.tensors[at.unwrap()].offset = (file.data.len() - 4096).next_multiple_of(32) as u64;
    let error = open(&dir, &file).unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported { found, .. } if found.contains("blk.1.attn_norm.weight")),
        "{error}"
    );
}

/// Every number of the metadata at its extremes, alone and in pairs: what comes out is a model or an error.
#[test]
fn numbers_at_their_extremes_are_errors_or_models_and_nothing_else() {
    let dir = Dir::new();
    let numbers: Vec<String> = [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
        "attention.sliding_window",
    ]
    .iter()
    .map(|name| format!("gemma3.{name}"))
    .collect();
    let whole = Tiny::new("gemma3").file();
    let mut refused = 0;
    for (index, first) in numbers.iter().enumerate() {
        for second in &numbers[index..] {
            for value in [0u32, 1, 2, 3, u32::MAX, u32::MAX / 2 + 1] {
                let mut file = whole.clone();
                set(&mut file, first, U32, &value.to_le_bytes());
                set(&mut file, second, U32, &value.to_le_bytes());
                match run(&dir, &file) {
                    Ok(logits) => assert!(!logits.is_empty()),
                    Err(
                        Error::Malformed { .. }
                        | Error::Unsupported { .. }
                        | Error::ContextFull { .. }
                        | Error::InvalidOption { .. },
                    ) => refused += 1,
                    Err(error) => panic!("{first}, {second} = {value}: {error}"),
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn floats_that_are_no_measure_are_errors() {
    let dir = Dir::new();
    let yarn = Tiny {
        rope: Rope::Yarn,
        ..Tiny::new("llama")
    };
    let whole = yarn.file();
    assert!(open(&dir, &whole).is_ok());
    for key in [
        "llama.rope.freq_base",
        "llama.attention.layer_norm_rms_epsilon",
        "llama.rope.scaling.factor",
        "llama.rope.scaling.attn_factor",
    ] {
        for value in [0.0f32, -1.0, f32::NAN, f32::INFINITY] {
            let mut file = whole.clone();
            set(&mut file, key, 6, &value.to_le_bytes());
            assert!(
                matches!(open(&dir, &file), Err(Error::Malformed { .. })),
                "{key} = {value}"
            );
        }
    }
    // A context that is none is the smallest or the largest that there can be.
    for trained in [0, u64::MAX] {
        let mut file = whole.clone();
        let key = "llama.rope.scaling.original_context_length";
        set(&mut file, key, 10, &trained.to_le_bytes());
        assert!(
            run(&dir, &file)
                .unwrap()
                .iter()
                .all(|logit| logit.is_finite())
        );
    }
}

#[test]
fn a_pool_that_cannot_hold_a_window_says_how_many_frames_would() {
    let dir = Dir::new();
    let path = dir.write("model.gguf", &Tiny::large("llama").file().bytes());
    let with_budget = |bytes| engine().dram_budget(bytes).build().unwrap();
    let small = with_budget(3_180_000);
    // Each thread holds a piece of it.
    let options = ModelOptions::new().threads(64);
    let Err(Error::PoolTooSmall { need, have }) = Model::open_with(&small, &path, options) else {
        panic!("{} frames cannot be enough", small.frames());
    };
    assert!(need > have && have == small.frames());
    // What it says is true.
    let mut budget = 3_180_000;
    let enough = loop {
        budget += 4096;
        let engine = with_budget(budget);
        if engine.frames() >= need {
            break engine;
        }
    };
    assert!(Model::open_with(&enough, &path, options).is_ok());
}

#[test]
fn a_file_that_is_cut_while_it_is_open_fails_the_pass_and_nothing_else() {
    let dir = Dir::new();
    let bytes = Tiny::large("llama").file().bytes();
    let path = dir.write("model.gguf", &bytes);
    let engine = engine().dram_budget(5 << 20).build().unwrap();
    let model = Model::open(&engine, &path).unwrap();
    assert!(model.plan().streamed_bytes > 0);
    let mut session = model.session(SessionOptions::new()).unwrap();
    session.feed(&[1, 2, 3]).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(bytes.len() as u64 / 4).unwrap();
    for _ in 0..3 {
        let error = session.feed(&[4]).unwrap_err();
        assert!(
            matches!(error, Error::FileChanged { .. } | Error::Read { .. }),
            "{error}"
        );
    }
    assert_eq!(session.tokens(), [1, 2, 3]);
}
