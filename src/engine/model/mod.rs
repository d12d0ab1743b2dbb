//! Models that are bigger than the memory they run in.
//!
//! A [`Model`] keeps its weights in its file: they are pages of the engine's pool like any other, read in the order in
//! which a token needs them. A [`Session`] is a text in progress: its tokens, its keys and values.

mod attention;
mod config;
mod crew;
mod forward;
mod kv_cache;
mod multiply;
mod options;
mod plan;
mod rope;
mod sampler;
mod segments;
mod session;
mod share;
mod stats;
mod stream;
pub(crate) mod tokenizer;
mod weights;

use super::formats::charge::Charge;
use super::formats::gguf::{self, Gguf};
use super::{Engine, Field};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use config::Config;
use crew::Crew;
use forward::Forward;
use multiply::Multiplier;
use segments::{Room, Segments};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use stream::Stream;
use weights::Weights;

pub use kv_cache::KvFormat;
pub use options::{Arithmetic, ModelOptions, SessionOptions};
pub use plan::ModelPlan;
pub use sampler::Sampling;
pub use session::{Cancel, Finish, Generation, Session};
pub use stats::ModelStats;

/// Frames for what is read beside the weights: the metadata, and at least a row of the embedding.
const FRAMES_BESIDE_MIN: u64 = 4;

/// A dense decoder of the Llama, Qwen 2 and 3 or Gemma 3 family in a GGUF file. A cheap handle: clones share everything.
///
/// Every weight is read through the engine's pool. As much of the model as fits stays there, pinned; the rest is read once
/// for every token, ahead of the arithmetic. The tokens are the same, bit for bit, for every budget,
/// page size, number of threads, size of a prompt's batches and backend. They do depend on the [`Arithmetic`] and on whether
/// the instruction set fuses ([`crate::kernels`]).
///
/// # Examples
/// ```no_run
/// use ringfield::{Engine, Model, Sampling, SessionOptions};
///
/// # fn main() -> ringfield::Result<()> {
/// let engine = Engine::builder().dram_budget(32 << 20).build()?;
/// let model = Model::open(&engine, "model.gguf")?;
/// let mut session = model.session(SessionOptions::new())?;
/// session.feed(&[1, 2, 3])?;
/// for token in session.generate(Sampling::new(), 16) {
///     println!("{}", token?);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    gguf: Gguf,
    config: Config,
    vocabulary: usize,
    plan: ModelPlan,
    batch: usize,
    kernels: Kernels,
    /// A row for each thread, in the engine's budget.
    _charge: Charge,
    /// One pass at a time: the weights go by once.
    forward: Mutex<Forward>,
}

