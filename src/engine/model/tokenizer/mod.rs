//! Text to tokens and back, as the model's own file says.
//!
//! Two kinds of vocabularies are read: byte-level byte pairs (`tokenizer.ggml.model` = `gpt2`) and SentencePiece (`llama`).
//! Tokens are those of llama.cpp, for which these files are made. What is kept of a vocabulary lies in a few flat arrays:
//! its text, and 10.4 bytes a token, 4 more where it has a score, 8 more where it is special, and 17.4 a merge. The file's
//! arrays are walked through the pool, once.

mod byte_level;
mod byte_pairs;
mod chat;
mod decoder;
mod endings;
mod index;
mod memory;
mod merging;
mod metadata;
mod pre_tokenizer;
mod sentence_piece;
mod special;
mod vocabulary;
mod words;

use super::super::Gguf;
use crate::error::{Error, Result};
use byte_pairs::BytePairs;
use chat::Chat;
use merging::Scratch;
use metadata::Metadata;
use sentence_piece::{SPACE, SentencePiece};
use special::{Part, Specials};
use vocabulary::{Kind, Vocabulary};

pub use chat::{Message, Role};
pub use decoder::Decoder;

const MODEL: &str = "tokenizer.ggml.model";
/// Tens of millions of tokens, more than any model reads. A text without a boundary takes 42 bytes for each of its own.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// How a text is encoded. Default: neither.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct EncodeOptions {
    add_special: bool,
    parse_special: bool,
}

impl EncodeOptions {
    /// The defaults.
    pub fn new() -> EncodeOptions {
        EncodeOptions::default()
    }

    /// Puts BOS before the text and EOS behind it where the model's metadata say that it wants them: for the beginning of
    /// what a model reads. llama.cpp's `add_special`.
    pub fn add_special(mut self, add: bool) -> Self {
        self.add_special = add;
        self
    }

    /// Takes control tokens that are written in the text, such as `<|im_start|>`, for what they are: for prompts that the
    /// host writes, never for text of others. llama.cpp's `parse_special`.
    pub fn parse_special(mut self, parse: bool) -> Self {
        self.parse_special = parse;
        self
    }
}

enum Method {
    BytePairs(BytePairs),
    SentencePiece(SentencePiece),
}

/// A model's tokenizer: text to tokens, tokens to text, conversations to prompts.
///
/// Beside the engine's budget it takes the text of the vocabulary and some bytes for each token: 15 with SentencePiece, 11
/// with byte pairs and 18 for each of their merges, 8 more where the token is special. All else is at most 256 KiB.
/// [`Tokenizer::memory_bytes`] says how much it is together: 6 MiB for 262 144 SentencePiece tokens. It keeps nothing of
/// the file, and can be shared between threads.
///
/// # Examples
/// ```no_run
/// # fn main() -> ringfield::Result<()> {
/// use ringfield::{EncodeOptions, Message, Role, Tokenizer};
///
/// let engine = ringfield::Engine::builder().dram_budget(64 << 20).build()?;
/// let model = ringfield::Gguf::open(&engine, "model.gguf")?;
/// let tokenizer = Tokenizer::open(&model)?;
/// let prompt = tokenizer.chat_prompt(&[Message::new(Role::User, "Name three rivers.")])?;
/// let options = EncodeOptions::new().add_special(true).parse_special(true);
/// println!("{:?}", tokenizer.encode(&prompt, options)?);
/// # Ok(()) }
/// ```
pub struct Tokenizer {
    vocabulary: Vocabulary,
    method: Method,
    specials: Specials,
    endings: Vec<u32>,
    chat: Chat,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("len", &self.len())
            .field("memory_bytes", &self.memory_bytes())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads the tokenizer of `model`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kind of tokenizer, or a way of cutting words, that is not one of those here;
    /// [`Error::Malformed`] where the vocabulary contradicts itself; [`Error::Os`] where there is no memory for it; those of
    /// [`crate::Field::read`].
    pub fn open(model: &Gguf) -> Result<Tokenizer> {
        let metadata = Metadata::of(model);
        let kind = metadata.string(MODEL)?;
        let kind = kind.ok_or_else(|| metadata.missing(MODEL))?;
        let sentence_piece = match kind.as_str() {
            "gpt2" => false,
            "llama" => true,
            _ => return Err(metadata.unsupported(MODEL, &kind, "gpt2, llama".into())),
        };
        let mut vocabulary = Vocabulary::read(&metadata)?;
        let len = vocabulary.len();
        // SentencePiece's own numbers, where the file has none.
        let named = |name: &str, usual: u32| -> Result<Option<u32>> {
            let token = metadata.token(&format!("tokenizer.ggml.{name}_token_id"), len)?;
            Ok(token.or((sentence_piece && usual < len).then_some(usual)))
        };
        let (bos, eos) = (named("bos", 1)?, named("eos", 2)?);
        let method = if sentence_piece {
            let unknown = named("unknown", 0)?.unwrap_or_default();
            Method::SentencePiece(SentencePiece::read(&metadata, &vocabulary, unknown)?)
        } else {
            Method::BytePairs(BytePairs::read(&metadata, &vocabulary)?)
        };
        let adds_bos = match &method {
            Method::BytePairs(pairs) => pairs.adds_bos(),
            Method::SentencePiece(_) => true,
        };
        let wanted = |name: &str, usual: bool, token: Option<u32>| -> Result<bool> {
            let key = format!("tokenizer.ggml.add_{name}_token");
            let wanted = metadata.flag(&key)?.unwrap_or(usual);
            if wanted && token.is_none() {
                return Err(metadata.malformed(0, &key, "is true, and there is no such token"));
            }
            Ok(wanted)
        };
        let (adds_bos, adds_eos) = (wanted("bos", adds_bos, bos)?, wanted("eos", false, eos)?);
        let endings = endings::read(&metadata, &mut vocabulary, eos)?;
        Ok(Tokenizer {
            specials: Specials::of(&vocabulary)?,
            chat: Chat::read(&metadata, &vocabulary)?,
            vocabulary,
            method,
            endings,
            bos,
            eos,
            adds_bos,
            adds_eos,
        })
    }

