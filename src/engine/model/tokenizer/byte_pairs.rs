//! Byte-level byte-pair encoding: a word's bytes, joined in the order in which the vocabulary learned its merges.

use super::byte_level;
use super::index::{ENTRIES_MAX, Index};
use super::memory::room;
use super::merging::{Joined, Scratch};
use super::metadata::{Metadata, excerpt};
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::Vocabulary;
use crate::engine::{Value, ValueType};
use crate::error::Result;

const MERGES: &str = "tokenizer.ggml.merges";

/// Two tokens that are joined, and what they become. Its rank is its place in the file.
#[derive(Debug, Clone, Copy)]
struct Merge {
    pair: (u32, u32),
    token: u32,
}

/// The merges of a model, 17.3 bytes each.
pub(super) struct BytePairs {
    pre_tokenizer: PreTokenizer,
    merges: Vec<Merge>,
    index: Index,
    /// The token of each byte. Vocabularies lack bytes that UTF-8 never has, and some lack control characters too.
    bytes: Vec<Option<u32>>,
}

impl BytePairs {
    pub(super) fn read(metadata: &Metadata<'_>, vocabulary: &Vocabulary) -> Result<BytePairs> {
        let pre_tokenizer = PreTokenizer::read(metadata)?;
        let array = metadata.array(MERGES, ValueType::String)?;
        let array = array.ok_or_else(|| metadata.missing(MERGES))?;
        let len = array.len();
        if len > ENTRIES_MAX {
            return Err(metadata.malformed(
                array.range().start,
                MERGES,
                format_args!("has {len} merges, more than {ENTRIES_MAX}"),
            ));
        }
        let mut letter = [0; 4];
        let byte_token = |byte| vocabulary.find(byte_level::letter(byte).encode_utf8(&mut letter));
        let mut pairs = BytePairs {
            pre_tokenizer,
            merges: room(len as usize, "merges")?,
            index: Index::new(len as usize)?,
            bytes: (0..=u8::MAX).map(byte_token).collect(),
        };
        let mut whole = String::new();
        for text in &array {
            let text = text?;
            let rank = pairs.merges.len() as u32;
            let malformed = |what: &str| {
                let at = array.range().start;
                metadata.malformed(at, MERGES, format_args!("{what} (merge {rank})"))
            };
            let Value::String(text) = &text else {
                return Err(malformed("has a merge that is not UTF-8"));
            };
            let named = split_merge(text).and_then(|(left, right)| {
                whole.clear();
                whole.push_str(left);
                whole.push_str(right);
                let pair = (vocabulary.find(left)?, vocabulary.find(right)?);
                let token = vocabulary.find(&whole)?;
                Some(Merge { pair, token })
            });
            let Some(merge) = named else {
                let text = excerpt(text);
                return Err(malformed(&format!(
                    "has `{text}`, which is not two tokens that make a third"
                )));
            };
            // The first of several with one pair counts. The others would make every search for it longer.
            if pairs.find(merge.pair).is_none() {
                pairs.index.insert(merge.pair, rank);
            }
            pairs.merges.push(merge);
        }
        Ok(pairs)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let merges = self.merges.capacity() * size_of::<Merge>();
        let bytes = self.bytes.capacity() * size_of::<Option<u32>>();
        (merges + bytes) as u64 + self.index.memory_bytes()
    }

    /// True where the model's kind of tokenizer begins a text with BOS unless its metadata say otherwise.
    pub(super) fn adds_bos(&self) -> bool {
        self.pre_tokenizer.adds_bos()
    }

    fn find(&self, pair: (u32, u32)) -> Option<u32> {
        self.index.find(pair, |rank| {
            let merge = self.merges.get(rank as usize);
            merge.is_some_and(|merge| merge.pair == pair)
        })
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        scratch: &mut Scratch,
        text: &str,
        tokens: &mut Vec<u32>,
    ) {
        let mut word = |word: &str| self.encode_word(vocabulary, scratch, word, tokens);
        self.pre_tokenizer.split(text, &mut word);
    }

    fn encode_word(
        &self,
        vocabulary: &Vocabulary,
        scratch: &mut Scratch,
        word: &str,
        tokens: &mut Vec<u32>,
    ) {
        if self.pre_tokenizer.prefers_whole_words() {
            scratch.text.clear();
            scratch.text.extend(word.bytes().map(byte_level::letter));
            if let Some(token) = vocabulary.find(&scratch.text) {
                tokens.push(token);
                return;
            }
        }
        let merging = &mut scratch.merging;
        merging.start(word.len());
        for byte in word.bytes() {
            merging.push(1, self.bytes.get(usize::from(byte)).copied().flatten());
        }
        let left = merging.run(|left, right| {
            let rank = self.find((left.token, right.token))?;
            let token = self.merges.get(rank as usize)?.token;
            Some(Joined { rank, token })
        });
        // A byte that the vocabulary lacks leaves nothing, as in llama.cpp.
        let known = left.map(|symbol| symbol.token);
        tokens.extend(known.filter(|&token| token < vocabulary.len()));
    }
}

/// The two pieces of a merge. A space parts them; the first can begin with one.
fn split_merge(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?.len_utf8();
    let space = first + text.get(first..)?.find(' ')?;
    Some((text.get(..space)?, text.get(space + 1..)?))
}
