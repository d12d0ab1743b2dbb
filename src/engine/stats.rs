//! What happened, in numbers that add up.

use super::core::Core;
use crate::ring::lane::Lane;
use crate::ring::telemetry::Histogram;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

/// Times of one lane, in nanoseconds, over the life of the engine. Quantiles are within 1/32.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStats {
    /// Reads timed.
    pub reads: u64,
    /// From the request to its hand-over to the kernel: median, 99 %, 99.9 %.
    pub queue_ns: [u64; 3],
    /// From the hand-over to the completion: median, 99 %, 99.9 %.
    pub device_ns: [u64; 3],
}

/// Counts since the engine was built.
///
/// `read_bytes` is what the devices delivered, and so, with direct I/O, what `read_bytes` of `/proc/self/io` grew by on
/// the engine's account. `demand` and `prefetch` split it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Units (pages or extents) asked for and found in the pool, or on their way for somebody else.
    pub hits: u64,
    /// Units asked for and read.
    pub misses: u64,
    /// Reads that the devices completed, retries included.
    pub ios: u64,
    /// Bytes they returned.
    pub read_bytes: u64,
    /// Writes that the devices completed, repeated ones included. None of the counts of reads includes them.
    pub writes: u64,
    /// Bytes they stored.
    pub written_bytes: u64,
    /// Of `ios`, reads of the prefetch lane.
    pub prefetch_ios: u64,
    /// Of `read_bytes`, bytes of the prefetch lane.
    pub prefetch_bytes: u64,
    /// Of `ios`, reads into a registered buffer.
    pub fixed_ios: u64,
    /// Of `ios`, reads that callers made themselves.
    pub inline_ios: u64,
    /// Reads and writes issued again after a transient error or a short answer.
    pub retries: u64,
    /// Reads and writes issued again to find the bad pages of a failed range.
    pub bisections: u64,
    /// Pages that could not be read or written.
    pub failed_pages: u64,
    /// Pages of packed fields that were compared with their checksums.
    pub checked_pages: u64,
    /// How long one took, in nanoseconds: median, 99 %, 99.9 %.
    pub verify_ns: [u64; 3],
    /// Comparisons that failed; each page is read twice before it fails.
    pub checksum_mismatches: u64,
    /// Hand-overs to the kernel that held reads or writes.
    pub batches: u64,
    /// Reads and writes in flight after those hand-overs, summed: over `batches` it is the mean depth.
    pub depth_sum: u64,
    /// Times a caller had to wake a sleeping loop.
    pub wakeups: u64,
    /// Pages evicted.
    pub evictions: u64,
    /// Prefetched pages asked for when they were there.
    pub prefetch_useful: u64,
    /// Prefetched pages asked for while they were being read.
    pub prefetch_late: u64,
    /// Prefetched pages that left unasked for.
    pub prefetch_wasted: u64,
    /// Prefetches not started for want of room.
    pub prefetch_dropped: u64,
    /// Frames that hold a page, are being read into, and were lost to a device that never answered.
    pub frames_resident: u64,
    /// See `frames_resident`.
    pub frames_loading: u64,
    /// See `frames_resident`.
    pub frames_lost: u64,
    /// Frames that views or waiting reads pin now; some of those above.
    pub frames_pinned: u64,
    /// Frames there are.
    pub frames: u64,
    /// Memory taken at `build()`, metadata included, in bytes.
    pub pinned_bytes: u64,
    /// Metadata left for fields and devices, in bytes.
    pub metadata_left_bytes: u64,
    /// The demand lane.
    pub demand: LaneStats,
    /// The prefetch lane.
    pub prefetch: LaneStats,
}