    /// The tokens of `text`.
    ///
    /// It takes n log n time for n bytes. Beside the tokens it takes memory of at most 42 bytes for each byte of the longest
    /// word, and 50 for each byte of the longest run of special tokens that overlap. A run of one character is one word.
    ///
    /// A byte that a byte-level vocabulary has no token for is left out, as in llama.cpp: some vocabularies lack some
    /// control characters.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a text of more than 64 MiB.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::InvalidOption {
                option: "text",
                value: format!("{} bytes", text.len()),
                why: format!("at most {TEXT_BYTES_MAX} can be encoded at once"),
            });
        }
        let mut tokens = Vec::new();
        if options.add_special && self.adds_bos {
            tokens.extend(self.bos);
        }
        let vocabulary = &self.vocabulary;
        let mut scratch = Scratch::default();
        let part = |part: Part<'_>| match (part, &self.method) {
            (Part::Token(token), _) => tokens.push(token),
            (Part::Text(text), Method::BytePairs(pairs)) => {
                pairs.encode(vocabulary, &mut scratch, text, &mut tokens);
            }
            (Part::Text(text), Method::SentencePiece(pieces)) => {
                pieces.encode(vocabulary, &mut scratch, text, &mut tokens);
            }
        };
        self.specials
            .split(vocabulary, text, options.parse_special, part);
        if options.add_special && self.adds_eos {
            tokens.extend(self.eos);
        }
        Ok(tokens)
    }

    /// Turns tokens into text.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(self)
    }

    /// The conversation as the model's template writes it, up to where the model's answer begins, without BOS: to be
    /// encoded with [`EncodeOptions::add_special`] and [`EncodeOptions::parse_special`].
    ///
    /// What is said goes in as it is: control tokens written in it would be taken for such.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the model's template is not one of the known ones; [`Error::InvalidOption`] for turns in
    /// an order that the template does not take.
    pub fn chat_prompt(&self, messages: &[Message<'_>]) -> Result<String> {
        self.chat.prompt(messages)
    }

    /// True for tokens after which the model says no more: the end of the text, of the turn, of a file.
    pub fn is_end_of_generation(&self, token: u32) -> bool {
        self.endings.binary_search(&token).is_ok()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Tokens in the vocabulary, never zero.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u32 {
        self.vocabulary.len()
    }

    /// How `token` is written in the vocabulary: with `Ġ` or `▁` for a space. [`Decoder`] makes text of it.
    pub fn piece(&self, token: u32) -> Option<&str> {
        self.vocabulary.piece(token)
    }

    /// The token that is written `piece` in the vocabulary.
    pub fn token(&self, piece: &str) -> Option<u32> {
        self.vocabulary.find(piece)
    }

    /// What it takes of memory.
    pub fn memory_bytes(&self) -> u64 {
        let method = match &self.method {
            Method::BytePairs(pairs) => pairs.memory_bytes(),
            Method::SentencePiece(pieces) => pieces.memory_bytes(),
        };
        size_of::<Tokenizer>() as u64
            + self.vocabulary.memory_bytes()
            + self.specials.memory_bytes()
            + method
    }

    fn adds_space_prefix(&self) -> bool {
        match &self.method {
            Method::BytePairs(_) => false,
            Method::SentencePiece(pieces) => pieces.adds_space_prefix(),
        }
    }

    /// Appends what `token` stands for.
    fn append_bytes(&self, token: u32, control: bool, bytes: &mut Vec<u8>) -> Result<()> {
        let vocabulary = &self.vocabulary;
        let (Some(piece), Some(kind)) = (vocabulary.piece(token), vocabulary.kind(token)) else {
            let len = vocabulary.len();
            return Err(Error::NoSuchToken { token, len });
        };
        match kind {
            Kind::Control | Kind::Unknown if !control => {}
            Kind::Unused | Kind::Undefined => {}
            Kind::Control | Kind::Unknown | Kind::UserDefined => bytes.extend(piece.bytes()),
            Kind::Byte => bytes.extend(vocabulary.byte(token)),
            Kind::Normal => {
                let mut letter = [0; 4];
                for c in piece.chars() {
                    let byte = match self.method {
                        Method::SentencePiece(_) => (c == SPACE).then_some(b' '),
                        Method::BytePairs(_) => byte_level::byte(c),
                    };
                    match byte {
                        Some(byte) => bytes.push(byte),
                        None => bytes.extend(c.encode_utf8(&mut letter).bytes()),
                    }
                }
            }
        }
        Ok(())
    }
}
