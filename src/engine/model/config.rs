//! What a model's file says of its shape, and what each architecture's files leave out.

use crate::engine::formats::gguf::{self, Gguf, Value};
use crate::error::{Error, Result};
use std::path::Path;

const LAYERS_MAX: u64 = 1 << 10;
const WIDTH_MAX: u64 = 1 << 20;
const CONTEXT_MAX: u64 = 1 << 24;
/// Characters of a value in an error.
const FOUND_CHARS: usize = 40;

/// A family of dense decoders that differ in a few places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    /// Touvron et al. 2023, arXiv 2302.13971; the GGUF has rows of queries and keys in the order that interleaved
    /// rotation needs.
    Llama,
    /// Yang et al. 2024, arXiv 2407.10671: biases of queries, keys and values.
    Qwen2,
    /// Yang et al. 2025, arXiv 2505.09388: norms of queries and keys in their place.
    Qwen3,
    /// Gemma Team 2025, arXiv 2503.19786.
    Gemma3,
}

/// How the two halves of a rotated pair lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairs {
    /// `x[2i]` and `x[2i + 1]`, as in the paper (Su et al. 2021, arXiv 2104.09864).
    Interleaved,
    /// `x[i]` and `x[i + n / 2]`, as GPT-NeoX has it.
    Halves,
}

/// The gate of the feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Silu,
    GeluTanh,
}

/// What files of an architecture leave out.
#[derive(Debug, Clone, Copy)]
struct Constants {
    name: &'static str,
    architecture: Architecture,
    pairs: Pairs,
    gate: Gate,
    /// The embedding is multiplied by the square root of the width.
    scaled_embedding: bool,
    /// Every so many layers, the last of them, one sees everything; the others see a window.
    global_every: Option<usize>,
    /// Base of the rotation where the file says nothing.
    rope_base: f64,
    /// Base of the rotation in layers that see a window.
    local_rope_base: Option<f64>,
}

/// Sources: llama: Meta's reference code (rotation of neighbours) through the order of rows that GGUF files have; qwen2
/// and qwen3: `rotate_half` in the models' code; gemma3: section 2 of the report ("5:1 interleaving of local/global
/// layers", "RoPE base frequency from 10k to 1M on global self-attention layers, and keep the frequency of the local
/// layers at 10k") and Gemma's reference code (GELU by tanh, embedding times the root of the width).
const ARCHITECTURES: [Constants; 4] = [
    Constants {
        name: "llama",
        architecture: Architecture::Llama,
        pairs: Pairs::Interleaved,
        gate: Gate::Silu,
        scaled_embedding: false,
        global_every: None,
        rope_base: 10_000.0,
        local_rope_base: None,
    },
    Constants {
        name: "qwen2",
        architecture: Architecture::Qwen2,
        pairs: Pairs::Halves,
        gate: Gate::Silu,
        scaled_embedding: false,
        global_every: None,
        rope_base: 10_000.0,
        local_rope_base: None,
    },
    Constants {
        name: "qwen3",
        architecture: Architecture::Qwen3,
        pairs: Pairs::Halves,
        gate: Gate::Silu,
        scaled_embedding: false,
        global_every: None,
        rope_base: 10_000.0,
        local_rope_base: None,
    },
    Constants {
        name: "gemma3",
        architecture: Architecture::Gemma3,
        pairs: Pairs::Halves,
        gate: Gate::GeluTanh,
        scaled_embedding: true,
        global_every: Some(6),
        rope_base: 1_000_000.0,
        local_rope_base: Some(10_000.0),
    },
];

/// Keys that would change the result if they were heeded, and the value with which they would not.
const NEUTRAL: [(&str, Option<f64>); 8] = [
    ("attention.scale", None),
    ("attn_logit_softcapping", Some(0.0)),
    ("final_logit_softcapping", Some(0.0)),
    ("rope.scaling.yarn_beta_fast", Some(32.0)),
    ("rope.scaling.yarn_beta_slow", Some(1.0)),
    ("rope.scaling.yarn_ext_factor", Some(1.0)),
    ("rope.scaling.yarn_attn_factor", Some(1.0)),
    ("rope.scaling.yarn_log_multiplier", Some(0.0)),
];

/// How positions beyond those of the training are squeezed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scaling {
    None,
    /// Positions divided by a factor (Chen et al. 2023, arXiv 2306.15595).
    Linear(f64),
    /// Peng et al. 2023, arXiv 2309.00071.
    Yarn {
        factor: f64,
        trained_context: f64,
        /// Of the attention's temperature; 1 where the file says nothing.
        attention_factor: f64,
    },
}

