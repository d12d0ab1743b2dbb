//! A job made concrete: one file, one region of it, one depth, for every engine alike.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::job::{Job, Rw};
use crate::size::Size;

/// What every engine of a round does.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) path: PathBuf,
    pub(crate) rw: Rw,
    pub(crate) block_bytes: u64,
    /// The part of the file that is read: whole blocks from its start.
    pub(crate) region_bytes: u64,
    /// Reads in flight of each host thread.
    pub(crate) iodepth: u32,
    /// Host threads.
    pub(crate) numjobs: u32,
    /// Reads staged before they are handed over together.
    pub(crate) batch_submit: u32,
    /// Completions waited for together, at least and at most.
    pub(crate) batch_complete_min: u32,
    pub(crate) batch_complete_max: u32,
    /// A drained queue is refilled when no more than this many reads are left in it.
    pub(crate) iodepth_low: u32,
    pub(crate) runtime: Option<Duration>,
    pub(crate) time_based: bool,
    pub(crate) seed: u64,
    pub(crate) norandommap: bool,
    pub(crate) rate_iops: Option<u32>,
    /// After every so many reads: wait for all of them, then this long.
    pub(crate) burst: Option<Burst>,
    pub(crate) thread: bool,
    pub(crate) fixedbufs: bool,
    pub(crate) registerfiles: bool,
    pub(crate) iomem: Option<String>,
}

/// fio's `thinktime` after `thinktime_blocks` issued reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Burst {
    pub(crate) reads: u32,
    pub(crate) pause: Duration,
}

impl Load {
    /// Fits a job to a file of `file_bytes`.
    ///
    /// # Errors
    /// A file that is smaller than the job's size or than one block, and a buffered job.
    pub(crate) fn new(job: &Job, path: PathBuf, file_bytes: u64) -> Result<Load> {
        if job.direct == Some(false) {
            return Err(Error::message(format!(
                "job [{}]: direct=0 is not implemented yet: every read is direct",
                job.name
            )));
        }
        if let Some(size) = job.size.filter(|&size| size > file_bytes) {
            return Err(Error::message(format!(
                "{} has {}, job [{}] reads {}",
                path.display(),
                Size(file_bytes),
                job.name,
                Size(size)
            )));
        }
        let region_bytes = job.size.unwrap_or(file_bytes) / job.block_bytes * job.block_bytes;
        if region_bytes == 0 {
            return Err(Error::message(format!(
                "{} is smaller than one block of {}",
                path.display(),
                Size(job.block_bytes)
            )));
        }
        let depth = job.iodepth;
        // Batches of 16, or half the queue, handed over together and taken back as they come: of
        // the settings tried on an NVMe disk the fastest for fio, so the rival is at its best.
        let batch_submit = job
            .batch_submit
            .unwrap_or((depth / 2).clamp(1, 16))
            .min(depth);
        let batch_complete_min = job.batch_complete_min.unwrap_or(1).min(depth);
        Ok(Load {
            path,
            rw: job.rw,
            block_bytes: job.block_bytes,
            region_bytes,
            iodepth: depth,
            numjobs: job.numjobs,
            batch_submit,
            batch_complete_min,
            batch_complete_max: job
                .batch_complete_max
                .unwrap_or(depth)
                .clamp(batch_complete_min.max(1), depth),
            // Zero is fio's way to say: as soon as there is room.
            iodepth_low: job
                .iodepth_low
                .filter(|&low| low > 0)
                .unwrap_or(depth)
                .min(depth),
            runtime: job.runtime,
            time_based: job.time_based,
            seed: match job.randseed {
                Some(seed) => seed,
                None if job.randrepeat => 0,
                None => std::process::id().into(),
            },
            norandommap: job.norandommap,
            rate_iops: job.rate_iops,
            burst: job.thinktime.map(|pause| Burst {
                reads: job.thinktime_blocks,
                pause,
            }),
            thread: job.thread,
            fixedbufs: job.fixedbufs.unwrap_or(true),
            registerfiles: job.registerfiles.unwrap_or(true),
            iomem: job.iomem.clone(),
        })
    }

