//! Choosing an engine's limits, and building it.

use super::Engine;
use super::core::{Core, CoreParts};
use super::layout::{Layout, memory_limit};
use crate::error::{Error, Result};
use crate::ring::grant::Grant;
use crate::ring::options::{BackendKind, Poll};
use crate::ring::submission_loop::depth::DEPTH_FOUND_MAX;
use crate::tiers::arena::{Arena, HugePages};
use crate::tiers::eviction::Eviction;
use crate::tiers::pool::Pool;
use std::sync::Arc;
use std::time::Duration;

const PAGE_BYTES_MIN: u64 = 4 << 10;
const PAGE_BYTES_MAX: u64 = 4 << 20;
const DEPTH_MAX: u32 = 4096;

/// Whether a thread that waits looks a while before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Spin {
    /// Sleep at once. The default: on a machine of few processors looking takes the time of the thread that is waited for.
    #[default]
    Off,
    /// Look for at most 50 µs, at low depth, and only while fewer threads are runnable than there are processors.
    Auto,
}

/// What may be read that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Prefetch {
    /// Nothing: [`Field::prefetch`](crate::Field::prefetch) and [`Engine::plan`] read nothing, and no reads compete with
    /// those that are waited for.
    Off,
    /// What the host names by [`Field::prefetch`](crate::Field::prefetch) and [`Engine::plan`]. The default.
    #[default]
    Hints,
}

/// An engine's fixed choices.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) budget: u64,
    pub(crate) page_size: u64,
    /// `None` is to be found by measuring.
    pub(crate) queue_depth: Option<u32>,
    pub(crate) metadata_budget: Option<u64>,
    pub(crate) read_deadline: Option<Duration>,
    pub(crate) pin_wait: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) sqpoll_idle_ms: Option<u32>,
    pub(crate) poll: Poll,
    pub(crate) huge_pages: HugePages,
    pub(crate) spin: bool,
    pub(crate) cpus: Vec<usize>,
    pub(crate) nice: Option<i32>,
    pub(crate) backend: BackendKind,
    pub(crate) inline_reads: bool,
    pub(crate) prefetch: Prefetch,
    pub(crate) eviction: Eviction,
    pub(crate) waiters: u32,
}

impl Config {
    /// Reads in flight per device, at most.
    pub(crate) fn depth_max(&self) -> u32 {
        self.queue_depth.unwrap_or(DEPTH_FOUND_MAX)
    }
}

/// Builds an [`Engine`]. Every option has a default; see each method.
#[derive(Debug, Clone)]
#[must_use]
pub struct EngineBuilder {
    pub(super) config: Config,
}

impl EngineBuilder {
    pub(crate) fn new() -> EngineBuilder {
        EngineBuilder {
            config: Config {
                budget: 256 << 20,
                page_size: 64 << 10,
                queue_depth: None,
                metadata_budget: None,
                read_deadline: None,
                pin_wait: Duration::ZERO,
                shutdown_timeout: Duration::from_secs(5),
                sqpoll_idle_ms: None,
                poll: Poll::default(),
                huge_pages: HugePages::Auto,
                spin: false,
                cpus: Vec::new(),
                nice: None,
                backend: BackendKind::Auto,
                inline_reads: true,
                prefetch: Prefetch::default(),
                eviction: Eviction::default(),
                waiters: 0,
            },
        }
    }

    /// All memory the engine takes, in bytes: pages and metadata; a hard ceiling, taken whole by [`EngineBuilder::build`].
    /// Default: 256 MiB.
    pub fn dram_budget(mut self, bytes: u64) -> Self {
        self.config.budget = bytes;
        self
    }

    /// Size of a page and of a pool frame, in bytes: a power of two, 4 KiB to 4 MiB. Default: 64 KiB.
    ///
    /// Small pages waste less of the budget on random reads; large ones cost less metadata (about 150 bytes a page). The
    /// size of single reads does not depend on it: adjacent missing pages are read together.
    pub fn page_size(mut self, bytes: u64) -> Self {
        self.config.page_size = bytes;
        self
    }

