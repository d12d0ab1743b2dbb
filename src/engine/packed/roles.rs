//! What a tensor is for, told by its name: the order in which a token needs it, and which tensors are one expert's.
//!
//! The names are those of GGUF (`blk.3.ffn_up.weight`) and of Hugging Face's models (`model.layers.3.mlp.up_proj.weight`).
//! A name that nobody knows costs nothing but its place: it is stored with the others of its layer.

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum TensorRole {
    /// A row for each token.
    Embedding = 1,
    /// Divides by the size of what goes into the attention.
    AttentionNorm = 2,
    /// Queries, keys, values, and what belongs to them.
    Attention = 3,
    /// What comes out of the attention.
    AttentionOutput = 4,
    /// Divides by the size of what goes into the feed-forward part.
    FeedForwardNorm = 5,
    /// Chooses experts.
    Router = 6,
    /// The gate of a feed-forward part.
    Gate = 7,
    /// The first matrix of a feed-forward part.
    Up = 8,
    /// The second.
    Down = 9,
    /// The same of experts.
    ExpertGate = 10,
    /// See [`TensorRole::ExpertGate`].
    ExpertUp = 11,
    /// See [`TensorRole::ExpertGate`].
    ExpertDown = 12,
    /// Anything else of a layer.
    Layer = 13,
    /// Anything else.
    Other = 14,
    /// Divides by the size of what goes into the head.
    OutputNorm = 15,
    /// Logits of the vocabulary.
    Head = 16,
}

use TensorRole as R;

impl TensorRole {
    const ALL: [TensorRole; 16] = [
        R::Embedding,
        R::AttentionNorm,
        R::Attention,
        R::AttentionOutput,
        R::FeedForwardNorm,
        R::Router,
        R::Gate,
        R::Up,
        R::Down,
        R::ExpertGate,
        R::ExpertUp,
        R::ExpertDown,
        R::Layer,
        R::Other,
        R::OutputNorm,
        R::Head,
    ];

    pub(crate) fn of_code(code: u16) -> Option<TensorRole> {
        TensorRole::ALL
            .into_iter()
            .find(|&role| role as u16 == code)
    }

    /// True for a part of an expert.
    pub fn is_expert(self) -> bool {
        matches!(self, R::ExpertGate | R::ExpertUp | R::ExpertDown)
    }
}

impl std::fmt::Display for TensorRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            R::Embedding => "embedding",
            R::AttentionNorm => "attention norm",
            R::Attention => "attention",
            R::AttentionOutput => "attention output",
            R::FeedForwardNorm => "feed-forward norm",
            R::Router => "router",
            R::Gate => "gate",
            R::Up => "up",
            R::Down => "down",
            R::ExpertGate => "expert gate",
            R::ExpertUp => "expert up",
            R::ExpertDown => "expert down",
            R::Layer => "layer",
            R::Other => "other",
            R::OutputNorm => "output norm",
            R::Head => "head",
        })
    }
}

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) role: TensorRole,
    pub(crate) layer: Option<u32>,
    /// Which expert, where each has a tensor of its own.
    pub(crate) expert: Option<u32>,
}

impl Named {
    /// Tensors are stored in the order of this key: as a token needs them.
    pub(crate) fn order(&self) -> (u8, u32, TensorRole) {
        match (self.role, self.layer) {
            (R::Embedding, _) => (0, 0, self.role),
            (_, Some(layer)) => (1, layer, self.role),
            (R::Head | R::OutputNorm, _) => (3, 0, self.role),
            _ => (2, 0, self.role),
        }
    }
}

/// Parts of names, and what they stand for; the first that fits decides.
const PARTS: [(&str, TensorRole); 41] = [
    ("ffn_gate_up_exps", R::ExpertUp),
    ("ffn_gate_exps", R::ExpertGate),
    ("ffn_up_exps", R::ExpertUp),
    ("ffn_down_exps", R::ExpertDown),
    ("ffn_gate_inp", R::Router),
    ("gate_proj", R::Gate),
    ("up_proj", R::Up),
    ("down_proj", R::Down),
    ("ffn_gate", R::Gate),
    ("ffn_up", R::Up),
    ("ffn_down", R::Down),
    ("ffn_norm", R::FeedForwardNorm),
    ("post_attention_layernorm", R::FeedForwardNorm),
    ("pre_feedforward_layernorm", R::FeedForwardNorm),
    ("mlp.gate.", R::Router),
    ("block_sparse_moe.gate", R::Router),
    ("router", R::Router),
    ("token_embd_norm", R::Other),
    ("token_embd", R::Embedding),
    ("embed_tokens", R::Embedding),
    ("wte.", R::Embedding),
    ("output_norm", R::OutputNorm),
    ("lm_head", R::Head),
    ("attn_norm", R::AttentionNorm),
    ("input_layernorm", R::AttentionNorm),
    ("attn_output", R::AttentionOutput),
    ("o_proj", R::AttentionOutput),
    ("attn_q_norm", R::Attention),
    ("attn_k_norm", R::Attention),
    ("attn_q", R::Attention),
    ("attn_k", R::Attention),
    ("attn_v", R::Attention),
    ("q_proj", R::Attention),
    ("k_proj", R::Attention),
    ("v_proj", R::Attention),
    ("q_norm", R::Attention),
    ("k_norm", R::Attention),
    (".w1.", R::Gate),
    (".w3.", R::Up),
    (".w2.", R::Down),
    ("output.weight", R::Head),
];

