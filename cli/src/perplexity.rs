//! `ringfield perplexity`: how well a model foretells a text, as `llama-perplexity` counts it.
//!
//! The tokens of the text are cut into chunks of `--ctx`, each run by itself. The first half of a chunk is only read; every
//! token of the second half but the first is scored by the logits before it. A vocabulary that begins texts with a token
//! has it in the place of each chunk's first one.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::PerplexityArgs;
use crate::console;
use crate::engine_run;
use crate::error::{Error, Result};
use crate::run::read_prompt;

/// The chunks of a text.
pub(crate) struct Chunks<'t> {
    tokens: &'t [u32],
    len: usize,
    bos: Option<u32>,
}

impl<'t> Chunks<'t> {
    /// At most `most` chunks of `len` tokens; what is left of the text is not scored.
    ///
    /// # Errors
    /// Fewer tokens than two chunks have, a chunk of less than four, or no chunk at all.
    pub(crate) fn new(
        tokens: &'t [u32],
        len: usize,
        most: Option<usize>,
        bos: Option<u32>,
    ) -> Result<Chunks<'t>> {
        if len < 4 || tokens.len() / 2 < len {
            let have = tokens.len();
            return Err(Error::message(format!(
                "the text has {have} tokens; two chunks of at least four are needed, and one has {len}: see --ctx"
            )));
        }
        if most == Some(0) {
            return Err(Error::message(
                "no chunk at all is to be scored: see --chunks",
            ));
        }
        let count = (tokens.len() / len).min(most.unwrap_or(usize::MAX));
        let tokens = tokens.get(..count * len).unwrap_or(tokens);
        Ok(Chunks { tokens, len, bos })
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len() / self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Vec<u32>> {
        self.tokens.chunks_exact(self.len).map(|chunk| {
            let mut chunk = chunk.to_vec();
            if let (Some(first), Some(bos)) = (chunk.first_mut(), self.bos) {
                *first = bos;
            }
            chunk
        })
    }
}

/// Sums over the tokens that were scored.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Perplexity {
    count: u64,
    /// Of the negative logarithms of their probabilities, and of the squares of these.
    sum: f64,
    squares: f64,
}

impl Perplexity {
    /// Scores `next` by the logits before it.
    pub(crate) fn add(&mut self, logits: &[f32], next: u32) {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
        let logit = logits.get(next as usize).copied().unwrap_or(f32::NAN);
        let lost = total.ln() - f64::from(logit - most);
        self.count += 1;
        self.sum += lost;
        self.squares += lost * lost;
    }

    /// The exponential of the mean.
    pub(crate) fn value(&self) -> f64 {
        (self.sum / self.count.max(1) as f64).exp()
    }

    /// Its standard error.
    pub(crate) fn error(&self) -> f64 {
        let count = self.count.max(2) as f64;
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        (variance / (count - 1.0)).sqrt() * self.value()
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Scored {
    perplexity: f64,
    error: f64,
    tokens: u64,
    chunks: usize,
    ctx: usize,
}

/// Runs `ringfield perplexity`.
///
/// # Errors
/// A text or a model that cannot be read, or a budget that is too small.
pub(crate) fn run(args: &PerplexityArgs) -> Result<()> {
    let text = read_prompt(&args.file)?;
    let watched = io::stderr().is_terminal();
    let mut chunks = 0;
    let mut each = |number: usize, of: usize, sums: &Perplexity| {
        chunks = of;
        if watched {
            let _ = write!(
                io::stderr(),
                "\rchunk {number} of {of}: {:.4}  ",
                sums.value()
            );
        }
    };
    let sums = engine_run::perplexity(args, &text, &mut each)?;
    if watched {
        eprintln!();
    }
    let scored = Scored {
        perplexity: sums.value(),
        error: sums.error(),
        tokens: sums.count,
        chunks,
        ctx: args.ctx,
    };
    if args.model.json {
        return console::print_json(&scored);
    }
    console::print(format!(
        "perplexity {:.4} ± {:.4} over {} tokens in {} chunks of {}",
        scored.perplexity, scored.error, scored.tokens, scored.chunks, scored.ctx
    ))
}

#[cfg(test)]
mod tests {
    use super::{Chunks, Perplexity};

    #[test]
    fn chunks_are_whole_and_begin_as_texts_do() {
        let tokens: Vec<u32> = (0..23).collect();
        let chunks = Chunks::new(&tokens, 5, None, Some(99)).unwrap();
        assert_eq!(chunks.len(), 4);
        let last = chunks.iter().last().unwrap();
        assert_eq!(last, [99, 16, 17, 18, 19]);
        assert_eq!(Chunks::new(&tokens, 5, Some(2), None).unwrap().len(), 2);
        assert!(Chunks::new(&tokens, 12, None, None).is_err());
        assert!(Chunks::new(&tokens, 3, None, None).is_err());
        assert!(Chunks::new(&tokens, 5, Some(0), None).is_err());
    }

    #[test]
    fn a_token_of_one_in_four_has_the_perplexity_four() {
        let mut sums = Perplexity::default();
        for _ in 0..10 {
            sums.add(&[1.5; 4], 2);
        }
        assert!((sums.value() - 4.0).abs() < 1e-12 && sums.error() < 1e-6);
        // Half as likely, a quarter as likely: the root of 2 * 4.
        let mut sums = Perplexity::default();
        sums.add(&[0.0, 0.0], 1);
        sums.add(&[0.0, 3.0f32.ln()], 0);
        assert!(
            (sums.value() - 8f64.sqrt()).abs() < 1e-6,
            "{}",
            sums.value()
        );
        assert!(sums.error() > 0.1);
    }
}
