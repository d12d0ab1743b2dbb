//! Words are cut where the published regular expressions cut them; `scripts/words-reference.py` asked them.
//!
//! A model whose tokens are all bytes and all pairs of bytes shows where a word ends: what is joined depends on it.

use crate::names::{self, Names};
use crate::reference::{corpus, directory};
use crate::vocabulary::{Model, byte_letters};
use ringfield::EncodeOptions;
use std::collections::{BTreeMap, BTreeSet};

/// The two bytes that are joined at `rank`: an odd factor makes every pair once, in no order.
fn pair(rank: u32) -> (u8, u8) {
    let pair = (rank * 40503 % 65536) as u16;
    ((pair >> 8) as u8, pair as u8)
}

/// The tokens of one word, by looking for the best pair again and again.
fn tokens(word: &[u8], ranks: &BTreeMap<(u8, u8), u32>) -> Vec<u32> {
    let mut tokens: Vec<u32> = word.iter().map(|&byte| byte.into()).collect();
    loop {
        let best = tokens.windows(2).enumerate().filter_map(|(at, pair)| {
            let pair = (u8::try_from(pair[0]).ok()?, u8::try_from(pair[1]).ok()?);
            Some((ranks[&pair], at))
        });
        let Some((rank, at)) = best.min() else {
            return tokens;
        };
        tokens.splice(at..at + 2, [256 + rank]);
    }
}

/// The tokens of a text whose words have `words` bytes.
fn joined(text: &str, words: &[usize], ranks: &BTreeMap<(u8, u8), u32>) -> Vec<u32> {
    let mut rest = text.as_bytes();
    let mut joined = Vec::new();
    for &bytes in words {
        let (word, behind) = rest.split_at(bytes);
        joined.extend(tokens(word, ranks));
        rest = behind;
    }
    assert_eq!(rest, b"");
    joined
}

#[test]
fn words_are_those_of_the_published_expressions() {
    let letters = byte_letters();
    let letter = |byte: u8| letters[usize::from(byte)].as_str();
    let pairs: Vec<_> = (0..65536).map(pair).collect();
    let ranks = pairs.iter().copied().zip(0..).collect();
    let mut all = letters.clone();
    all.extend(pairs.iter().map(|&(a, b)| [letter(a), letter(b)].concat()));
    let merges: Vec<_> = pairs
        .iter()
        .map(|&(a, b)| [letter(a), " ", letter(b)].concat())
        .collect();
    let model = Model::new("gpt2", &all)
        .merges(&merges)
        .flag("add_bos_token", false);

    let words = std::fs::read(directory().join("words.json")).unwrap();
    let words: BTreeMap<String, Vec<Vec<usize>>> = serde_json::from_slice(&words).unwrap();
    let corpus = corpus();
    let mut tested = BTreeSet::new();
    for Names { rule, names, .. } in &names::ALL {
        let words = &words[*rule];
        assert_eq!(words.len(), corpus.len());
        let texts = corpus.iter().zip(words);
        // Llama 3 takes a word that is a piece for that, which all pairs are.
        let expected: Vec<_> = texts
            .map(|(text, words)| joined(text, words, &ranks))
            .collect();
        let name = names.split(' ').next().unwrap();
        let tokenizer = model.clone().string("pre", name).open().unwrap();
        for (text, expected) in corpus.iter().zip(&expected) {
            let found = tokenizer.encode(text, EncodeOptions::new()).unwrap();
            assert_eq!(found, *expected, "{name}: {text:?}");
        }
        tested.insert(*rule);
    }
    assert!(words.keys().eq(&tested), "{tested:?}");
}
