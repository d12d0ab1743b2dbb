//! A text in progress.

use super::Model;
use super::forward::{Stop, Tokens};
use super::kv_cache::KvCache;
use super::options::SessionOptions;
use super::sampler::{Sampler, Sampling};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

/// A text in progress: its tokens, and their keys and values. Sessions of one model take turns, a pass each.
pub struct Session {
    model: Model,
    kv: KvCache,
    tokens: Vec<u32>,
    /// Of the last token; empty before the first, and after a prompt that was not run to its end.
    logits: Vec<f32>,
    /// The last token that was generated, which has not been run yet.
    pending: Option<u32>,
    cancel: Arc<AtomicBool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("tokens", &self.tokens.len())
            .field("context", &self.context())
            .finish_non_exhaustive()
    }
}

/// Ends what a session is doing, from any thread.
#[derive(Debug, Clone)]
pub struct Cancel {
    cancelled: Arc<AtomicBool>,
}

impl Cancel {
    /// The pass in progress ends within a layer with [`Error::Cancelled`], and so does every later one.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }
}

impl Session {
    pub(super) fn new(model: Model, options: SessionOptions) -> Result<Session> {
        let config = &model.inner.config;
        let (layers, heads, len) = (config.layers, config.kv_heads, config.head_len);
        let position = KvCache::position_bytes(options.kv_format, layers, heads, len);
        let fits = usize::try_from(options.kv_budget / position as u64).unwrap_or(usize::MAX);
        let positions = options.context.unwrap_or(config.context.min(fits));
        if positions == 0 || positions > fits {
            return Err(Error::InvalidOption {
                option: "context",
                value: positions.to_string(),
                why: format!(
                    "a token takes {position} bytes of keys and values, so kv_budget of {} has room for {fits}",
                    options.kv_budget
                ),
            });
        }
        let kv = KvCache::new(options.kv_format, layers, heads, len, positions)?;
        Ok(Session {
            kv,
            tokens: Vec::new(),
            logits: Vec::new(),
            pending: None,
            cancel: Arc::default(),
            model,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The tokens that were run so far: without the one generated last, which is run when more is asked for.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens there is room for, in all.
    pub fn context(&self) -> usize {
        self.kv.positions()
    }

    /// Bytes of keys and values, all of the context's.
    pub fn kv_bytes(&self) -> u64 {
        self.kv.memory_bytes()
    }

    /// A handle that ends what the session is doing.
    pub fn cancel_handle(&self) -> Cancel {
        Cancel {
            cancelled: self.cancel.clone(),
        }
    }

    /// Appends `tokens` and runs them through the model, in batches of [`super::ModelOptions::batch`].
    ///
    /// # Errors
    /// [`Error::ContextFull`] and [`Error::NoSuchToken`], before anything is run; [`Error::Cancelled`] and those of
    /// [`crate::Field::read`] ([`Error::Forked`] among them), after which the session holds the batches that were run, and
    /// has no logits where there were such: more must be fed before it goes on.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.check(tokens)?;
        self.settle()?;
        let mut batches = tokens.chunks(self.model.inner.batch).peekable();
        while let Some(batch) = batches.next() {
            // Only what follows the last token is asked for.
            let wanted = usize::from(batches.peek().is_none());
            self.pass(batch, wanted)?;
        }
        Ok(())
    }

    /// Like [`Session::feed`], and gives `each` the logits after every token: one number for each token of the vocabulary.
    ///
    /// # Errors
    /// As `feed`.
    pub fn feed_with(&mut self, tokens: &[u32], mut each: impl FnMut(&[f32])) -> Result<()> {
        self.check(tokens)?;
        self.settle()?;
        for batch in tokens.chunks(self.model.inner.batch) {
            self.pass(batch, batch.len())?;
            let vocabulary = self.model.vocabulary();
            self.logits.chunks_exact(vocabulary).for_each(&mut each);
            self.logits.drain(..self.logits.len() - vocabulary);
        }
        self.logits.shrink_to_fit();
        Ok(())
    }

    fn check(&self, tokens: &[u32]) -> Result<()> {
        let pending = usize::from(self.pending.is_some());
        let room = (self.context() - self.tokens.len()).saturating_sub(pending);
        if tokens.len() > room {
            return Err(Error::ContextFull {
                need: tokens.len() as u64,
                room: room as u64,
                positions: self.context() as u64,
            });
        }
        let vocabulary = self.model.vocabulary();
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            Some(&token) => Err(Error::NoSuchToken {
                token,
                len: vocabulary as u32,
            }),
            None => Ok(()),
        }
    }

    /// Runs the token that was generated last.
    fn settle(&mut self) -> Result<()> {
        if let Some(token) = self.pending {
            self.pass(&[token], 1)?;
            self.pending = None;
        }
        Ok(())
    }

    fn pass(&mut self, ids: &[u32], wanted: usize) -> Result<()> {
        let tokens = Tokens {
            ids,
            from: self.tokens.len(),
            wanted,
        };
        // Before the lock, which a thread of the parent may have held.
        if self.model.engine().core.is_forked() {
            return Err(Error::Forked);
        }
        let forward = self.model.inner.forward.lock();
        let mut forward = forward.unwrap_or_else(PoisonError::into_inner);
        let stop = Stop {
            cancel: &self.cancel,
            deadline: None,
        };
        forward.run(&mut self.kv, tokens, &mut self.logits, stop)?;
        self.tokens.extend_from_slice(ids);
        Ok(())
    }

    /// Logits of what follows the tokens so far, one for each token of the vocabulary; empty before the first, and where
    /// [`Session::feed`] ended in between.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Goes on with the text by at most `count` tokens; each is run through the model when the next one is asked for.
    ///
    /// Ends before that with an error, when cancelled, or where the context is full: [`Generation::finish`] says so.
    pub fn generate(&mut self, sampling: Sampling, count: usize) -> Generation<'_> {
        Generation {
            session: self,
            sampler: Sampler::new(sampling),
            left: count,
            finish: None,
        }
    }
}

/// Why no more tokens come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// As many as were asked for have come.
    Count,
    /// The context has no room for another.
    ContextFull,
    /// Nothing was fed, or not all of it, or no logit is a number.
    NothingToSay,
    /// The session's cancel handle was used.
    Cancelled,
    /// An error was returned.
    Failed,
}

/// The tokens that follow, one by one.
#[derive(Debug)]
pub struct Generation<'s> {
    session: &'s mut Session,
    sampler: Sampler,
    left: usize,
    finish: Option<Finish>,
}

impl Generation<'_> {
    /// Why it ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    fn step(&mut self) -> Result<std::result::Result<u32, Finish>> {
        if self.left == 0 {
            return Ok(Err(Finish::Count));
        }
        if self.session.pending.is_some() && self.session.tokens.len() == self.session.context() {
            return Ok(Err(Finish::ContextFull));
        }
        self.session.settle()?;
        let Session { logits, tokens, .. } = &*self.session;
        let Some(token) = self.sampler.choose(logits, tokens) else {
            return Ok(Err(Finish::NothingToSay));
        };
        self.left -= 1;
        self.session.pending = Some(token);
        Ok(Ok(token))
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Result<u32>> {
        if self.finish.is_some() {
            return None;
        }
        match self.step() {
            Ok(Ok(token)) => Some(Ok(token)),
            Ok(Err(finish)) => {
                self.finish = Some(finish);
                None
            }
            Err(Error::Cancelled) => {
                self.finish = Some(Finish::Cancelled);
                None
            }
            Err(error) => {
                self.finish = Some(Finish::Failed);
                Some(Err(error))
            }
        }
    }
}