/// A model's shape. Every number was checked.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) name: &'static str,
    pub(super) architecture: Architecture,
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) feed_forward: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_len: usize,
    pub(super) context: usize,
    pub(super) epsilon: f32,
    pub(super) pairs: Pairs,
    pub(super) gate: Gate,
    pub(super) scaled_embedding: bool,
    /// What scores are multiplied by.
    pub(super) attention_scale: f32,
    /// Elements of a head that are rotated.
    pub(super) rope_len: usize,
    pub(super) rope_base: f64,
    pub(super) local_rope_base: f64,
    pub(super) scaling: Scaling,
    /// Positions that a layer of a window sees.
    window: Option<usize>,
    global_every: usize,
}

impl Config {
    /// Positions that layer `layer` sees, its own included; `None` for all.
    pub(super) fn window(&self, layer: usize) -> Option<usize> {
        self.window
            .filter(|_| !(layer + 1).is_multiple_of(self.global_every))
    }

    /// Elements of all heads of the queries.
    pub(super) fn query_len(&self) -> usize {
        self.heads * self.head_len
    }

    /// Elements of all heads of the keys, and of the values.
    pub(super) fn kv_len(&self) -> usize {
        self.kv_heads * self.head_len
    }

    pub(super) fn read(model: &Gguf, path: &Path) -> Result<Config> {
        let keys = Keys { model, path };
        let name = keys.text("general.architecture")?.unwrap_or_default();
        let Some(known) = ARCHITECTURES.iter().find(|known| known.name == name) else {
            let all: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
            return Err(keys.unsupported("general.architecture", &name, &all.join(", ")));
        };
        let number = |key: &str| keys.number(known.name, key);
        let float = |key: &str| keys.float(known.name, key);
        let required = |key: &str, max: u64| -> Result<usize> {
            match number(key)? {
                Some(n) if (1..=max).contains(&n) => Ok(n as usize),
                Some(n) => Err(keys.malformed(format!("{name}.{key} is {n}, not 1 to {max}"))),
                None => Err(keys.malformed(format!("{name}.{key} is missing"))),
            }
        };
        let width = required("embedding_length", WIDTH_MAX)?;
        let heads = required("attention.head_count", WIDTH_MAX)?;
        let kv_heads = match number("attention.head_count_kv")? {
            Some(n) => n.min(WIDTH_MAX) as usize,
            None => heads,
        };
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(keys.malformed(format!(
                "{heads} heads cannot share {kv_heads} heads of keys"
            )));
        }
        let head_len = match number("attention.key_length")? {
            Some(n) => n.min(WIDTH_MAX) as usize,
            None => width / heads,
        };
        if head_len == 0 || !head_len.is_multiple_of(2) || heads * head_len > WIDTH_MAX as usize {
            return Err(keys.malformed(format!("{heads} heads of {head_len} elements")));
        }
        if let Some(n) = number("attention.value_length")?.filter(|&n| n != head_len as u64) {
            let supported = format!("{head_len}, as keys have");
            return Err(keys.unsupported("attention.value_length", &n.to_string(), &supported));
        }
        let rope_len = match number("rope.dimension_count")? {
            Some(n) => n.min(WIDTH_MAX) as usize,
            None => head_len,
        };
        if rope_len > head_len || !rope_len.is_multiple_of(2) {
            return Err(keys.malformed(format!("{rope_len} of {head_len} elements are rotated")));
        }
        let positive = |key: &str, value: Option<f64>, otherwise: f64| match value {
            Some(x) if x.is_finite() && x > 0.0 => Ok(x),
            Some(x) => Err(keys.malformed(format!("{name}.{key} is {x}, not positive"))),
            None => Ok(otherwise),
        };
        let rope_base = positive("rope.freq_base", float("rope.freq_base")?, known.rope_base)?;
        let epsilon_key = "attention.layer_norm_rms_epsilon";
        let Some(epsilon) = float(epsilon_key)? else {
            return Err(keys.malformed(format!("{name}.{epsilon_key} is missing")));
        };
        let epsilon = positive(epsilon_key, Some(epsilon), epsilon)? as f32;
        keys.refuse_what_would_change_the_result(known.name)?;
        let layers = required("block_count", LAYERS_MAX)?;
        // The largest Gemma 3 alone scales by the width of a head as if all of the model's width were heads
        // (`query_pre_attn_scalar` in its configuration: 5376 / 32).
        let scaled_len = match known.architecture {
            Architecture::Gemma3 if layers == 62 => width as f64 / heads as f64,
            _ => head_len as f64,
        };
        let window = number("attention.sliding_window")?.unwrap_or(0) as usize;
        // Newer files name what the architecture's constants are otherwise.
        let local_base_key = "rope.freq_base_swa";
        let pattern_key = "attention.sliding_window_pattern";
        let global_every = match number(pattern_key)? {
            Some(0) => return Err(keys.malformed(format!("{name}.{pattern_key} is 0"))),
            Some(n) => n.min(WIDTH_MAX) as usize,
            None => known.global_every.unwrap_or(1),
        };
        let windowed = window > 0 && known.global_every.is_some();
        Ok(Config {
            name: known.name,
            architecture: known.architecture,
            layers,
            width,
            feed_forward: required("feed_forward_length", WIDTH_MAX)?,
            heads,
            kv_heads,
            head_len,
            context: required("context_length", CONTEXT_MAX)?,
            epsilon,
            pairs: known.pairs,
            gate: known.gate,
            scaled_embedding: known.scaled_embedding,
            attention_scale: (1.0 / scaled_len.sqrt()) as f32,
            rope_len,
            rope_base,
            local_rope_base: match known.local_rope_base {
                Some(base) => positive(local_base_key, float(local_base_key)?, base)?,
                None => rope_base,
            },
            scaling: keys.scaling(known.name)?,
            window: windowed.then_some(window),
            global_every,
        })
    }
}