    /// Blocks in the region.
    pub(crate) fn blocks(&self) -> u64 {
        self.region_bytes / self.block_bytes
    }

    /// Whether a host thread that has begun `reads` reads, `elapsed` after its start, begins another.
    pub(crate) fn goes_on(&self, reads: u64, elapsed: Duration) -> bool {
        let in_time = self.runtime.is_none_or(|runtime| elapsed < runtime);
        in_time && (self.time_based || reads < self.blocks())
    }

    /// The pause that is due before the read number `index`, after every earlier one is complete.
    pub(crate) fn pause_before(&self, index: u64) -> Option<Duration> {
        let burst = self.burst?;
        (index > 0 && index.is_multiple_of(burst.reads.into())).then_some(burst.pause)
    }

    /// When the read number `index` of a host thread may start, counted from the thread's start.
    pub(crate) fn due(&self, index: u64) -> Duration {
        self.rate_iops.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(index as f64 / f64::from(rate.max(1)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn job(text: &str) -> Job {
        Job::parse(Path::new("t.fio"), text.as_bytes()).expect("a good job")
    }

    #[test]
    fn whole_blocks_of_the_smaller_of_file_and_size() {
        let load = |text: &str, file| Load::new(&job(text), "f".into(), file);
        assert_eq!(load("[j]\nbs=4k", 10_000).expect("fits").region_bytes, 8192);
        assert_eq!(
            load("[j]\nbs=4k\nsize=4k", 10_000).expect("fits").blocks(),
            1
        );
        assert!(load("[j]\nbs=4k\nsize=12k", 10_000).is_err());
        assert!(load("[j]\nbs=64k", 10_000).is_err());
        assert!(load("[j]\ndirect=0", 10_000).is_err());
    }

    #[test]
    fn batches_never_exceed_the_depth() {
        for depth in [1, 2, 4, 32, 128] {
            let load = Load::new(&job(&format!("[j]\niodepth={depth}")), "f".into(), 1 << 20)
                .expect("fits");
            assert!(load.batch_submit >= 1 && load.batch_submit <= depth);
            assert_eq!(
                (load.batch_complete_min, load.batch_complete_max),
                (1, depth)
            );
        }
        let burst = "[j]\niodepth=24\niodepth_batch_submit=24\niodepth_batch_complete_min=24";
        let load = Load::new(&job(burst), "f".into(), 1 << 20).expect("fits");
        assert_eq!((load.batch_complete_min, load.batch_complete_max), (24, 24));
    }

    #[test]
    fn a_burst_pauses_between_its_reads_and_the_next_ones() {
        let job = job("[j]\nthinktime=7\nthinktime_blocks=24\nthinktime_blocks_type=issue");
        let load = Load::new(&job, "f".into(), 1 << 20).expect("fits");
        let pauses: Vec<u64> = (0..60)
            .filter(|&i| load.pause_before(i).is_some())
            .collect();
        assert_eq!(pauses, [24, 48]);
        assert_eq!(load.pause_before(24), Some(Duration::from_micros(7)));
    }

    #[test]
    fn a_timed_job_runs_its_time_and_another_its_size() {
        let timed = Load::new(&job("[j]\nruntime=2\ntime_based"), "f".into(), 8192).expect("fits");
        assert!(timed.goes_on(1000, Duration::from_secs(1)));
        assert!(!timed.goes_on(0, Duration::from_secs(2)));
        let sized = Load::new(&job("[j]\nbs=4k\nrate_iops=10"), "f".into(), 8192).expect("fits");
        assert!(sized.goes_on(1, Duration::from_secs(9)));
        assert!(!sized.goes_on(2, Duration::ZERO));
        assert_eq!(sized.due(5), Duration::from_millis(500));
    }
}