    /// Reads in flight per device, 1 to 4096; never more than the device's `nr_requests`. Default: found by measuring.
    ///
    /// Past the knee of a device more depth adds latency and no throughput. Where nothing is set here each loop starts
    /// with 32 and, when reads wait for nothing but the depth, looks for the least one that gives 92 % of the throughput of
    /// any. That takes under two seconds of full load, once, and again where the load has become another. The report says
    /// what was found.
    pub fn queue_depth(mut self, reads: u32) -> Self {
        self.config.queue_depth = Some(reads);
        self
    }

    /// Part of the budget kept for open fields and devices, in bytes. Default: 1/64 of the budget, at least 1 MiB, and
    /// enough for one device and a few hundred fields.
    pub fn metadata_budget(mut self, bytes: u64) -> Self {
        self.config.metadata_budget = Some(bytes);
        self
    }

    /// After this long a read fails with [`Error::TimedOut`]; the frame stays with the device until it answers.
    /// Default: none.
    ///
    /// Turns inline reads off: a caller inside a system call cannot leave it. The kernel may still hold up the exit of the
    /// process until its block I/O is answered.
    pub fn read_deadline(mut self, deadline: Duration) -> Self {
        self.config.read_deadline = Some(deadline);
        self
    }

    /// How long a read may wait for other views to be dropped where they pin the pool, before
    /// [`Error::PoolPinned`]. Default: zero.
    pub fn pin_wait(mut self, wait: Duration) -> Self {
        self.config.pin_wait = wait;
        self
    }

    /// How long dropping the engine waits for reads in flight. After that their memory is leaked rather than freed under
    /// the device. Default: 5 s.
    pub fn shutdown_timeout(mut self, wait: Duration) -> Self {
        self.config.shutdown_timeout = wait;
        self
    }

    /// How completions are noticed. Default: [`Poll::Interrupt`].
    pub fn poll(mut self, poll: Poll) -> Self {
        self.config.poll = poll;
        self
    }

    /// Lets a kernel thread submit (`IORING_SETUP_SQPOLL`), asleep after `idle` without work. Default: off.
    ///
    /// Costs a processor while reads flow, and 30 to 100 µs to wake up after `idle`.
    pub fn sqpoll(mut self, idle: Option<Duration>) -> Self {
        self.config.sqpoll_idle_ms = idle.map(|d| d.as_millis().clamp(1, 60_000) as u32);
        self
    }

