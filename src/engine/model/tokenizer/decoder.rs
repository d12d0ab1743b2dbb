//! Tokens back to text, one after the other. A token can be a part of a character: its bytes wait for the rest.

use super::Tokenizer;
use crate::error::Result;

/// Turns tokens into text as they come, valid UTF-8 at all times.
///
/// Bytes of a character that is not complete yet are held back, three at most. What can never become a character is printed
/// as U+FFFD. Control tokens print nothing unless [`Decoder::render_control`] says so.
///
/// # Examples
/// ```no_run
/// # fn main() -> ringfield::Result<()> {
/// # let engine = ringfield::Engine::builder().dram_budget(64 << 20).build()?;
/// # let model = ringfield::Gguf::open(&engine, "model.gguf")?;
/// let tokenizer = ringfield::Tokenizer::open(&model)?;
/// let mut decoder = tokenizer.decoder();
/// for token in tokenizer.encode("Grüße 👋🏽", ringfield::EncodeOptions::new())? {
///     print!("{}", decoder.push(token)?);
/// }
/// print!("{}", decoder.finish());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Decoder<'t> {
    tokenizer: &'t Tokenizer,
    render_control: bool,
    drop_space: bool,
    /// What came and is not complete.
    held: Vec<u8>,
    text: String,
}

impl<'t> Decoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Decoder<'t> {
        Decoder {
            tokenizer,
            render_control: false,
            drop_space: false,
            held: Vec::new(),
            text: String::new(),
        }
    }

    /// Prints control tokens as they are written. Default: they print nothing.
    pub fn render_control(mut self, render: bool) -> Self {
        self.render_control = render;
        self
    }

    /// Says that the tokens begin a text: the space that the model's tokenizer puts before a text is left out again.
    /// Default: the tokens go on with a text, and every space is printed.
    pub fn begins_text(mut self, begins: bool) -> Self {
        self.drop_space = begins && self.tokenizer.adds_space_prefix();
        self
    }

    /// Takes the next token; returns the text that is complete with it, often none.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchToken`].
    pub fn push(&mut self, token: u32) -> Result<&str> {
        let before = self.held.len();
        self.tokenizer
            .append_bytes(token, self.render_control, &mut self.held)?;
        if self.drop_space && self.held.len() > before {
            self.drop_space = false;
            if self.held.starts_with(b" ") {
                self.held.remove(0);
            }
        }
        self.text.clear();
        loop {
            let e = match std::str::from_utf8(&self.held) {
                Ok(text) => {
                    self.text.push_str(text);
                    self.held.clear();
                    break;
                }
                Err(e) => e,
            };
            let (valid, rest) = self.held.split_at(e.valid_up_to());
            self.text
                .push_str(std::str::from_utf8(valid).unwrap_or_default());
            let Some(wrong) = e.error_len() else {
                // The beginning of a character.
                let rest = rest.len();
                self.held.drain(..self.held.len() - rest);
                break;
            };
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.held.drain(..e.valid_up_to() + wrong);
        }
        Ok(&self.text)
    }

    /// Ends the text: what is held back can no longer be completed.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.held.is_empty() {
            self.held.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }
}