/// The metadata, read with errors that name the file.
struct Keys<'m> {
    model: &'m Gguf,
    path: &'m Path,
}

impl Keys<'_> {
    fn malformed(&self, what: String) -> Error {
        gguf::malformed(self.path, 0, what)
    }

    /// The value may be of any length, so only its beginning is told.
    fn unsupported(&self, key: &'static str, found: &str, supported: &str) -> Error {
        Error::Unsupported {
            path: self.path.to_path_buf(),
            key,
            found: found.chars().take(FOUND_CHARS).collect(),
            supported: supported.into(),
        }
    }

    /// A value, where its type is what `of` takes.
    fn value<T>(&self, key: &str, of: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.model.get(key)? {
            None => Ok(None),
            Some(value) => match of(&value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.malformed(format!("{key} has a value of the wrong type"))),
            },
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        self.value(key, |value| value.as_str().map(str::to_owned))
    }

    fn number(&self, name: &str, key: &str) -> Result<Option<u64>> {
        self.value(&format!("{name}.{key}"), Value::as_u64)
    }

    fn float(&self, name: &str, key: &str) -> Result<Option<f64>> {
        self.value(&format!("{name}.{key}"), Value::as_f64)
    }

    /// Keys that there is no code for, where their value is not the one that changes nothing.
    fn refuse_what_would_change_the_result(&self, name: &str) -> Result<()> {
        for (key, neutral) in NEUTRAL {
            match self.float(name, key)? {
                Some(x) if Some(x) != neutral => {
                    let supported = neutral.map_or("none".into(), |x| x.to_string());
                    return Err(self.unsupported(key, &x.to_string(), &supported));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn scaling(&self, name: &str) -> Result<Scaling> {
        let kind = self.text(&format!("{name}.rope.scaling.type"))?;
        let factor = match self.float(name, "rope.scaling.factor")? {
            Some(factor) => Some(factor),
            // As older files call it.
            None => self.float(name, "rope.scale_linear")?,
        };
        let attention_factor = self.float(name, "rope.scaling.attn_factor")?;
        for x in [factor, attention_factor].into_iter().flatten() {
            if !(x.is_finite() && x > 0.0) {
                return Err(self.malformed(format!("a factor of {name}.rope.scaling is {x}")));
            }
        }
        match (kind.as_deref(), factor) {
            (None, None) | (Some("none"), _) => Ok(Scaling::None),
            (None | Some("linear"), factor) => Ok(Scaling::Linear(factor.unwrap_or(1.0))),
            (Some("yarn"), factor) => {
                let trained = "rope.scaling.original_context_length";
                let trained = match self.number(name, trained)? {
                    Some(n) => n,
                    None => self.number(name, "context_length")?.unwrap_or(1),
                };
                Ok(Scaling::Yarn {
                    factor: factor.unwrap_or(1.0),
                    trained_context: trained.clamp(1, CONTEXT_MAX) as f64,
                    attention_factor: attention_factor.unwrap_or(1.0),
                })
            }
            (Some(kind), _) => {
                Err(self.unsupported("rope.scaling.type", kind, "none, linear, yarn"))
            }
        }
    }
}
