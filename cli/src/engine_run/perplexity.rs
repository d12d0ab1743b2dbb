//! How well a model foretells a text.

use ringfield::{EncodeOptions, KvFormat, SessionOptions, Tokenizer};

use super::EngineContext;
use super::generate::{Watch, open};
use crate::args::PerplexityArgs;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::perplexity::{Chunks, Perplexity};

/// Scores `text`, chunk by chunk; `each` gets the number of chunks that are done, of how many, and the sums so far.
///
/// # Errors
/// A model that cannot be read, a text that is shorter than two chunks, a budget that is too small, an interrupt.
pub(crate) fn perplexity(
    args: &PerplexityArgs,
    text: &str,
    each: &mut dyn FnMut(usize, usize, &Perplexity),
) -> Result<Perplexity> {
    let watch = Watch::begin();
    let (model, _) = open(&args.model)?;
    let tokenizer = Tokenizer::open(model.gguf()).engine("cannot read the tokenizer")?;
    let encode = |text: &str| {
        let options = EncodeOptions::new().add_special(true);
        tokenizer
            .encode(text, options)
            .engine("cannot encode the text")
    };
    let tokens = encode(text)?;
    // What a tokenizer puts before an empty text it puts before each chunk.
    let bos = tokenizer.bos();
    let bos = bos.filter(|bos| encode("").is_ok_and(|empty| empty.first() == Some(bos)));
    let chunks = Chunks::new(&tokens, args.ctx, args.chunks, bos)?;
    let position_bytes = model
        .session(SessionOptions::new().context(1))
        .engine("cannot begin a text")?
        .kv_bytes()
        .saturating_mul(2);
    let mut sums = Perplexity::default();
    for (number, chunk) in chunks.iter().enumerate() {
        let mut options = SessionOptions::new()
            .context(args.ctx)
            .kv_budget(position_bytes.saturating_mul(args.ctx as u64));
        if args.kv_f32 {
            options = options.kv_format(KvFormat::F32);
        }
        let mut session = model.session(options).engine("cannot begin a chunk")?;
        watch.session(session.cancel_handle());
        // An interrupt that was seen before it could reach this session.
        interrupt::check()?;
        let (read, scored) = chunk.split_at(chunk.len() / 2);
        let mut next = scored.iter().skip(1);
        let fed = session.feed(read).and_then(|()| {
            session.feed_with(scored, |logits| {
                if let Some(&next) = next.next() {
                    sums.add(logits, next);
                }
            })
        });
        match fed {
            Err(ringfield::Error::Cancelled) => return Err(Error::Interrupted),
            fed => fed.engine("cannot run a chunk")?,
        }
        interrupt::check()?;
        each(number + 1, chunks.len(), &sums);
    }
    Ok(sums)
}
