//! What of a model stays in memory, what is read for every token, and how fast that will be.

use super::forward::{Stop, Tokens};
use super::kv_cache::{KvCache, KvFormat};
use super::stats::ModelStats;
use super::{Inner, Model};
use crate::error::{Error, Result};
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Passes of an estimate; the first fills the window and warms the caches, and does not count where there is another.
const PASSES: usize = 16;

/// What of a model stays in memory, and what is read for every token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelPlan {
    /// Bytes of weights that stay in the pool.
    pub resident_bytes: u64,
    /// Bytes of weights that are read for every token, or batch of a prompt's tokens (all but the last batch of a prompt
    /// go without the head).
    pub streamed_bytes: u64,
    /// Bytes of small tensors, and of the list of what is read, that stay in memory beside the pool.
    pub memory_bytes: u64,
    /// Threads that compute.
    pub threads: usize,
}

impl Model {
    /// Tokens a second that a session will generate while its text is short, by trying: passes through the model, or as
    /// much of one as `limit` allows.
    ///
    /// # Errors
    /// Those of [`crate::Field::read`].
    pub fn estimate(&self, limit: Duration) -> Result<f64> {
        let Inner { config, plan, .. } = &*self.inner;
        let (layers, heads, len) = (config.layers, config.kv_heads, config.head_len);
        let mut kv = KvCache::new(KvFormat::F16, layers, heads, len, PASSES)?;
        let mut logits = Vec::new();
        if self.inner.engine.core.is_forked() {
            return Err(Error::Forked);
        }
        let never = AtomicBool::new(false);
        let deadline = Instant::now().checked_add(limit);
        let mut rates = Vec::new();
        for from in 0..PASSES {
            let forward = self.inner.forward.lock();
            let mut forward = forward.unwrap_or_else(PoisonError::into_inner);
            let tokens = Tokens {
                ids: &[0],
                from,
                wanted: 1,
            };
            let stop = Stop {
                cancel: &never,
                deadline,
            };
            let used = |forward: &super::Forward| {
                let mut stats = ModelStats::default();
                forward.crew.state().stream.count(&mut stats);
                stats.weight_bytes
            };
            let (before, started) = (used(&forward), Instant::now());
            let ended = forward.run(&mut kv, tokens, &mut logits, stop);
            let rate = (used(&forward) - before) as f64 / started.elapsed().as_secs_f64();
            match ended {
                Ok(()) => rates.push(rate),
                Err(Error::Cancelled) if !rates.is_empty() => break,
                // Not even one: what was done of it must do.
                Err(Error::Cancelled) => {
                    rates.push(rate);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let first = usize::from(rates.len() > 1);
        let counted = &mut rates[first..];
        counted.sort_unstable_by(f64::total_cmp);
        let bytes = plan.resident_bytes + plan.streamed_bytes;
        Ok(counted[counted.len() / 2] / bytes.max(1) as f64)
    }
}