impl Stats {
    pub(crate) fn of(core: &Core) -> Stats {
        let pool = &core.pool;
        let (resident, loading, lost) = pool.census();
        let mut stats = Stats {
            hits: core.hits.sum(),
            misses: core.misses.sum(),
            evictions: pool.counters.evictions.load(Relaxed),
            prefetch_useful: pool.counters.prefetch_useful.load(Relaxed),
            prefetch_late: pool.counters.prefetch_late.load(Relaxed),
            prefetch_wasted: pool.counters.prefetch_wasted.load(Relaxed),
            prefetch_dropped: pool.counters.prefetch_dropped.load(Relaxed),
            frames_resident: u64::from(resident),
            frames_loading: u64::from(loading),
            frames_lost: u64::from(lost),
            frames_pinned: u64::from(pool.pinned_frames()),
            frames: u64::from(pool.frame_count()),
            pinned_bytes: core.pinned_bytes,
            metadata_left_bytes: core.metadata_left(),
            ..Stats::default()
        };
        let rings = core.rings();
        for ring in &rings {
            let counters = &ring.shared.counters;
            stats.ios += counters.ios.load(Relaxed);
            stats.read_bytes += counters.bytes.load(Relaxed);
            stats.writes += counters.writes.load(Relaxed);
            stats.written_bytes += counters.written_bytes.load(Relaxed);
            stats.prefetch_ios += counters.prefetch_ios.load(Relaxed);
            stats.prefetch_bytes += counters.prefetch_bytes.load(Relaxed);
            stats.fixed_ios += counters.fixed_ios.load(Relaxed);
            stats.inline_ios += counters.inline_ios.load(Relaxed);
            stats.retries += counters.retries.load(Relaxed);
            stats.bisections += counters.bisections.load(Relaxed);
            stats.checksum_mismatches += counters.checksum_mismatches.load(Relaxed);
            stats.failed_pages += counters.failed_slots.load(Relaxed);
            stats.batches += counters.batches.load(Relaxed);
            stats.depth_sum += counters.depth_sum.load(Relaxed);
            stats.wakeups += counters.wakeups.load(Relaxed);
        }
        let quantiles = |counts: &[u64]| [0.5, 0.99, 0.999].map(|q| Histogram::quantile(counts, q));
        let mut verified = vec![0; Histogram::buckets()];
        for ring in &rings {
            ring.shared.verify_ns.add_to(&mut verified);
        }
        stats.checked_pages = verified.iter().sum();
        stats.verify_ns = quantiles(&verified);
        let lane = |lane: Lane| {
            let mut queue = vec![0; Histogram::buckets()];
            let mut device = queue.clone();
            for ring in &rings {
                ring.shared.times(lane).queue_ns.add_to(&mut queue);
                ring.shared.times(lane).device_ns.add_to(&mut device);
            }
            LaneStats {
                reads: device.iter().sum(),
                queue_ns: quantiles(&queue),
                device_ns: quantiles(&device),
            }
        };
        stats.demand = lane(Lane::Demand);
        stats.prefetch = lane(Lane::Prefetch);
        stats
    }

    /// Share of units found in the pool; 0 where none was asked for.
    pub fn hit_share(&self) -> f64 {
        share(self.hits, self.hits + self.misses)
    }

    /// Share of reads into registered buffers.
    pub fn fixed_share(&self) -> f64 {
        share(self.fixed_ios, self.ios)
    }

    /// Mean number of reads and writes in flight when some were handed over.
    pub fn mean_depth(&self) -> f64 {
        share(self.depth_sum, self.batches)
    }
}

fn us(ns: [u64; 3]) -> String {
    ns.map(|ns| format!("{:.1}", ns as f64 / 1000.0))
        .join(" / ")
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "pages      {} hits, {} misses ({:.1} % hits), {} evictions; {} of {} frames resident",
            self.hits,
            self.misses,
            self.hit_share() * 100.0,
            self.evictions,
            self.frames_resident,
            self.frames
        )?;
        writeln!(
            f,
            "reads      {} ({} bytes), {:.1} % into registered buffers, {} by callers themselves, {} retried, {} pages failed",
            self.ios,
            self.read_bytes,
            self.fixed_share() * 100.0,
            self.inline_ios,
            self.retries,
            self.failed_pages
        )?;
        if self.writes > 0 {
            writeln!(
                f,
                "writes     {} ({} bytes)",
                self.writes, self.written_bytes
            )?;
        }
        writeln!(
            f,
            "batches    {} hand-overs at a mean depth of {:.1}, {} wake-ups",
            self.batches,
            self.mean_depth(),
            self.wakeups
        )?;
        writeln!(
            f,
            "prefetch   {} useful, {} late, {} wasted, {} dropped; {} reads, {} bytes",
            self.prefetch_useful,
            self.prefetch_late,
            self.prefetch_wasted,
            self.prefetch_dropped,
            self.prefetch_ios,
            self.prefetch_bytes
        )?;
        if self.checked_pages > 0 {
            writeln!(
                f,
                "checksums  {} pages compared in {} µs (50 / 99 / 99.9 %), {} mismatches",
                self.checked_pages,
                us(self.verify_ns),
                self.checksum_mismatches
            )?;
        }
        for (name, lane) in [("demand", &self.demand), ("prefetch", &self.prefetch)] {
            writeln!(
                f,
                "{name:<9}  {} reads; in queue {} µs, in device {} µs (50 / 99 / 99.9 %)",
                lane.reads,
                us(lane.queue_ns),
                us(lane.device_ns)
            )?;
        }
        Ok(())
    }
}