/// What `name` says.
pub(crate) fn read(name: &str) -> Named {
    let layer = number_behind(name, &["blk.", "layers.", "h."]);
    let mut expert = number_behind(name, &["experts."]);
    let found = PARTS.iter().find(|(part, _)| name.contains(part));
    let mut role = match found {
        Some(&(_, role)) => role,
        None if name == "model.norm.weight" || name == "norm.weight" => R::OutputNorm,
        None if layer.is_some() => R::Layer,
        None => R::Other,
    };
    // `blk.3.ffn_gate.7.weight`, as older files have it.
    if expert.is_none() {
        expert = number_behind(name, &["ffn_gate.", "ffn_up.", "ffn_down."]);
    }
    // One tensor can have all of a layer's: `model.layers.3.mlp.experts.gate_up_proj`.
    if expert.is_some() || name.split('.').any(|part| part == "experts") {
        role = match role {
            R::Gate => R::ExpertGate,
            R::Up => R::ExpertUp,
            R::Down => R::ExpertDown,
            other => other,
        };
    }
    // A head and a norm of a layer are none of the model.
    if layer.is_some() && matches!(role, R::Head | R::OutputNorm | R::Embedding) {
        role = R::Layer;
    }
    Named {
        role,
        layer,
        expert,
    }
}

/// True for biases and scales, which belong to weights of the same name.
pub(super) fn is_beside_weights(name: &str) -> bool {
    ["bias", "scale", "scales"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The number that follows one of `words` at the beginning of a part of the name.
fn number_behind(name: &str, words: &[&str]) -> Option<u32> {
    words.iter().find_map(|word| {
        name.match_indices(word).find_map(|(at, _)| {
            let begins = at == 0 || name[..at].ends_with('.');
            let digits = name[at + word.len()..].split('.').next()?;
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            (begins && plain).then(|| digits.parse().ok())?
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{TensorRole as R, read};

    #[test]
    fn names_of_both_worlds_are_read() {
        for (name, role, layer, expert) in [
            ("token_embd.weight", R::Embedding, None, None),
            ("blk.12.attn_q.weight", R::Attention, Some(12), None),
            ("blk.0.ffn_gate_exps.weight", R::ExpertGate, Some(0), None),
            ("blk.0.ffn_gate_up_exps.weight", R::ExpertUp, Some(0), None),
            ("blk.0.ffn_gate_inp.weight", R::Router, Some(0), None),
            ("blk.3.ffn_down.7.weight", R::ExpertDown, Some(3), Some(7)),
            ("output.weight", R::Head, None, None),
            ("output_norm.weight", R::OutputNorm, None, None),
            (
                "blk.1.attn_output.weight",
                R::AttentionOutput,
                Some(1),
                None,
            ),
            ("blk.2.layer_output_norm.weight", R::Layer, Some(2), None),
            ("rope_freqs.weight", R::Other, None, None),
            ("model.embed_tokens.weight", R::Embedding, None, None),
            (
                "model.layers.7.self_attn.k_proj.weight",
                R::Attention,
                Some(7),
                None,
            ),
            (
                "model.layers.7.mlp.down_proj.weight",
                R::Down,
                Some(7),
                None,
            ),
            (
                "model.layers.7.mlp.experts.12.up_proj.weight",
                R::ExpertUp,
                Some(7),
                Some(12),
            ),
            (
                "model.layers.7.block_sparse_moe.experts.3.w1.weight",
                R::ExpertGate,
                Some(7),
                Some(3),
            ),
            (
                "model.layers.7.mlp.experts.gate_up_proj",
                R::ExpertUp,
                Some(7),
                None,
            ),
            (
                "model.layers.7.mlp.experts.down_proj_bias",
                R::ExpertDown,
                Some(7),
                None,
            ),
            (
                "model.layers.7.mlp.shared_experts.up_proj.weight",
                R::Up,
                Some(7),
                None,
            ),
            (
                "model.layers.7.block_sparse_moe.gate.weight",
                R::Router,
                Some(7),
                None,
            ),
            ("model.norm.weight", R::OutputNorm, None, None),
            ("lm_head.weight", R::Head, None, None),
            ("vision.blk.weight", R::Other, None, None),
            ("blk.99999999999.x", R::Other, None, None),
            ("", R::Other, None, None),
        ] {
            let named = read(name);
            assert_eq!(
                (named.role, named.layer, named.expert),
                (role, layer, expert),
                "{name}"
            );
        }
    }

    #[test]
    fn tensors_are_stored_as_a_token_needs_them() {
        let names = [
            "token_embd.weight",
            "blk.0.attn_norm.weight",
            "blk.0.attn_q.weight",
            "blk.0.attn_output.weight",
            "blk.0.ffn_up.weight",
            "blk.0.ffn_down.weight",
            "blk.1.attn_norm.weight",
            "blk.10.attn_norm.weight",
            "rope_freqs.weight",
            "output_norm.weight",
            "output.weight",
        ];
        let mut sorted = names;
        sorted.reverse();
        sorted.sort_by_key(|name| read(name).order());
        assert_eq!(sorted, names);
    }
}
