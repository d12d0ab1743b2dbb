//! Model files made for tests, on the disk of the build directory: direct I/O is not to be had everywhere in /tmp.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A GGUF file that grows: keys, then tensors of F32.
#[derive(Default)]
pub(crate) struct Gguf {
    keys: Vec<u8>,
    key_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
    state: u64,
}

impl Gguf {
    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.keys.extend(string(key));
        self.keys.extend(kind.to_le_bytes());
        self.keys.extend(value);
        self.key_count += 1;
    }

    fn strings(&mut self, key: &str, texts: &[String]) {
        let mut value = [
            &STRING.to_le_bytes()[..],
            &(texts.len() as u64).to_le_bytes(),
        ]
        .concat();
        texts.iter().for_each(|text| value.extend(string(text)));
        self.key(key, ARRAY, &value);
    }

    /// Numbers from `center - spread` to `center + spread`, other ones in each tensor.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[u64], center: f32, spread: f32) {
        self.tensors.extend(string(name));
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        shape
            .iter()
            .for_each(|dim| self.tensors.extend(dim.to_le_bytes()));
        self.tensors.extend(0u32.to_le_bytes());
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensors.extend((self.data.len() as u64).to_le_bytes());
        self.tensor_count += 1;
        for _ in 0..shape.iter().product() {
            self.state = self
                .state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let unit = (self.state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            self.data.extend((center + spread * unit).to_le_bytes());
        }
    }

    pub(crate) fn write(&self, path: &Path) {
        let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.key_count.to_le_bytes());
        bytes.extend(&self.keys);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        fs::write(path, bytes).expect("written");
    }
}

/// The letters of byte-level vocabularies, in the order of the bytes.
fn byte_letters() -> Vec<String> {
    let mut others = 0x100..;
    let letter = |byte: u32| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte,
        _ => others.next().expect("endless"),
    };
    let letters = (0..256).map(letter);
    letters
        .filter_map(char::from_u32)
        .map(String::from)
        .collect()
}

const WIDTH: u64 = 64;
const FEED_FORWARD: u64 = 96;

/// A model of two layers that `ringfield run` runs, with a vocabulary of all bytes.
pub(crate) fn model(dir: &Path) -> PathBuf {
    let mut file = Gguf::default();
    file.key("general.architecture", STRING, &string("llama"));
    for (name, value) in [
        ("block_count", 2),
        ("context_length", 64),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", FEED_FORWARD as u32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("rope.dimension_count", 16),
        ("vocab_size", 257),
    ] {
        file.key(&format!("llama.{name}"), U32, &u32::to_le_bytes(value));
    }
    file.key(
        "llama.attention.layer_norm_rms_epsilon",
        F32,
        &1e-5f32.to_le_bytes(),
    );
    let mut tokens = byte_letters();
    tokens.push("he".into());
    file.key("tokenizer.ggml.model", STRING, &string("gpt2"));
    file.key("tokenizer.ggml.pre", STRING, &string("gpt-2"));
    file.strings("tokenizer.ggml.tokens", &tokens);
    file.strings("tokenizer.ggml.merges", &["h e".into()]);
    let kinds = [
        &I32.to_le_bytes()[..],
        &257u64.to_le_bytes(),
        &1u32.to_le_bytes().repeat(257),
    ]
    .concat();
    file.key("tokenizer.ggml.token_type", ARRAY, &kinds);

    let spread = |columns: u64| 2.0 / (columns as f32).sqrt();
    file.tensor("token_embd.weight", &[WIDTH, 257], 0.0, spread(WIDTH));
    for layer in 0..2 {
        for (name, shape) in [
            ("attn_q", [WIDTH, WIDTH]),
            ("attn_k", [WIDTH, WIDTH / 2]),
            ("attn_v", [WIDTH, WIDTH / 2]),
            ("attn_output", [WIDTH, WIDTH]),
            ("ffn_gate", [WIDTH, FEED_FORWARD]),
            ("ffn_up", [WIDTH, FEED_FORWARD]),
            ("ffn_down", [FEED_FORWARD, WIDTH]),
        ] {
            file.tensor(
                &format!("blk.{layer}.{name}.weight"),
                &shape,
                0.0,
                spread(shape[0]),
            );
        }
        for name in ["attn_norm", "ffn_norm"] {
            file.tensor(&format!("blk.{layer}.{name}.weight"), &[WIDTH], 1.0, 0.3);
        }
    }
    file.tensor("output_norm.weight", &[WIDTH], 1.0, 0.3);
    let path = dir.join("tiny.gguf");
    file.write(&path);
    path
}

pub(crate) const EXPERTS: u64 = 6;
const EXPERT_ROWS: u64 = 20;
/// Bytes of an expert's part of a tensor.
pub(crate) const EXPERT_BYTES: usize = (WIDTH * EXPERT_ROWS * 4) as usize;

/// A file of tensors, some of which hold six experts of a layer: to be packed, not to be run.
pub(crate) fn experts(dir: &Path) -> PathBuf {
    let mut file = Gguf::default();
    file.key("general.architecture", STRING, &string("llama"));
    file.tensor("token_embd.weight", &[WIDTH, 300], 0.0, 1.0);
    for layer in 0..2 {
        for name in ["ffn_gate_exps", "ffn_up_exps"] {
            let shape = [WIDTH, EXPERT_ROWS, EXPERTS];
            file.tensor(&format!("blk.{layer}.{name}.weight"), &shape, 0.0, 1.0);
        }
    }
    let path = dir.join("experts.gguf");
    file.write(&path);
    path
}

/// A safetensors file of two tensors, one of them of odd length.
pub(crate) fn safetensors(dir: &Path) -> PathBuf {
    let header = r#"{"__metadata__":{"format":"pt"},"model.layers.0.mlp.up_proj.weight":{"dtype":"F32","shape":[100,100],"data_offsets":[0,40000]},"w":{"dtype":"U8","shape":[20001],"data_offsets":[40000,60001]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..60_001u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8));
    let path = dir.join("model.safetensors");
    fs::write(&path, bytes).expect("written");
    path
}
