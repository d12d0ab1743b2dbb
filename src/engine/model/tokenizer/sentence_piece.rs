//! SentencePiece as GGUF means it: characters joined to pieces of the vocabulary, the pair with the best score first, and
//! bytes for characters that the vocabulary lacks.

use super::memory::room;
use super::merging::{Joined, Scratch, Symbol};
use super::metadata::Metadata;
use super::vocabulary::Vocabulary;
use crate::engine::{Value, ValueType};
use crate::error::Result;

const SCORES: &str = "tokenizer.ggml.scores";
/// What pieces have for a space.
pub(super) const SPACE: char = '▁';

/// The scores of a model's pieces, and what it does with the rest.
pub(super) struct SentencePiece {
    /// For each token its place in the order in which pairs are joined, the best score first.
    ranks: Vec<u32>,
    neighbours: Neighbours,
    /// The token of each byte.
    bytes: Vec<u32>,
    space_prefix: bool,
}

impl SentencePiece {
    /// `unknown` is the token of what can be written neither as a piece nor as bytes.
    pub(super) fn read(
        metadata: &Metadata<'_>,
        vocabulary: &Vocabulary,
        unknown: u32,
    ) -> Result<SentencePiece> {
        let scores = metadata.array_of(SCORES, ValueType::F32, vocabulary.len())?;
        let scores = scores.ok_or_else(|| metadata.missing(SCORES))?;
        let mut ranks = room(vocabulary.len() as usize, "scores")?;
        for score in &scores {
            match score? {
                Value::F32(score) if !score.is_nan() => ranks.push(rank(score)),
                _ => {
                    let (at, token) = (scores.range().start, ranks.len());
                    let what = format_args!("is not a number (token {token})");
                    return Err(metadata.malformed(at, SCORES, what));
                }
            }
        }
        let byte_token = |byte: u8| {
            let written = vocabulary.find(&format!("<0x{byte:02X}>"));
            let plain = || vocabulary.find(char::from(byte).encode_utf8(&mut [0; 4]));
            written
                .or_else(|| plain().filter(|_| byte.is_ascii()))
                .unwrap_or(unknown)
        };
        let space_prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?;
        Ok(SentencePiece {
            ranks,
            neighbours: Neighbours::of(vocabulary),
            bytes: (0..=u8::MAX).map(byte_token).collect(),
            space_prefix: space_prefix.unwrap_or(true),
        })
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let ranks = self.ranks.capacity() * size_of::<u32>();
        let bytes = self.bytes.capacity() * size_of::<u32>();
        (ranks + bytes) as u64 + self.neighbours.memory_bytes()
    }

    /// True where a space is put before a text, and before text that follows a special token.
    pub(super) fn adds_space_prefix(&self) -> bool {
        self.space_prefix
    }

    /// Appends the tokens of `text`, which begins a text or follows a special token.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        scratch: &mut Scratch,
        text: &str,
        tokens: &mut Vec<u32>,
    ) {
        let prefix = self.space_prefix.then_some(' ');
        let mut previous = None;
        for c in prefix.into_iter().chain(text.chars()) {
            let c = if c == ' ' { SPACE } else { c };
            // No pair is ever joined across two characters that are in no piece side by side.
            if previous.is_some_and(|previous| !self.neighbours.have(previous, c)) {
                self.encode_stretch(vocabulary, scratch, tokens);
            }
            scratch.text.push(c);
            previous = Some(c);
        }
        self.encode_stretch(vocabulary, scratch, tokens);
    }

    /// Appends the tokens of the stretch that was gathered, and makes it empty.
    fn encode_stretch(
        &self,
        vocabulary: &Vocabulary,
        scratch: &mut Scratch,
        tokens: &mut Vec<u32>,
    ) {
        let Scratch {
            merging,
            text: stretch,
        } = scratch;
        let written = |symbol: &Symbol| {
            let start = symbol.start as usize;
            stretch.get(start..start + symbol.bytes as usize)
        };
        merging.start(stretch.chars().count());
        let mut letter = [0; 4];
        for c in stretch.chars() {
            let c = c.encode_utf8(&mut letter);
            merging.push(c.len() as u32, vocabulary.find(c));
        }
        let left = merging.run(|left, right| {
            let bytes = (left.bytes + right.bytes) as usize;
            if bytes > vocabulary.longest() {
                return None;
            }
            let start = left.start as usize;
            let token = vocabulary.find(stretch.get(start..start + bytes)?)?;
            let rank = *self.ranks.get(token as usize)?;
            Some(Joined { rank, token })
        });
        for symbol in left {
            if symbol.token < vocabulary.len() {
                tokens.push(symbol.token);
                continue;
            }
            for byte in written(symbol).unwrap_or_default().bytes() {
                tokens.extend(self.bytes.get(usize::from(byte)));
            }
        }
        stretch.clear();
    }
}

/// Orders scores from the best to the worst.
fn rank(score: f32) -> u32 {
    // Plus zero makes one of the two zeros of the other.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    };
    !ascending
}

/// Which characters are side by side in any piece: a filter that may say yes for others, never no for these.
///
/// It cuts ordinary text before almost every word, which keeps what is joined at once short, and takes less memory than
/// joining a whole text.
struct Neighbours {
    bits: Vec<u64>,
}

impl Neighbours {
    /// 128 KiB. Gemma's 262 144 pieces have 34 012 pairs of characters, which set one bit in thirty.
    const BITS: u32 = 20;

    fn of(vocabulary: &Vocabulary) -> Neighbours {
        let mut bits = vec![0u64; 1 << (Self::BITS - 6)];
        for piece in vocabulary.pieces() {
            for (a, b) in piece.chars().zip(piece.chars().skip(1)) {
                let (word, bit) = Self::place(a, b);
                if let Some(word) = bits.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        Neighbours { bits }
    }

    /// The word and the bit of a pair.
    fn place(a: char, b: char) -> (usize, u64) {
        // Multiplicative hashing (Knuth, volume 3, 6.4) with 2^64 over the golden ratio.
        let pair = u64::from(a) << 32 | u64::from(b);
        let at = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::BITS);
        ((at >> 6) as usize, 1 << (at & 63))
    }

    fn have(&self, a: char, b: char) -> bool {
        let (word, bit) = Self::place(a, b);
        self.bits.get(word).is_none_or(|word| word & bit != 0)
    }

    fn memory_bytes(&self) -> u64 {
        (self.bits.capacity() * size_of::<u64>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn a_better_score_is_joined_first_and_both_zeros_are_one() {
        let scores = [
            f32::INFINITY,
            3.5,
            1e-30,
            0.0,
            -1e-30,
            -2.0,
            -1000.0,
            f32::NEG_INFINITY,
        ];
        let ranks = scores.map(rank);
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert_eq!(rank(0.0), rank(-0.0));
    }
}
