//! What each name of `tokenizer.ggml.pre` means, as llama.cpp 0.3.36 of llama-cpp-python reads it.

use crate::vocabulary::{Model, byte_letters, small_bytes};
use ringfield::{EncodeOptions, Error};
use std::collections::{BTreeMap, BTreeSet};

/// What names have in common.
pub(crate) struct Names {
    /// The one that `words.json` has.
    pub(crate) rule: &'static str,
    pub(crate) names: &'static str,
    /// A word that is a piece is that token, merges or not.
    whole_words: bool,
    /// BOS is put before a text although no flag says so.
    bos: bool,
}

const fn names(rule: &'static str, whole_words: bool, bos: bool, names: &'static str) -> Names {
    Names {
        rule,
        names,
        whole_words,
        bos,
    }
}

pub(crate) const ALL: [Names; 12] = [
    names("default", false, false, "default"),
    names(
        "gpt-2",
        false,
        false,
        "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat a.x-4.0 mellum exaone4",
    ),
    names(
        "smollm",
        false,
        false,
        "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
    ),
    names(
        "llama-bpe",
        true,
        true,
        "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
    ),
    names("llama-bpe", true, false, "glm4 glm5"),
    names("llama-bpe", false, false, "dbrx smaug-bpe chatglm-bpe"),
    names(
        "qwen2",
        false,
        false,
        "qwen2 deepseek-r1-qwen kormo megrez stablelm2 hunyuan solar-open grok-2",
    ),
    names("qwen35", false, false, "qwen35"),
    names("llama4", false, false, "llama4"),
    names("tekken", true, true, "tekken"),
    names("deepseek-coder", false, false, "deepseek-coder"),
    names("falcon", false, false, "falcon"),
];

#[test]
fn the_names_known_are_those_that_tests_have() {
    let e = small_bytes().string("pre", "none").open().unwrap_err();
    let Error::Unsupported { supported, .. } = &e else {
        panic!("{e}");
    };
    let mut known: Vec<_> = supported.split(", ").collect();
    let tested = ALL.iter().flat_map(|names| names.names.split(' '));
    let mut tested: Vec<_> = tested.collect();
    known.sort_unstable();
    tested.sort_unstable();
    assert_eq!(known, tested);
}

#[test]
fn a_name_says_whether_a_piece_is_a_word_without_merges_and_whether_bos_is_first() {
    let mut tokens = byte_letters();
    tokens.push("ab".into());
    let model = Model::new("gpt2", &tokens)
        .merges(&[""; 0])
        .number("bos_token_id", 5);
    for names in &ALL {
        for name in names.names.split(' ') {
            let tokenizer = model.clone().string("pre", name).open().unwrap();
            let options = EncodeOptions::new().add_special(true);
            let mut expected = if names.bos { vec![5] } else { vec![] };
            if names.whole_words {
                expected.push(256);
            } else {
                expected.extend([u32::from(b'a'), u32::from(b'b')]);
            }
            assert_eq!(tokenizer.encode("ab", options).unwrap(), expected, "{name}");
        }
    }
}

/// All pairs of the bytes of a short text are pieces: what is joined shows where words end.
#[test]
fn names_of_one_rule_cut_alike_and_others_do_not() {
    const TEXT: &str = "Aa'S $/\n112112 'sAa\u{301}aA!`1 \u{301}\na";
    let bytes: BTreeSet<u8> = TEXT.bytes().collect();
    let letters = byte_letters();
    let letter = |byte: u8| letters[usize::from(byte)].as_str();
    let mut tokens = letters.clone();
    let mut merges = Vec::new();
    for &a in &bytes {
        for &b in &bytes {
            tokens.push([letter(a), letter(b)].concat());
            merges.push([letter(a), " ", letter(b)].concat());
        }
    }
    let model = Model::new("gpt2", &tokens)
        .merges(&merges)
        .flag("add_bos_token", false);
    let mut cut = BTreeMap::new();
    for Names { rule, names, .. } in &ALL {
        for name in names.split(' ') {
            let tokenizer = model.clone().string("pre", name).open().unwrap();
            let found = tokenizer.encode(TEXT, EncodeOptions::new()).unwrap();
            assert_eq!(cut.entry(*rule).or_insert(found.clone()), &found, "{name}");
        }
    }
    let rules = cut.len();
    let different: BTreeSet<_> = cut.into_values().collect();
    assert_eq!(different.len(), rules);
}
