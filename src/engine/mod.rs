//! The rooms put together: the builder, fields, views, batches, futures, plans, and what an engine says of itself.

pub(crate) mod array;
mod batch;
pub(crate) mod builder;
mod cgroup;
mod chains;
mod claim;
pub(crate) mod core;
pub(crate) mod field;
mod fork;
pub(crate) mod formats;
pub(crate) mod future;
mod geometry;
mod hits;
mod layout;
pub(crate) mod model;
pub(crate) mod packed;
pub(crate) mod plan;
mod prefetch;
pub(crate) mod report;
#[cfg(feature = "sim")]
pub(crate) mod simulation;
pub(crate) mod stats;
pub(crate) mod view;
mod write;

use crate::error::Result;
use std::path::Path;
use std::sync::Arc;

pub use array::{ArrayOptions, Damage, PackedInfo, Verified, Verify};
pub use batch::{Batch, Ready};
pub use builder::{EngineBuilder, Prefetch, Spin};
pub use field::{Field, OpenOptions};
pub use formats::gguf::{Array, ArrayIter, Gguf, Tensor, TensorType, Value, ValueType};
pub use formats::safetensors::{Dtype, SafeTensor, SafeTensors};
pub use future::ReadFuture;
pub use model::tokenizer::{Decoder, EncodeOptions, Message, Role, Tokenizer};
pub use model::{
    Arithmetic, Cancel, Finish, Generation, KvFormat, Model, ModelOptions, ModelPlan, ModelStats,
    Sampling, Session, SessionOptions,
};
pub use packed::{
    Pack, Packed, PackedField, PackedFile, PackedTensor, Progress, SourceFormat, TensorRole,
};
pub use plan::{FieldRange, Plan};
pub use report::Report;
pub use stats::{LaneStats, Stats};
pub use view::{Chunks, View};

/// Reads files bigger than memory through a pinned pool of fixed size. A cheap handle: clones share everything.
///
/// The last handle (engine, field or batch) to be dropped stops the submission loops and frees the pool. That waits for
/// reads in flight, at most [`EngineBuilder::shutdown_timeout`]; it can happen on any thread.
#[derive(Clone)]
pub struct Engine {
    pub(crate) core: Arc<core::Core>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("budget", &self.core.config.budget)
            .field("page_size", &self.core.config.page_size)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts from the defaults: 256 MiB, pages of 64 KiB.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    /// Opens a regular file or a block device of any length and alignment, as it is.
    ///
    /// Direct I/O is used where `statx(STATX_DIOALIGN)` grants it; [`Engine::report`] says so and why not.
    ///
    /// # Errors
    /// [`crate::Error::Open`], [`crate::Error::NotAFile`], [`crate::Error::MetadataBudget`]; [`crate::Error::Os`] where the
    /// device's submission loop cannot start; [`crate::Error::Forked`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Field> {
        self.core.open(path.as_ref(), OpenOptions::new())
    }

    /// Like [`Engine::open`], with options.
    ///
    /// # Errors
    /// As `open`; [`crate::Error::InvalidOption`] and [`crate::Error::RangeTooLarge`] for an extent that cannot be held.
    pub fn open_with(&self, path: impl AsRef<Path>, options: OpenOptions) -> Result<Field> {
        self.core.open(path.as_ref(), options)
    }

    /// A batch for up to `capacity` ranges at a time, to be used again and again.
    ///
    /// # Errors
    /// [`crate::Error::InvalidOption`] for a capacity of zero or above 2^20.
    pub fn batch(&self, capacity: usize) -> Result<Batch> {
        Batch::new(&self.core, capacity)
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        self.core.config.page_size
    }

    /// Pages the pool holds.
    pub fn frames(&self) -> u64 {
        u64::from(self.core.pool.frame_count())
    }

    /// What was asked of the machine, what it granted, why not more, and how to get it.
    pub fn report(&self) -> Report {
        Report::of(&self.core)
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.core)
    }
}
