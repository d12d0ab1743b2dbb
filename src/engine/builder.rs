//! Choosing an engine's limits, and building it.

use super::Engine;
use super::core::{Core, CoreParts, ring_memory_bytes};
use super::hits::ThreadCounter;
use crate::error::{Error, Result};
use crate::ring::grant::Grant;
use crate::ring::handle::BackendKind;
use crate::tiers::arena::{Arena, HugePages};
use crate::tiers::pool::Pool;
use crate::tiers::table::PageTable;
use crate::tiers::wait::Ops;
use std::sync::Arc;
use std::time::Duration;

const PAGE_BYTES_MIN: u64 = 4 << 10;
const PAGE_BYTES_MAX: u64 = 4 << 20;
const FRAMES_MIN: u64 = 8;
const FRAMES_MAX: u64 = u32::MAX as u64 / 2;
const DEPTH_MAX: u32 = 4096;
/// Metadata for fields beside the first device's, where the host names no `metadata_budget`, in bytes.
const FIELDS_BYTES_MIN: u64 = 64 << 10;

/// How completions are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Poll {
    /// The device interrupts. The default.
    #[default]
    Interrupt,
    /// The loop polls the device (`IORING_SETUP_IOPOLL`): lowest latency, one processor in use while reads are in flight.
    /// Needs a device with poll queues; falls back to interrupts, visibly.
    IoPoll,
}

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

/// An engine's fixed choices.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) budget: u64,
    pub(crate) page_size: u64,
    pub(crate) queue_depth: u32,
    pub(crate) metadata_budget: Option<u64>,
    pub(crate) read_deadline: Option<Duration>,
    pub(crate) pin_wait: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) sqpoll_idle_ms: Option<u32>,
    pub(crate) iopoll: bool,
    pub(crate) huge_pages: HugePages,
    pub(crate) spin: bool,
    pub(crate) cpus: Vec<usize>,
    pub(crate) backend: BackendKind,
    pub(crate) inline_reads: bool,
    pub(crate) waiters: u32,
}

/// Builds an [`Engine`]. Every option has a default; see each method.
#[derive(Debug, Clone)]
#[must_use]
pub struct EngineBuilder {
    config: Config,
}

impl EngineBuilder {
    pub(crate) fn new() -> EngineBuilder {
        EngineBuilder {
            config: Config {
                budget: 256 << 20,
                page_size: 64 << 10,
                queue_depth: 32,
                metadata_budget: None,
                read_deadline: None,
                pin_wait: Duration::ZERO,
                shutdown_timeout: Duration::from_secs(5),
                sqpoll_idle_ms: None,
                iopoll: false,
                huge_pages: HugePages::Auto,
                spin: false,
                cpus: Vec::new(),
                backend: BackendKind::Auto,
                inline_reads: true,
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

    /// Reads in flight per device, 1 to 4096; never more than the device's `nr_requests`. Default: 32.
    ///
    /// Past the knee of a device more depth adds latency and no throughput.
    pub fn queue_depth(mut self, reads: u32) -> Self {
        self.config.queue_depth = reads;
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
        self.config.iopoll = poll == Poll::IoPoll;
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
        let pool = Pool::new(arena, layout.frames, config.page_size, layout.waiters);
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
    if config.queue_depth == 0 || config.queue_depth > DEPTH_MAX {
        return invalid("queue_depth", config.queue_depth, "1 to 4096 reads");
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

/// How a budget is cut up.
struct Layout {
    frames: u32,
    waiters: u32,
    /// Metadata of frames and waiters, in bytes.
    fixed_bytes: u64,
    /// Metadata for fields and devices, in bytes.
    metadata_bytes: u64,
}

impl Layout {
    /// The layout with the most frames that fit.
    fn of(config: &Config) -> Result<Layout> {
        let frames_max = (config.budget / config.page_size).min(FRAMES_MAX);
        let (mut fits, mut too_many) = (FRAMES_MIN - 1, frames_max + 1);
        // What is needed only grows with the frames, in steps of the arena and of the page table.
        while fits + 1 < too_many {
            let middle = fits + (too_many - fits) / 2;
            if Layout::with(config, middle).bytes(config) <= config.budget {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        if fits < FRAMES_MIN {
            return Err(Error::BudgetTooSmall {
                budget: config.budget,
                page_size: config.page_size,
                minimum: Layout::with(config, FRAMES_MIN).bytes(config),
            });
        }
        Ok(Layout::with(config, fits))
    }

    fn with(config: &Config, frames: u64) -> Layout {
        let frames = frames as u32;
        Layout {
            frames,
            waiters: waiters(frames),
            fixed_bytes: fixed_bytes(frames),
            // The first device must find room, whatever its depth.
            metadata_bytes: config.metadata_budget.unwrap_or_else(|| {
                let device = ring_memory_bytes(config.queue_depth, frames) + FIELDS_BYTES_MIN;
                (config.budget / 64).max(1 << 20).max(device)
            }),
        }
    }

    fn bytes(&self, config: &Config) -> u64 {
        Arena::bytes_for(u64::from(self.frames) * config.page_size)
            + self.fixed_bytes
            + self.metadata_bytes
    }
}

/// Reads that can wait at once: as many as there are frames, within reason.
fn waiters(frames: u32) -> u32 {
    frames.clamp(256, 16_384)
}

fn fixed_bytes(frames: u32) -> u64 {
    let (waiters, frames) = (waiters(frames), u64::from(frames));
    frames * Pool::frame_metadata_bytes()
        + PageTable::memory_bytes(frames)
        + Ops::memory_bytes(waiters)
        + 2 * ThreadCounter::memory_bytes()
}

/// The tightest limit on this process's memory, and whose it is.
fn memory_limit() -> Option<(u64, &'static str)> {
    let cgroup = super::cgroup::memory_limit().map(|bytes| (bytes, "memory cgroup's limit"));
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some((kib << 10, "machine's memory"))
        });
    [cgroup, machine].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::{EngineBuilder, Layout};
    use crate::Error;

    #[test]
    fn the_minimum_that_the_error_names_is_enough_and_one_byte_less_is_not() {
        for page in [4096u64, 65_536, 4 << 20] {
            let small = EngineBuilder::new().page_size(page).dram_budget(4096);
            let Err(Error::BudgetTooSmall { minimum, .. }) = Layout::of(&small.config).map(|_| ())
            else {
                panic!("4096 bytes cannot be enough");
            };
            let enough = EngineBuilder::new().page_size(page).dram_budget(minimum);
            assert!(Layout::of(&enough.config).is_ok_and(|l| l.frames >= 8));
            let less = EngineBuilder::new()
                .page_size(page)
                .dram_budget(minimum - 1);
            assert!(Layout::of(&less.config).is_err());
        }
    }

    #[test]
    fn a_layout_never_exceeds_its_budget_and_takes_every_frame_that_fits() {
        for budget in [16u64 << 20, 64 << 20, 300_000_000, 3 << 30] {
            for page in [4096u64, 65_536, 1 << 20] {
                let builder = EngineBuilder::new().page_size(page).dram_budget(budget);
                let Ok(l) = Layout::of(&builder.config) else {
                    panic!("{budget} bytes are enough for pages of {page}");
                };
                assert!(l.bytes(&builder.config) <= budget);
                let more = Layout::with(&builder.config, u64::from(l.frames) + 1);
                assert!(more.bytes(&builder.config) > budget);
                // The arena comes in steps of 2 MiB.
                let frames_bytes = u64::from(l.frames) * page;
                assert!(budget - frames_bytes < (5 << 20) + budget / 16);
            }
        }
    }
}
