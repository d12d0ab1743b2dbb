//! The same tokens as llama.cpp for every text of the corpus; `scripts/tokenizer-reference.py` made the expected files.

use crate::models::{GEMMA, SMOLLM2, model_or_skip, tokenizer};
use ringfield::{EncodeOptions, Tokenizer};
use std::path::{Path, PathBuf};

/// Where the corpus and the expected files are: elsewhere for the random texts that the script makes.
pub(crate) fn directory() -> PathBuf {
    match std::env::var_os("RINGFIELD_TOKENIZER_REFERENCE") {
        Some(elsewhere) => elsewhere.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer"),
    }
}

pub(crate) fn corpus() -> Vec<String> {
    let lines = std::fs::read_to_string(directory().join("corpus.jsonl")).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn assert_equals_reference(tokenizer: &Tokenizer, expected: &str) {
    let corpus = corpus();
    let expected = std::fs::read_to_string(directory().join(expected)).unwrap();
    let expected: Vec<[Vec<u32>; 2]> = expected
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(corpus.len(), expected.len());
    assert!(corpus.len() > 250);
    let whole = EncodeOptions::new().add_special(true).parse_special(true);
    let mut wrong = 0;
    for (text, expected) in corpus.iter().zip(&expected) {
        for (options, expected) in [EncodeOptions::new(), whole].into_iter().zip(expected) {
            let tokens = tokenizer.encode(text, options).unwrap();
            if tokens != *expected {
                wrong += 1;
                let pieces = |tokens: &[u32]| -> Vec<String> {
                    tokens
                        .iter()
                        .map(|&token| tokenizer.piece(token).unwrap().into())
                        .collect()
                };
                let (tokens, expected) = (pieces(&tokens), pieces(expected));
                eprintln!("{text:?} with {options:?}\n  is {tokens:?}\n not {expected:?}");
            }
        }
    }
    assert_eq!(wrong, 0, "of {} texts", corpus.len());
}

#[test]
fn byte_pairs_are_those_of_the_reference() {
    let path = model_or_skip!(SMOLLM2);
    assert_equals_reference(&tokenizer(&path), "expected-smollm2.jsonl");
}

#[test]
fn sentence_pieces_are_those_of_the_reference() {
    let path = model_or_skip!(GEMMA);
    assert_equals_reference(&tokenizer(&path), "expected-gemma.jsonl");
}

#[test]
#[ignore = "needs RINGFIELD_TOKENIZER_REFERENCE and what scripts/tokenizer-reference.py --random leaves there"]
fn words_are_cut_as_the_reference_cuts_them() {
    let mut models = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "gguf")
        {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert_equals_reference(&tokenizer(&path), &format!("expected-{name}.jsonl"));
            models += 1;
        }
    }
    assert!(models > 10);
}
