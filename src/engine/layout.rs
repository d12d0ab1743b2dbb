//! How a budget is cut up into frames and metadata.

use super::builder::Config;
use super::core::ring_memory_bytes;
use super::hits::ThreadCounter;
use crate::error::{Error, Result};
use crate::ring::submission_loop::depth::DEPTH_AT_FIRST;
use crate::tiers::arena::Arena;
use crate::tiers::pool::Pool;
use crate::tiers::table::PageTable;
use crate::tiers::wait::Ops;

const FRAMES_MIN: u64 = 8;
const FRAMES_MAX: u64 = u32::MAX as u64 / 2;
/// Metadata for fields beside the first device's, where the host names no `metadata_budget`, in bytes.
const FIELDS_BYTES_MIN: u64 = 64 << 10;

/// See the module.
pub(super) struct Layout {
    pub(super) frames: u32,
    pub(super) waiters: u32,
    /// Metadata of frames and waiters, in bytes.
    pub(super) fixed_bytes: u64,
    /// Metadata for fields and devices, in bytes.
    pub(super) metadata_bytes: u64,
}

impl Layout {
    /// The layout with the most frames that fit.
    pub(super) fn of(config: &Config) -> Result<Layout> {
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
        let depth = config.queue_depth.unwrap_or(DEPTH_AT_FIRST);
        Layout {
            frames,
            waiters: waiters(frames),
            fixed_bytes: fixed_bytes(frames),
            // The first device must find room, with whatever depth was asked for.
            metadata_bytes: config.metadata_budget.unwrap_or_else(|| {
                let device = ring_memory_bytes(depth, frames) + FIELDS_BYTES_MIN;
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
pub(super) fn memory_limit() -> Option<(u64, &'static str)> {
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
    use super::Layout;
    use crate::{EngineBuilder, Error};

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