/// Frames for the directory of a packed field, without which no page of it can be checked: as many as it has pages, within
/// reason.
fn directory_frames(field: &Field, frames: u64) -> u64 {
    let array = field.shared.array.as_deref();
    array.map_or(0, |array| array.nodes()).min(frames / 4)
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("architecture", &self.inner.config.name)
            .field("layers", &self.inner.config.layers)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Opens the model in the file `path` with the defaults of [`ModelOptions`].
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn open(engine: &Engine, path: impl AsRef<Path>) -> Result<Model> {
        Model::open_with(engine, path, ModelOptions::new())
    }

    /// Opens the model in the file `path`, and reads what of it will stay in memory.
    ///
    /// # Errors
    /// Those of [`Gguf::open`] and [`crate::Field::read`]; [`Error::Unsupported`] for an architecture or a tensor type that
    /// there is no code for; [`Error::Malformed`] for shapes that contradict each other; [`Error::PoolTooSmall`],
    /// [`Error::MetadataBudget`], and [`Error::PoolPinned`] where other models or views hold what it may take of the pool
    /// ([`ModelOptions::pool`]); [`Error::InvalidOption`] for an instruction set that this processor lacks.
    pub fn open_with(
        engine: &Engine,
        path: impl AsRef<Path>,
        options: ModelOptions,
    ) -> Result<Model> {
        Model::of(Gguf::open(engine, path)?, options)
    }

    /// Makes a model of a GGUF that is open, such as one in a packed field of several files ([`Gguf::of`]), and reads what of
    /// it will stay in memory.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn of(gguf: Gguf, options: ModelOptions) -> Result<Model> {
        let Some(field) = gguf.fields().next().cloned() else {
            return Err(gguf::malformed(Path::new(""), 0, "a model of no file"));
        };
        let (engine, path) = (&field.engine(), field.path());
        let config = Config::read(&gguf, path)?;
        let mut weights = Weights::read(&gguf, path, &config)?;
        let vocabulary = weights.embedding.rows;
        let matrices = std::mem::take(&mut weights.matrices);
        let frames = options.frames(engine);
        let beside = (weights.embedding.row_bytes as u64).div_ceil(engine.page_size()) + 1;
        let beside = beside.max(FRAMES_BESIDE_MIN) + directory_frames(&field, frames);
        let (mut threads, fewer) = options.threads_wanted();
        let segments = loop {
            let room = Room {
                page_bytes: engine.page_size(),
                frames: frames.saturating_sub(beside),
                ahead_bytes: options.ahead_bytes,
                threads: threads as u64,
            };
            match Segments::cut(&matrices, &weights.groups(), room) {
                Ok(segments) => break segments,
                Err(_) if fewer && threads > 1 => threads /= 2,
                Err(need) => {
                    return Err(Error::PoolTooSmall {
                        need: need + beside,
                        have: frames,
                    });
                }
            }
        };
        let plan = ModelPlan {
            resident_bytes: segments.resident_bytes,
            streamed_bytes: segments.streamed_bytes,
            memory_bytes: weights.memory_bytes() + segments.memory_bytes(),
            threads,
        };
        let row_bytes = matrices.iter().map(|m| m.row_bytes).max().unwrap_or(0);
        let mut charge = Charge::new(engine);
        charge.add_for(
            || format!("rows of {} that straddle pages", path.display()),
            threads as u64 * row_bytes as u64,
        )?;
        let stream = Stream::open(engine, matrices, segments)?;
        let kernels = match options.isa {
            None => Kernels::new(),
            Some(isa) => Kernels::with(isa).ok_or_else(|| Error::InvalidOption {
                option: "isa",
                value: isa.to_string(),
                why: "this processor does not have it".into(),
            })?,
        };
        let multiplier = Multiplier::new(stream, kernels, options.arithmetic, threads);
        // Where something is streamed the loop that reads it needs a processor.
        let crew = Crew::new(threads, plan.streamed_bytes == 0, multiplier)?;
        Ok(Model {
            inner: Arc::new(Inner {
                engine: engine.clone(),
                vocabulary,
                plan,
                batch: options.batch,
                kernels,
                _charge: charge,
                forward: Mutex::new(Forward::new(config.clone(), weights, crew)),
                config,
                gguf,
            }),
        })
    }

    /// Begins a text.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a context that the budget of keys and values has no room for; [`Error::Os`] where there
    /// is no memory for them.
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        Session::new(self.clone(), options)
    }

    /// The engine that reads it.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Its file: names, shapes, metadata.
    pub fn gguf(&self) -> &Gguf {
        &self.inner.gguf
    }

    /// What stays in memory and what is read for every token.
    pub fn plan(&self) -> &ModelPlan {
        &self.inner.plan
    }

    /// What it did so far. Waits for a pass in progress; all zeros in a forked child.
    pub fn stats(&self) -> ModelStats {
        if self.inner.engine.core.is_forked() {
            return ModelStats::default();
        }
        let forward = self.inner.forward.lock();
        let forward = forward.unwrap_or_else(PoisonError::into_inner);
        let multiplier = forward.crew.state();
        let mut stats = ModelStats {
            memory_bytes: self.inner.plan.memory_bytes
                + forward.memory_bytes()
                + multiplier.memory_bytes(),
            ..ModelStats::default()
        };
        multiplier.stream.count(&mut stats);
        stats
    }

    /// What computes.
    pub fn kernels(&self) -> Kernels {
        self.inner.kernels
    }

    /// Tokens of its vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.inner.vocabulary
    }

    /// Positions it was trained for.
    pub fn context(&self) -> usize {
        self.inner.config.context
    }
}
