//! What of a model stays in memory, and what is read for every token.

/// What of a model stays in memory, and what is read for every token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelPlan {
    /// Bytes of weights that stay in the pool.
    pub resident_bytes: u64,
    /// Bytes of weights that are read for every token, or batch of a prompt's tokens.
    pub streamed_bytes: u64,
    /// Bytes of small tensors that stay in memory beside the pool.
    pub memory_bytes: u64,
    /// Threads that compute.
    pub threads: usize,
}
