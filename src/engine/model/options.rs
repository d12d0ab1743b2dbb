//! How a model is opened, and a session begun.

use super::kv_cache::KvFormat;
use crate::engine::Engine;
use crate::kernels::Isa;

/// Bytes to be ahead of the arithmetic: bandwidth times latency, four times over. A solid-state disk that gives 3 GB/s
/// answers a read of 256 KiB within half a millisecond or so when it is that busy.
const AHEAD_BYTES: u64 = 6 << 20;
const BATCH: usize = 64;
const THREADS_MAX: usize = 1024;

/// What a model multiplies its packed weights with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Arithmetic {
    /// Each weight as the 32-bit float that it stands for, with activations of 32 bits: what the others are judged by.
    Exact,
    /// Integers inside of a block, with activations of eight bits, as ggml has it. About twice as fast where all is in
    /// memory, and with packed weights only: F32, F16 and BF16 are multiplied exactly all the same.
    #[default]
    EightBit,
}

/// How to open a model.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ModelOptions {
    pub(super) threads: Option<usize>,
    pub(super) batch: usize,
    pub(super) ahead_bytes: u64,
    pub(super) pool_bytes: Option<u64>,
    pub(super) isa: Option<Isa>,
    pub(super) arithmetic: Arithmetic,
}

impl Default for ModelOptions {
    fn default() -> ModelOptions {
        ModelOptions::new()
    }
}

impl ModelOptions {
    /// The defaults.
    pub fn new() -> ModelOptions {
        ModelOptions {
            threads: None,
            batch: BATCH,
            ahead_bytes: AHEAD_BYTES,
            pool_bytes: None,
            isa: None,
            arithmetic: Arithmetic::default(),
        }
    }

    /// Threads that compute, the caller's included. They sleep while there is nothing to do. Default: one for each
    /// processor, or fewer where the pool has no room for a piece of the model for each of them.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> ModelOptions {
        self.threads = Some(threads.clamp(1, THREADS_MAX));
        self
    }

    /// Tokens of a prompt that go through the model together, so that a weight is read once for all of them. Default 64.
    /// Costs memory for each: four bytes for every element of the widest layer, twice over.
    #[must_use]
    pub fn batch(mut self, tokens: usize) -> ModelOptions {
        self.batch = tokens.clamp(1, 4096);
        self
    }

    /// Bytes of weights that are asked for ahead of the arithmetic. Default 6 MiB; at most half of the pool.
    #[must_use]
    pub fn read_ahead(mut self, bytes: u64) -> ModelOptions {
        self.ahead_bytes = bytes;
        self
    }

    /// Bytes of the engine's pool that this model may take. Default: all of it. Leave room for other models and fields of
    /// the same engine: what a model keeps in memory is pinned.
    #[must_use]
    pub fn pool(mut self, bytes: u64) -> ModelOptions {
        self.pool_bytes = Some(bytes);
        self
    }

    /// The instruction set that computes. Default: the widest of this processor.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> ModelOptions {
        self.isa = Some(isa);
        self
    }

    /// What packed weights are multiplied with. Default: [`Arithmetic::EightBit`].
    #[must_use]
    pub fn arithmetic(mut self, arithmetic: Arithmetic) -> ModelOptions {
        self.arithmetic = arithmetic;
        self
    }

    /// Threads to try with, and whether fewer will do.
    pub(super) fn threads_wanted(&self) -> (usize, bool) {
        match self.threads {
            Some(threads) => (threads, false),
            None => {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                (processors.min(THREADS_MAX), true)
            }
        }
    }

    /// Frames it may take.
    pub(super) fn frames(&self, engine: &Engine) -> u64 {
        let given = self.pool_bytes.map(|bytes| bytes / engine.page_size());
        given.unwrap_or(u64::MAX).min(engine.frames())
    }
}

/// How to begin a session.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionOptions {
    pub(super) context: Option<usize>,
    pub(super) kv_budget: u64,
    pub(super) kv_format: KvFormat,
}

/// Bytes for keys and values where the host says nothing.
const KV_BUDGET: u64 = 64 << 20;

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions::new()
    }
}

impl SessionOptions {
    /// The defaults.
    pub fn new() -> SessionOptions {
        SessionOptions {
            context: None,
            kv_budget: KV_BUDGET,
            kv_format: KvFormat::F16,
        }
    }

    /// Tokens that the text can have, prompt included. Default: what the model was trained for, or as many as the budget
    /// of keys and values has room for.
    #[must_use]
    pub fn context(mut self, tokens: usize) -> SessionOptions {
        self.context = Some(tokens);
        self
    }

    /// Bytes for keys and values, beside the engine's budget. Default 64 MiB.
    #[must_use]
    pub fn kv_budget(mut self, bytes: u64) -> SessionOptions {
        self.kv_budget = bytes;
        self
    }

    /// How keys and values are kept. Default half precision.
    #[must_use]
    pub fn kv_format(mut self, format: KvFormat) -> SessionOptions {
        self.kv_format = format;
        self
    }
}
