//! How byte-level vocabularies want a text cut into words before their merges are applied: one rule for each name that
//! `tokenizer.ggml.pre` can have.
//!
//! The names, and what goes with them, are llama.cpp's (`llama-vocab.cpp`): models are made to be read by it.

use super::metadata::Metadata;
use super::words::{self, Class, class};
use crate::error::Result;

const PRE: &str = "tokenizer.ggml.pre";

/// A way of cutting a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Runs of letters, of numbers and of the rest, each with a space before it.
    Gpt2,
    /// Every number alone, then as `Gpt2`.
    SingleDigits,
    /// Words with one mark before them, numbers by up to three.
    Llama3,
    /// As `Llama3`, every number alone.
    Qwen2,
    /// As `Qwen2`, combining marks belong to words.
    Qwen35,
    /// As `Llama3`, a word ends where lower case becomes upper case.
    Llama4,
    /// As `Llama4`, every number alone, contractions not known.
    Tekken,
    /// Line breaks alone, words, punctuation, what is written without spaces, every number alone.
    DeepseekCoder,
    /// Runs of punctuation, then as `Gpt2`, then digits by three from the left.
    Falcon,
    /// As `Falcon`, but for a backtick, and runs of numbers alone before they are cut.
    Default,
}

use Rule::{
    DeepseekCoder, Default, Falcon, Gpt2, Llama3, Llama4, Qwen2, Qwen35, SingleDigits, Tekken,
};

/// A rule, and what else a name says.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreTokenizer {
    rule: Rule,
    whole_words: bool,
    bos: bool,
}

const fn plain(rule: Rule) -> PreTokenizer {
    PreTokenizer {
        rule,
        whole_words: false,
        bos: false,
    }
}

const fn whole_words(rule: Rule) -> PreTokenizer {
    PreTokenizer {
        whole_words: true,
        ..plain(rule)
    }
}

const fn whole_words_and_bos(rule: Rule) -> PreTokenizer {
    PreTokenizer {
        bos: true,
        ..whole_words(rule)
    }
}

const NAMES: [(&[&str], PreTokenizer); 12] = [
    (&["default"], plain(Default)),
    (
        &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        whole_words_and_bos(Llama3),
    ),
    (&["glm4", "glm5"], whole_words(Llama3)),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], plain(Llama3)),
    (
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        plain(Qwen2),
    ),
    (&["qwen35"], plain(Qwen35)),
    (
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        plain(SingleDigits),
    ),
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
        ],
        plain(Gpt2),
    ),
    (&["llama4"], plain(Llama4)),
    (&["tekken"], whole_words_and_bos(Tekken)),
    (&["deepseek-coder"], plain(DeepseekCoder)),
    (&["falcon"], plain(Falcon)),
];

impl PreTokenizer {
    /// The one that the model names.
    pub(super) fn read(metadata: &Metadata<'_>) -> Result<PreTokenizer> {
        // Files from before the key existed have none.
        let name = metadata.string(PRE)?.unwrap_or_else(|| "default".into());
        let found = NAMES
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()));
        match found {
            Some(&(_, pre_tokenizer)) => Ok(pre_tokenizer),
            None => {
                let known: Vec<_> = NAMES
                    .iter()
                    .flat_map(|(names, _)| *names)
                    .copied()
                    .collect();
                Err(metadata.unsupported(PRE, &name, known.join(", ")))
            }
        }
    }

    /// True where a word that is a piece as a whole is that token, whatever the merges would make of it.
    pub(super) fn prefers_whole_words(self) -> bool {
        self.whole_words
    }

    pub(super) fn adds_bos(self) -> bool {
        self.bos
    }

    /// Hands the words of `text` to `word`, in their order and without a gap.
    pub(super) fn split(self, text: &str, word: &mut impl FnMut(&str)) {
        match self.rule {
            Gpt2 => words::each(text, words::gpt2, word),
            SingleDigits => {
                words::apart(text, words::one_number, |part| {
                    words::each(part, words::gpt2, word)
                });
            }
            Llama3 => words::each(text, |text| words::llama3(text, 3, words::is_letter), word),
            Qwen2 => words::each(text, |text| words::llama3(text, 1, words::is_letter), word),
            Qwen35 => words::each(text, |text| words::llama3(text, 1, is_letter_or_mark), word),
            Llama4 => words::each(text, |text| words::cased(text, 3, true), word),
            Tekken => words::each(text, |text| words::cased(text, 1, false), word),
            DeepseekCoder => {
                let letters = |text: &str| words::spaced(text, Class::Letter);
                let punctuation = |text: &str| words::spaced(text, Class::Punctuation);
                let mut numbers = |part: &str| words::apart(part, words::one_number, &mut *word);
                let mut unspaced = |part: &str| words::apart(part, words::unspaced, &mut numbers);
                let mut marks = |part: &str| words::apart(part, punctuation, &mut unspaced);
                let mut letters = |part: &str| words::apart(part, letters, &mut marks);
                words::apart(text, words::one_newline, &mut letters);
            }
            Falcon => {
                let punctuation = |c| class(c) == Class::Punctuation || "$+<=>^~|`".contains(c);
                let mut digits = |part: &str| words::apart(part, words::three_digits, &mut *word);
                let mut parts = |part: &str| words::each(part, words::gpt2, &mut digits);
                words::apart(text, |text| words::run(text, punctuation), &mut parts);
            }
            Default => {
                let punctuation = |c| class(c) == Class::Punctuation || "$+<=>^~|".contains(c);
                let mut digits = |part: &str| words::apart(part, words::three_digits, &mut *word);
                let mut numbers = |part: &str| words::apart(part, words::numbers, &mut digits);
                let mut parts = |part: &str| words::each(part, words::gpt2, &mut numbers);
                words::apart(text, |text| words::run(text, punctuation), &mut parts);
            }
        }
    }
}

fn is_letter_or_mark(c: char) -> bool {
    matches!(class(c), Class::Letter | Class::Mark)
}
