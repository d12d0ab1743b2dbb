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

#[test]
fn a_vocabulary_takes_what_its_docs_say() {
    let tokens: Vec<_> = (0..100_000).map(|token| format!("{token:06}")).collect();
    let bytes = 6 * tokens.len() as u64;
    let special = vec![4; tokens.len()];
    let merges = vec!["0 0"; 250_000];
    let pairs = ["0", "00"].map(String::from).into_iter();
    let pairs: Vec<_> = pairs.chain(tokens[2..].iter().cloned()).collect();
    let scored = Model::new("llama", &tokens).scores(&vec![0.0; tokens.len()]);
    for (model, each) in [
        (scored.clone(), 15),
        (scored.kinds(&special), 15 + 8),
        (Model::new("gpt2", &pairs).merges(&merges), 11 + 5 * 18 / 2),
    ] {
        let told = model.open().unwrap().memory_bytes();
        let most = bytes + each * tokens.len() as u64;
        assert!(told <= most + (256 << 10), "{told} of {most}");
        assert!(told > most - most / 8, "{told} of {most}");
    }
}

/// A text of one word whose best pair is found between others: pairs that are gone stay in the queue longest.
#[test]
fn a_long_word_takes_at_most_42_bytes_for_each_of_its_own() {
    let mut tokens = crate::vocabulary::byte_letters();
    tokens.extend(["bc", "ca", "ab", "abc", "bca"].map(String::from));
    let merges = ["b c", "c a", "a b", "a bc", "bc a"];
    let pairs = Model::new("gpt2", &tokens)
        .string("pre", "llama-bpe")
        .flag("add_bos_token", false)
        .merges(&merges);
    let mut scores = vec![-9.0; tokens.len()];
    scores[256..].copy_from_slice(&[0.0, -1.0, -2.0, -3.0, -4.0]);
    let pieces = Model::new("llama", &tokens)
        .flag("add_bos_token", false)
        .scores(&scores);
    let text = "abc".repeat(200_000);
    for model in [pairs, pieces] {
        let tokenizer = model.open().unwrap();
        let mut tokens = Vec::new();
        let (_, peak) = crate::metered::bytes_of(|| {
            tokens = tokenizer.encode(&text, EncodeOptions::new()).unwrap();
        });
        assert!(tokens.len() < text.len() / 2, "{}", tokens.len());
        let limit = 42 * text.len() + 12 * tokens.len() + (64 << 10);
        assert!(peak <= limit, "{peak} of {limit}");
    }
}

#[test]
fn special_tokens_that_overlap_take_at_most_50_bytes_for_each_of_their_own() {
    let mut tokens = crate::vocabulary::byte_letters();
    let mut kinds = vec![1; tokens.len()];
    let specials = ["aa", "ab", "ba", "abab", "bac", "cab"];
    tokens.extend(specials.map(String::from));
    kinds.extend(specials.map(|_| 4));
    let model = Model::new("gpt2", &tokens).merges(&[""; 0]).kinds(&kinds);
    let tokenizer = model.open().unwrap();
    for text in ["a", "ab", "cab", "abac"] {
        let text = text.repeat((1 << 18) + 8);
        let mut tokens = Vec::new();
        let (_, peak) = crate::metered::bytes_of(|| {
            tokens = tokenizer.encode(&text, EncodeOptions::new()).unwrap();
        });
        // One run: its tokens come when it is decided.
        let limit = 50 * text.len() + (64 << 10);
        assert!(peak <= limit, "{peak} of {limit}");
    }
}