    /// Which pages back the pool. Default: [`HugePages::Auto`].
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.config.huge_pages = huge_pages;
        self
    }

    /// Whether threads that wait, callers and submission loops, look a while before they sleep. Default: [`Spin::Off`].
    pub fn spin(mut self, spin: Spin) -> Self {
        self.config.spin = spin == Spin::Auto;
        self
    }

    /// Processors that the submission loops run on. Default: any.
    pub fn cpu_affinity(mut self, cpus: &[usize]) -> Self {
        self.config.cpus = cpus.to_vec();
        self
    }

    /// Nice level of the submission loops' threads, −20 to 19 (setpriority(2)). Default: that of the thread that opens a
    /// device's first file.
    ///
    /// A loop uses little time but is needed at once. Beside threads that compute without a pause it otherwise waits for
    /// their time slices; −10 then takes the p99 of a read from milliseconds to about a tenth of one. With processors to
    /// spare it gains nothing, and costs up to a tenth of the throughput where host and loop share one. Negative levels
    /// need a privilege; what was not granted is in the report.
    pub fn nice(mut self, level: i32) -> Self {
        self.config.nice = Some(level);
        self
    }

    /// What moves the bytes. Default: [`BackendKind::Auto`].
    pub fn backend(mut self, backend: BackendKind) -> Self {
        self.config.backend = backend;
        self
    }

    /// Whether a blocking read of one page on an idle device is made by the caller itself: about 10 µs faster than through
    /// the loop. Default: yes; no where there is a [`EngineBuilder::read_deadline`].
    pub fn inline_reads(mut self, allowed: bool) -> Self {
        self.config.inline_reads = allowed;
        self
    }

    /// What may be read that nobody waits for. Default: [`Prefetch::Hints`].
    ///
    /// Reading ahead costs at most three quarters of the pool and, while demand reads are active, 256 KiB in flight.
    pub fn prefetch(mut self, prefetch: Prefetch) -> Self {
        self.config.prefetch = prefetch;
        self
    }

    /// Which page goes when a frame is needed. Default: [`Eviction::Clock`].
    pub fn eviction(mut self, eviction: Eviction) -> Self {
        self.config.eviction = eviction;
        self
    }

    /// Takes the memory and returns the engine. Threads start with the first file of a device.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::BudgetTooSmall`], which names the minimum; [`Error::BudgetOverLimit`] where the
    /// memory cgroup or the machine has less; [`Error::Os`] where memory is refused.
    pub fn build(self) -> Result<Engine> {
        let parts = self.parts(u32::MAX, u32::MAX)?;
        Ok(Engine {
            core: Arc::new(Core::new(parts)),
        })
    }

    /// What an engine is made of, with at most so many frames and waiters.
    pub(crate) fn parts(self, frames_max: u32, waiters_max: u32) -> Result<CoreParts> {
        let mut config = self.config;
        check(&config)?;
        let mut layout = Layout::of(&config)?;
        layout.frames = layout.frames.min(frames_max);
        layout.waiters = layout.waiters.min(waiters_max);
        if let Some((limit, limit_of)) = memory_limit()
            && config.budget > limit
        {
            return Err(Error::BudgetOverLimit {
                budget: config.budget,
                limit,
                limit_of,
            });
        }
        config.waiters = layout.waiters;
        let (arena, mut grants) = Arena::new(
            (u64::from(layout.frames) * config.page_size) as usize,
            config.huge_pages,
        )
        .map_err(|e| Error::os(format!("taking {} bytes for the pool", config.budget), &e))?;
        grants.insert(
            0,
            Grant::full(
                "budget",
                format!(
                    "{} bytes: {} pages of {} KiB, {} KiB of metadata",
                    config.budget,
                    layout.frames,
                    config.page_size >> 10,
                    (layout.fixed_bytes + layout.metadata_bytes) >> 10
                ),
            ),
        );
        let pinned_bytes = arena.bytes() as u64 + layout.fixed_bytes + layout.metadata_bytes;
        let pool = Pool::new(
            arena,
            layout.frames,
            config.page_size,
            layout.waiters,
            config.eviction.policy(),
        );
        Ok(CoreParts {
            pool: Arc::new(pool),
            config,
            build_grants: grants,
            pinned_bytes,
            metadata_bytes: layout.metadata_bytes,
        })
    }
}

fn invalid<T>(option: &'static str, value: impl ToString, why: &str) -> Result<T> {
    Err(Error::InvalidOption {
        option,
        value: value.to_string(),
        why: why.into(),
    })
}

fn check(config: &Config) -> Result<()> {
    let page = config.page_size;
    if !page.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page) {
        return invalid("page_size", page, "a power of two from 4096 to 4194304");
    }
    if let Some(depth) = config.queue_depth
        && !(1..=DEPTH_MAX).contains(&depth)
    {
        return invalid("queue_depth", depth, "1 to 4096 reads");
    }
    if let Some(level) = config.nice
        && !(-20..=19).contains(&level)
    {
        return invalid("nice", level, "-20 to 19");
    }
    if config.read_deadline.is_some_and(|d| d.is_zero()) {
        return invalid(
            "read_deadline",
            "0",
            "longer than zero; leave it out for none",
        );
    }
    Ok(())
}
