//! The tokens that end a text or a turn.
//!
//! Models name only some of them in their metadata. As llama.cpp does (`llama-vocab.cpp`), the others are known by how they
//! are written, and are control tokens even where the file says otherwise.

use super::metadata::Metadata;
use super::vocabulary::Vocabulary;
use crate::error::Result;

/// Written like this, a token ends what is generated.
const ENDINGS: [&str; 20] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Where code is filled in between a beginning and an end: the keys of a token, how it is written where there is no key, and
/// whether it ends what is generated.
const FILL_IN: [(&[&str], &[&str], bool); 6] = [
    (
        &["fim_pre", "prefix"],
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
        false,
    ),
    (
        &["fim_suf", "suffix"],
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
        false,
    ),
    (
        &["fim_mid", "middle"],
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
        false,
    ),
    (
        &["fim_pad"],
        &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
        true,
    ),
    (
        &["fim_rep"],
        &[
            "<|fim_repo|>",
            "<|repo_name|>",
            "<fim-repo>",
            "<REPO>",
            "<reponame>",
        ],
        true,
    ),
    (&["fim_sep"], &["<|file_sep|>"], true),
];

/// The tokens after which nothing more is generated, in ascending order. Makes control tokens of all that are known by how
/// they are written.
pub(super) fn read(
    metadata: &Metadata<'_>,
    vocabulary: &mut Vocabulary,
    eos: Option<u32>,
) -> Result<Vec<u32>> {
    let len = vocabulary.len();
    let named = |name: &str| metadata.token(&format!("tokenizer.ggml.{name}_token_id"), len);
    let mut endings: Vec<u32> = eos.into_iter().collect();
    for name in ["eot", "eom"] {
        endings.extend(named(name)?);
    }
    for (keys, written, ends) in FILL_IN {
        let mut token = None;
        for key in keys {
            token = named(key)?.or(token);
        }
        if token.is_none() {
            token = written.iter().find_map(|piece| vocabulary.find(piece));
            token.inspect(|&token| vocabulary.make_control(token));
        }
        endings.extend(token.filter(|_| ends));
    }
    for piece in ENDINGS {
        if let Some(token) = vocabulary.find(piece) {
            vocabulary.make_control(token);
            endings.push(token);
        }
    }
    endings.sort_unstable();
    endings.dedup();
    Ok(endings)
}
