//! Small models of every architecture, with weights made from a seed.

use crate::writer::{GgufFile, STRING, U32, string, tensor};
use ringfield::TensorType;

const F32: u32 = 6;

/// What a model is to have.
#[derive(Clone, Copy)]
pub(crate) struct Tiny {
    pub(crate) architecture: &'static str,
    pub(crate) layers: usize,
    pub(crate) tied: bool,
    pub(crate) rope: Rope,
    /// The file says which layers see everything, and how the others turn.
    pub(crate) named_windows: bool,
    pub(crate) width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    /// Of the matrices: F32 or Q4_0.
    pub(crate) kind: TensorType,
    /// The values' matrices are F32 all the same.
    pub(crate) mixed: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Rope {
    Plain,
    /// A tensor of divisors.
    Factors,
    Linear,
    Yarn,
}

pub(crate) const VOCABULARY: usize = 96;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_LEN: usize = 16;

impl Tiny {
    pub(crate) fn new(architecture: &'static str) -> Tiny {
        Tiny {
            architecture,
            layers: if architecture == "gemma3" { 7 } else { 2 },
            tied: true,
            rope: Rope::Plain,
            named_windows: false,
            width: 48,
            feed_forward: 80,
            vocabulary: VOCABULARY,
            kind: TensorType::F32,
            mixed: false,
        }
    }

    /// Larger than the smallest pools, with rows that straddle pages of any size.
    pub(crate) fn large(architecture: &'static str) -> Tiny {
        Tiny {
            width: 200,
            feed_forward: 600,
            layers: 7,
            ..Tiny::new(architecture)
        }
    }

    /// A name that says what it is.
    pub(crate) fn name(&self) -> String {
        let rope = match self.rope {
            Rope::Plain => "",
            Rope::Factors => "-factors",
            Rope::Linear => "-linear",
            Rope::Yarn => "-yarn",
        };
        let tied = if self.tied { "" } else { "-untied" };
        let windows = if self.named_windows { "-windows" } else { "" };
        format!("{}{rope}{tied}{windows}", self.architecture)
    }

    pub(crate) fn file(&self) -> GgufFile {
        let mut model = Writer {
            file: GgufFile::new(),
            kind: self.kind,
            state: 0x1234_5678_9abc_def0,
        };
        model.file.keys.clear();
        model.file.tensors.clear();
        model.file.data.clear();
        model.file.alignment = 32;
        self.keys(&mut model);
        self.tensors(&mut model);
        model.file
    }

    fn keys(&self, model: &mut Writer) {
        let arch = self.architecture;
        let key = |name: &str| format!("{arch}.{name}").into_bytes();
        let keys = &mut model.file.keys;
        keys.push((
            b"general.architecture".to_vec(),
            STRING,
            string(arch.as_bytes()),
        ));
        for (name, value) in [
            ("block_count", self.layers),
            ("context_length", 64),
            ("embedding_length", self.width),
            ("feed_forward_length", self.feed_forward),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS),
            ("attention.key_length", HEAD_LEN),
            ("attention.value_length", HEAD_LEN),
            ("rope.dimension_count", HEAD_LEN),
            ("vocab_size", self.vocabulary),
        ] {
            keys.push((key(name), U32, (value as u32).to_le_bytes().to_vec()));
        }
        for (name, value) in [
            ("attention.layer_norm_rms_epsilon", 1e-5f32),
            ("rope.freq_base", 50_000.0),
        ] {
            keys.push((key(name), F32, value.to_le_bytes().to_vec()));
        }
        if arch == "gemma3" {
            keys.push((
                key("attention.sliding_window"),
                U32,
                8u32.to_le_bytes().to_vec(),
            ));
        }
        if self.named_windows {
            let every = 3u32.to_le_bytes().to_vec();
            keys.push((key("attention.sliding_window_pattern"), U32, every));
            let base = 700.0f32.to_le_bytes().to_vec();
            keys.push((key("rope.freq_base_swa"), F32, base));
        }
        let scaling: &[u8] = match self.rope {
            Rope::Linear => b"linear",
            Rope::Yarn => b"yarn",
            _ => return,
        };
        keys.push((key("rope.scaling.type"), STRING, string(scaling)));
        keys.push((
            key("rope.scaling.factor"),
            F32,
            4.0f32.to_le_bytes().to_vec(),
        ));
        let trained = 16u32.to_le_bytes().to_vec();
        keys.push((key("rope.scaling.original_context_length"), U32, trained));
    }

