//! What a model did.

use std::time::Duration;

/// What a model did since it was opened. Times are those of all threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelStats {
    /// Bytes of weights that were multiplied.
    pub weight_bytes: u64,
    /// Of these, bytes that had to be read for it.
    pub streamed_bytes: u64,
    /// How long threads waited for reads.
    pub io_wait: Duration,
    /// How long threads multiplied.
    pub compute: Duration,
    /// Bytes of memory beside the engine's budget and the sessions: small tensors, the columns of a batch, scratch. A
    /// session has its keys and values, and its logits: four bytes for each token of the vocabulary, twelve while it draws
    /// one.
    pub memory_bytes: u64,
}

impl ModelStats {
    /// The share of the weights that were in memory already.
    pub fn hit_share(&self) -> f64 {
        1.0 - self.streamed_bytes as f64 / self.weight_bytes.max(1) as f64
    }
}
