//! Memory is bounded by the vocabulary, and time grows no faster than n log n with the text.

use crate::models::{GEMMA, SMOLLM2, model_or_skip, tokenizer};
use crate::vocabulary::{Model, small_pieces};
use crate::writer::Dir;
use ringfield::{EncodeOptions, Engine, Gguf, Tokenizer};
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// Opens with an engine of 24 MiB; returns what the tokenizer keeps, and the most that opening it took.
fn measured(path: &Path) -> (Tokenizer, u64, u64) {
    let engine = Engine::builder().dram_budget(24 << 20).build().unwrap();
    let model = Gguf::open(&engine, path).unwrap();
    let mut tokenizer = None;
    let (kept, peak) =
        crate::metered::bytes_of(|| tokenizer = Some(Tokenizer::open(&model).unwrap()));
    (tokenizer.unwrap(), kept as u64, peak as u64)
}

#[test]
fn a_vocabulary_of_262_144_tokens_takes_less_than_8_mib_also_while_it_opens() {
    for (name, tokens, limit) in [(GEMMA, 262_144, 8 * MIB), (SMOLLM2, 49_152, 3 * MIB)] {
        let path = model_or_skip!(name);
        let (tokenizer, kept, peak) = measured(&path);
        assert_eq!(tokenizer.len(), tokens);
        let told = tokenizer.memory_bytes();
        assert!(peak < limit, "{name}: {peak} bytes while opening");
        assert!(
            told.abs_diff(kept) < 4096,
            "{name}: {kept} bytes kept, {told} told"
        );
    }
}

#[test]
fn a_small_vocabulary_takes_little() {
    let dir = Dir::new();
    let (_, kept, peak) = measured(&dir.write("made.gguf", &small_pieces().0.bytes()));
    assert!(
        kept < 160 << 10 && peak < 256 << 10,
        "{kept} kept, {peak} while opening"
    );
}

/// Pieces and merges as short as they can be, so that what is kept of each weighs most beside what the file has of it. One
/// merge again and again takes no longer than many.
#[test]
fn a_vocabulary_never_takes_more_than_twice_its_bytes() {
    let mut tokens = vec![""; 300_000];
    tokens[..3].copy_from_slice(&["h", "e", "he"]);
    let dense = Model::new("gpt2", &tokens).merges(&vec!["h e"; 300_000]);
    let scores = vec![0.0; tokens.len()];
    let scored = Model::new("llama", &tokens)
        .scores(&scores)
        .kinds(&vec![1; tokens.len()]);
    for model in [dense, scored] {
        let dir = Dir::new();
        let bytes = model.0.bytes();
        let (_, _, peak) = measured(&dir.write("made.gguf", &bytes));
        let limit = 2 * bytes.len() as u64 + MIB;
        assert!(peak <= limit, "{peak} of {limit}");
    }
}

/// A run of one character is one word, and pairs of it are joined everywhere at once. Quadratic, this takes hours.
#[test]
fn long_runs_of_one_character_are_encoded() {
    for name in [SMOLLM2, GEMMA] {
        let path = model_or_skip!(name);
        let tokenizer = tokenizer(&path);
        for c in ["a", " ", "\n", "語"] {
            let text = c.repeat((1 << 17) / c.len());
            let start = Instant::now();
            let tokens = tokenizer.encode(&text, EncodeOptions::new()).unwrap();
            let took = start.elapsed();
            assert!(
                took < Duration::from_secs(60),
                "{name}: {c:?} took {took:?}"
            );
            let mut decoder = tokenizer.decoder();
            let mut bytes = 0;
            for &token in &tokens {
                bytes += decoder.push(token).unwrap().len();
            }
            assert_eq!(bytes, text.len(), "{name}: {c:?}");
        }
    }
}

/// What is joined at once is a word or a little more, however long the text.
#[test]
fn encoding_takes_memory_for_the_tokens_and_little_else() {
    for name in [SMOLLM2, GEMMA] {
        let path = model_or_skip!(name);
        let tokenizer = tokenizer(&path);
        let text =
            "The reader keeps every page where it is, until the last view is gone. ".repeat(4000);
        let mut tokens = Vec::new();
        let (_, peak) = crate::metered::bytes_of(|| {
            tokens = tokenizer.encode(&text, EncodeOptions::new()).unwrap();
        });
        let limit = 3 * 4 * tokens.capacity() / 2 + (64 << 10);
        assert!(
            peak <= limit,
            "{name}: {peak} bytes for {} tokens",
            tokens.len()
        );
    }
}