    fn tensors(&self, model: &mut Writer) {
        let (width, ff) = (self.width, self.feed_forward);
        let (queries, keys) = (HEADS * HEAD_LEN, KV_HEADS * HEAD_LEN);
        let gemma = self.architecture == "gemma3";
        model.matrix("token_embd.weight", width, self.vocabulary);
        for layer in 0..self.layers {
            let name = |name: &str| format!("blk.{layer}.{name}");
            model.norm(&name("attn_norm.weight"), width);
            model.matrix(&name("attn_q.weight"), width, queries);
            model.matrix(&name("attn_k.weight"), width, keys);
            if self.mixed {
                model.kind = TensorType::F32;
            }
            model.matrix(&name("attn_v.weight"), width, keys);
            model.kind = self.kind;
            if self.architecture == "qwen2" {
                model.bias(&name("attn_q.bias"), queries);
                model.bias(&name("attn_k.bias"), keys);
                model.bias(&name("attn_v.bias"), keys);
            }
            if gemma || self.architecture == "qwen3" {
                model.norm(&name("attn_q_norm.weight"), HEAD_LEN);
                model.norm(&name("attn_k_norm.weight"), HEAD_LEN);
            }
            model.matrix(&name("attn_output.weight"), queries, width);
            if gemma {
                model.norm(&name("post_attention_norm.weight"), width);
                model.norm(&name("post_ffw_norm.weight"), width);
            }
            model.norm(&name("ffn_norm.weight"), width);
            model.matrix(&name("ffn_gate.weight"), width, ff);
            model.matrix(&name("ffn_up.weight"), width, ff);
            model.matrix(&name("ffn_down.weight"), ff, width);
        }
        model.norm("output_norm.weight", width);
        if !self.tied {
            model.matrix("output.weight", width, self.vocabulary);
        }
        if self.rope == Rope::Factors {
            model.floats("rope_freqs.weight", &[HEAD_LEN / 2], 4.0, 3.0);
        }
    }
}

struct Writer {
    file: GgufFile,
    kind: TensorType,
    state: u64,
}

impl Writer {
    /// 24 random bits.
    fn random(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.state >> 40
    }

    fn begin(&mut self, name: &str, dims: &[usize], kind: TensorType) {
        let data = &mut self.file.data;
        data.resize(data.len().next_multiple_of(32), 0);
        let shape: Vec<u64> = dims.iter().map(|&dim| dim as u64).collect();
        let offset = data.len() as u64;
        self.file.tensors.push(tensor(name, &shape, kind, offset));
    }

    /// Numbers from `center - spread` to `center + spread`.
    fn floats(&mut self, name: &str, dims: &[usize], center: f32, spread: f32) {
        self.begin(name, dims, TensorType::F32);
        for _ in 0..dims.iter().product() {
            let unit = self.random() as f32 / (1u64 << 23) as f32 - 1.0;
            let x = center + spread * unit;
            self.file.data.extend_from_slice(&x.to_le_bytes());
        }
    }

    fn matrix(&mut self, name: &str, columns: usize, rows: usize) {
        let spread = 2.0 / (columns as f32).sqrt();
        if self.kind == TensorType::F32 {
            return self.floats(name, &[columns, rows], 0.0, spread);
        }
        self.begin(name, &[columns, rows], self.kind);
        // Blocks of 32: a scale in half precision, and four bits for each, which are worth -8 to 7 of it.
        for _ in 0..columns / 32 * rows {
            let scale = half::f16::from_f32(spread / 8.0);
            self.file.data.extend_from_slice(&scale.to_le_bytes());
            for _ in 0..16 {
                let byte = self.random() as u8;
                self.file.data.push(byte);
            }
        }
    }

    fn norm(&mut self, name: &str, len: usize) {
        self.floats(name, &[len], 1.0, 0.3);
    }

    fn bias(&mut self, name: &str, len: usize) {
        self.floats(name, &[len], 0.0, 0.5);
    }
}
