//! A section made concrete: its files, the region of each, one depth, for every engine alike.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::job::{BlockSizes, Job, Rw};
use crate::size::Size;

/// Room for the maps of blocks already read; fio keeps the same maps.
const MAP_BYTES_MAX: u64 = 256 << 20;

/// What every engine of a round does for one section.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The section's name.
    pub(crate) name: String,
    /// Never empty.
    pub(crate) files: Vec<Region>,
    pub(crate) rw: Rw,
    pub(crate) sizes: BlockSizes,
    /// Share of random reads, in percent, the others following on the read before them.
    pub(crate) random_percent: u32,
    /// The next file is drawn, instead of each in its turn.
    pub(crate) random_file: bool,
    /// Reads in flight of each host thread.
    pub(crate) iodepth: u32,
    /// Host threads.
    pub(crate) numjobs: u32,
    /// Host threads of the sections before, so that each thread has an order of its own.
    pub(crate) first_thread: u32,
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

/// The part of a file that is read: whole blocks from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// fio's `thinktime` after `thinktime_blocks` issued reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Burst {
    pub(crate) reads: u32,
    pub(crate) pause: Duration,
}

impl Load {
    /// Fits a job to files, each given with its length in bytes.
    ///
    /// # Errors
    /// A file that is smaller than its part of the job's size or than one block, and a buffered job.
    pub(crate) fn new(job: &Job, files: &[(PathBuf, u64)]) -> Result<Load> {
        if job.direct == Some(false) {
            return Err(Error::message(format!(
                "job [{}]: direct=0 is not implemented yet: every read is direct",
                job.name
            )));
        }
        let sizes = job.sizes();
        let files = regions(job, &sizes, files)?;
        let depth = job.iodepth;
        let batch_submit = job
            .batch_submit
            .unwrap_or_else(|| batch_submit(depth))
            .min(depth);
        let batch_complete_min = job.batch_complete_min.unwrap_or(1).min(depth);
        let load = Load {
            name: job.name.clone(),
            files,
            rw: job.rw,
            sizes,
            random_percent: job.percentage_random.unwrap_or(100),
            random_file: job.random_file,
            iodepth: depth,
            numjobs: job.numjobs,
            first_thread: 0,
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
        };
        let map_bytes = load.map_bytes().saturating_mul(load.numjobs.into());
        if !load.norandommap && map_bytes > MAP_BYTES_MAX {
            return Err(Error::message(format!(
                "job [{}]: remembering which blocks were read takes {}: use norandommap=1",
                job.name,
                Size(map_bytes)
            )));
        }
        Ok(load)
    }

    /// Bytes of all regions: what a job without `time_based` reads.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// What one order of reads without repeats takes where blocks have several sizes.
    pub(crate) fn map_bytes(&self) -> u64 {
        if self.rw == Rw::RandRead && self.sizes.are_mixed() {
            self.total_bytes() / self.sizes.min() / 8
        } else {
            0
        }
    }

    /// Whether one order of reads without repeats can be kept.
    pub(crate) fn map_fits(&self) -> bool {
        self.map_bytes() <= MAP_BYTES_MAX
    }
}

/// Batches of 16, or half the queue, handed over together and taken back as they come: of the
/// settings tried on an NVMe disk the fastest for fio, so the rival is at its best.
pub(crate) fn batch_submit(depth: u32) -> u32 {
    (depth / 2).clamp(1, 16)
}

/// The part of each file that is read; `size` is that of all together, as in fio.
fn regions(job: &Job, sizes: &BlockSizes, files: &[(PathBuf, u64)]) -> Result<Vec<Region>> {
    let share = job.file_share(files.len());
    let region = |(path, file_bytes): &(PathBuf, u64)| {
        if let Some(share) = share.filter(|share| share > file_bytes) {
            return Err(Error::message(format!(
                "{} has {}, job [{}] reads {}",
                path.display(),
                Size(*file_bytes),
                job.name,
                Size(share)
            )));
        }
        let block_bytes = sizes.min();
        let bytes = share.unwrap_or(*file_bytes) / block_bytes * block_bytes;
        if bytes < sizes.max() {
            return Err(Error::message(format!(
                "{} is smaller than one block of {}",
                path.display(),
                Size(sizes.max())
            )));
        }
        Ok(Region {
            path: path.clone(),
            bytes,
        })
    };
    files.iter().map(region).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::job::JobFile;
    use std::path::Path;

    /// The only section of a job file, on files of so many bytes.
    pub(crate) fn load(text: &str, file_bytes: &[u64]) -> Result<Load> {
        let file = JobFile::parse(Path::new("t.fio"), text.as_bytes())?;
        let files: Vec<_> = file_bytes
            .iter()
            .enumerate()
            .map(|(n, &bytes)| (PathBuf::from(format!("f{n}")), bytes))
            .collect();
        Load::new(&file.jobs[0], &files)
    }

    #[test]
    fn whole_blocks_of_the_smaller_of_file_and_size() {
        let bytes = |text: &str, file| load(text, &[file]).map(|load| load.total_bytes());
        assert_eq!(bytes("[j]\nbs=4k", 10_000).expect("fits"), 8192);
        assert_eq!(bytes("[j]\nbs=4k\nsize=4k", 10_000).expect("fits"), 4096);
        assert!(bytes("[j]\nbs=4k\nsize=12k", 10_000).is_err());
        assert!(bytes("[j]\nbs=64k", 10_000).is_err());
        assert!(bytes("[j]\ndirect=0", 10_000).is_err());
    }

    #[test]
    fn batches_never_exceed_the_depth() {
        for depth in [1, 2, 4, 32, 128] {
            let load = load(&format!("[j]\niodepth={depth}"), &[1 << 20]).expect("fits");
            assert!(load.batch_submit >= 1 && load.batch_submit <= depth);
            assert_eq!(
                (load.batch_complete_min, load.batch_complete_max),
                (1, depth)
            );
        }
        let burst = "[j]\niodepth=24\niodepth_batch_submit=24\niodepth_batch_complete_min=24";
        let load = load(burst, &[1 << 20]).expect("fits");
        assert_eq!((load.batch_complete_min, load.batch_complete_max), (24, 24));
    }
}
