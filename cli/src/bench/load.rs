//! A section made concrete: its files, the region of each, one depth, for every engine alike.

use std::time::Duration;

use super::region::{Readable, Region};
use super::thinktime::Thinktime;
use crate::error::{Error, Result};
use crate::job::{Amount, BlockSizes, Job, Pattern, Rw};
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
    pub(crate) pattern: Pattern,
    /// The reads of a run are all of the same place.
    pub(crate) identical: bool,
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
    pub(crate) thinktime: Option<Thinktime>,
    /// Its reads are hints to the engine, and reads like others to the peers.
    pub(crate) prefetch: bool,
    /// Bytes after which a job without `time_based` ends.
    pub(crate) limit_bytes: u64,
    /// And after which it begins anew, where that is less.
    pub(crate) pass_bytes: u64,
    /// As the job says them, for fio.
    pub(crate) size: Option<Amount>,
    pub(crate) io_size: Option<Amount>,
    pub(crate) offset: Option<Amount>,
    pub(crate) share_unit: u64,
    pub(crate) thread: bool,
    pub(crate) fixedbufs: bool,
    pub(crate) registerfiles: bool,
    pub(crate) iomem: Option<String>,
}

impl Load {
    /// Fits a job to files.
    ///
    /// # Errors
    /// A file that is smaller than its part of the job's size or than one block, and a buffered job.
    pub(crate) fn new(job: &Job, files: &[Readable]) -> Result<Load> {
        if job.direct == Some(false) {
            return Err(Error::message(format!(
                "job [{}]: direct=0 is not implemented yet: every read is direct",
                job.name
            )));
        }
        let sizes = job.sizes();
        let files = files
            .iter()
            .map(|file| Region::new(job, files.len(), file))
            .collect::<Result<Vec<_>>>()?;
        let pass_bytes = files.iter().map(|file| match job.io_size {
            Some(share @ Amount::Percent(_)) => share.of(file.bytes),
            _ => file.bytes,
        });
        let pass_bytes = pass_bytes.sum();
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
            pattern: job.pattern,
            identical: job.identical,
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
            thinktime: Thinktime::of(job),
            prefetch: job.prefetch,
            limit_bytes: match job.io_size {
                Some(Amount::Bytes(bytes)) => bytes,
                _ => pass_bytes,
            },
            pass_bytes,
            size: job.size,
            io_size: job.io_size,
            offset: job.offset,
            share_unit: job.share_unit(),
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

    /// Bytes of all regions.
    pub(crate) fn region_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The largest power of two that all places and sizes of its reads are multiples of.
    pub(crate) fn granule(&self) -> u64 {
        let places = self.files.iter().map(|file| file.offset);
        let bits = places.fold(self.pattern.stride, |bits, offset| bits | offset);
        self.sizes.granule().min(1 << bits.trailing_zeros().min(62))
    }

    /// `read`, `randread`, with what stands behind the colon.
    pub(crate) fn rw_text(&self) -> String {
        match (self.rw, self.pattern) {
            (Rw::RandRead, Pattern { run, .. }) if run > 1 => format!("randread:{run}"),
            (Rw::Read, Pattern { stride, .. }) if stride > 0 => format!("read:{stride}"),
            (rw, _) => rw.as_str().to_owned(),
        }
    }

    /// What one order of reads without repeats takes where blocks have several sizes.
    pub(crate) fn map_bytes(&self) -> u64 {
        if self.rw == Rw::RandRead && self.sizes.are_mixed() {
            self.region_bytes() / self.sizes.min() / 8
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
            .map(|(n, &bytes)| Readable::whole(Path::new(&format!("f{n}")), bytes))
            .collect();
        Load::new(&file.jobs[0], &files)
    }

    #[test]
    fn whole_blocks_of_the_smaller_of_file_and_size() {
        let bytes = |text: &str, file| load(text, &[file]).map(|load| load.region_bytes());
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
