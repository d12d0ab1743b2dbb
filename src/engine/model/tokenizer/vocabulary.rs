//! The pieces of a vocabulary: their text, what kind each is, and which one has a given text.
//!
//! All text lies in one block. A token costs its text, four bytes for its place, one for its kind and 5.3 in the index.

use super::index::{ENTRIES_MAX, Index};
use super::memory::{filled, refused, room};
use super::metadata::{Metadata, excerpt};
use crate::engine::{Array, Value, ValueType};
use crate::error::Result;

const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
/// The longest pieces known are 300 bytes of spaces or dashes. A longer piece makes every search for its prefixes slow.
const PIECE_BYTES_MAX: usize = 4096;

/// What a token is, by GGUF's numbers for `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Undefined = 0,
    Normal = 1,
    /// Stands for what the vocabulary cannot say.
    Unknown = 2,
    /// Steers the model: the beginning of a turn, the end of a text.
    Control = 3,
    /// Found in a text before anything else is.
    UserDefined = 4,
    Unused = 5,
    /// One byte, written `<0xFF>`.
    Byte = 6,
}

impl Kind {
    fn of(number: i32) -> Option<Kind> {
        Some(match number {
            0 => Kind::Undefined,
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => return None,
        })
    }
}

/// The pieces of a model, by number and by text.
pub(super) struct Vocabulary {
    text: String,
    /// Where each piece ends in `text`; it begins where the one before ends.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    index: Index,
    longest: usize,
}

impl Vocabulary {
    pub(super) fn read(metadata: &Metadata<'_>) -> Result<Vocabulary> {
        let tokens = metadata.array(TOKENS, ValueType::String)?;
        let tokens = tokens.ok_or_else(|| metadata.missing(TOKENS))?;
        let (len, range) = (tokens.len(), tokens.range());
        if len == 0 || len > ENTRIES_MAX {
            return Err(metadata.malformed(
                range.start,
                TOKENS,
                format_args!("has {len} tokens, not 1 to {ENTRIES_MAX}"),
            ));
        }
        // A string is eight bytes of length and its text: exactly as much as is there.
        let text_bytes = (range.end - range.start).saturating_sub(8 * len);
        let text_bytes_max = u64::from(u32::MAX).min(len * PIECE_BYTES_MAX as u64);
        if text_bytes > text_bytes_max {
            return Err(metadata.malformed(
                range.start,
                TOKENS,
                format_args!("has {text_bytes} bytes of text, more than {text_bytes_max}"),
            ));
        }
        let (len, text_bytes) = (len as usize, text_bytes as usize);
        let mut text = String::new();
        text.try_reserve_exact(text_bytes)
            .map_err(|_| refused(text_bytes, "bytes of pieces"))?;
        let mut vocabulary = Vocabulary {
            text,
            ends: room(len, "pieces")?,
            kinds: filled(Kind::Normal, len, "kinds")?,
            index: Index::new(len)?,
            longest: 0,
        };
        for piece in &tokens {
            vocabulary.add(metadata, &tokens, &piece?)?;
        }
        if let Some(kinds) = metadata.array_of(KINDS, ValueType::I32, vocabulary.len())? {
            vocabulary.set_kinds(metadata, &kinds)?;
        }
        Ok(vocabulary)
    }

    fn add(&mut self, metadata: &Metadata<'_>, tokens: &Array, piece: &Value) -> Result<()> {
        let token = self.ends.len() as u32;
        let malformed = |what: &str| {
            let at = tokens.range().start;
            metadata.malformed(at, TOKENS, format_args!("{what} (token {token})"))
        };
        let piece = piece
            .as_str()
            .ok_or_else(|| malformed("has a piece that is not UTF-8"))?;
        if piece.len() > PIECE_BYTES_MAX {
            return Err(malformed(&format!(
                "has a piece of {} bytes, more than {PIECE_BYTES_MAX}",
                piece.len()
            )));
        }
        // Some converters fill gaps with empty pieces. They stand for nothing and are never found.
        if !piece.is_empty() {
            if let Some(first) = self.find(piece) {
                let piece = excerpt(piece);
                return Err(malformed(&format!("has `{piece}` twice, first as {first}")));
            }
            self.index.insert(piece, token);
        }
        self.text.push_str(piece);
        self.ends.push(self.text.len() as u32);
        self.longest = self.longest.max(piece.len());
        Ok(())
    }

    fn set_kinds(&mut self, metadata: &Metadata<'_>, kinds: &Array) -> Result<()> {
        for (token, number) in kinds.iter().enumerate() {
            let malformed = |what: &str| {
                let at = kinds.range().start;
                metadata.malformed(at, KINDS, format_args!("{what} (token {token})"))
            };
            let kind = match number? {
                Value::I32(number) => Kind::of(number),
                _ => None,
            };
            let kind = kind.ok_or_else(|| malformed("is not 0 to 6"))?;
            if kind == Kind::Byte && self.byte(token as u32).is_none() {
                return Err(malformed("says byte, and its piece is not as `<0xFF>`"));
            }
            if let Some(place) = self.kinds.get_mut(token) {
                *place = kind;
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Bytes of the longest piece.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let ends = self.ends.capacity() * size_of::<u32>();
        (self.text.capacity() + ends + self.kinds.capacity()) as u64 + self.index.memory_bytes()
    }

    /// The text of `token`, as the file has it.
    pub(super) fn piece(&self, token: u32) -> Option<&str> {
        let token = token as usize;
        let end = *self.ends.get(token)?;
        let start = match token.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start as usize..end as usize)
    }

    /// All pieces in their order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|token| self.piece(token))
    }

    /// The token that is written `piece`.
    pub(super) fn find(&self, piece: &str) -> Option<u32> {
        self.index
            .find(piece, |token| self.piece(token) == Some(piece))
    }

    pub(super) fn kind(&self, token: u32) -> Option<Kind> {
        self.kinds.get(token as usize).copied()
    }

    /// Makes `token` a control token, whatever the file says.
    pub(super) fn make_control(&mut self, token: u32) {
        if let Some(kind) = self.kinds.get_mut(token as usize) {
            *kind = Kind::Control;
        }
    }

    /// Where the piece of `token` is as `<0xFF>`: the byte.
    pub(super) fn byte(&self, token: u32) -> Option<u8> {
        let hex = self.piece(token)?.strip_prefix("<0x")?.strip_suffix('>')?;
        let is_hex = hex.len() == 2 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(hex, 16).ok().filter(|_| is_hex)
    }
}
