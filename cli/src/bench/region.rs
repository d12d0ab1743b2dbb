//! The part of each file that a job reads: `size` and `offset`, in bytes or as a share of the file.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::job::{Amount, Job};
use crate::size::Size;

/// A file, and what of it can be read: all of it, or the pages of a packed field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readable {
    pub(crate) path: PathBuf,
    /// The first byte that can be read.
    pub(crate) begin: u64,
    pub(crate) bytes: u64,
    /// Of a packed field.
    pub(crate) page_bytes: Option<u64>,
}

impl Readable {
    /// All of a file of so many bytes.
    pub(crate) fn whole(path: &Path, bytes: u64) -> Readable {
        Readable {
            path: path.to_owned(),
            begin: 0,
            bytes,
            page_bytes: None,
        }
    }
}

/// Whole blocks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) path: PathBuf,
    /// Where it begins: a multiple of 512, as direct I/O needs.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Where the file ends, or the pages of a packed field do.
    pub(crate) end: u64,
    /// What of the file the engine has as byte 0.
    pub(crate) begin: u64,
    /// Of a packed field.
    pub(crate) page_bytes: Option<u64>,
}

impl Region {
    /// The region of one of so many `files`.
    ///
    /// # Errors
    /// A file that is smaller than its part of the job or than one block.
    pub(super) fn new(job: &Job, files: usize, file: &Readable) -> Result<Region> {
        let (path, file_bytes) = (&file.path, file.bytes);
        let unfit = |why: std::fmt::Arguments| Error::message(format!("{} {why}", path.display()));
        let offset = match job.offset {
            None => 0,
            Some(Amount::Bytes(bytes)) => bytes,
            // fio goes on to the next block.
            Some(share) => share.of(file_bytes).next_multiple_of(job.share_unit()),
        };
        let left = file_bytes.checked_sub(offset).filter(|&left| left > 0);
        let left = left.ok_or_else(|| {
            let (has, begins) = (Size(file_bytes), Size(offset));
            unfit(format_args!(
                "has {has}, job [{}] begins at {begins}",
                job.name
            ))
        })?;
        if !offset.is_multiple_of(512) {
            return Err(Error::message(format!(
                "job [{}]: offset {offset} is not a multiple of 512, as direct I/O needs",
                job.name
            )));
        }
        let wanted = match job.size {
            None | Some(Amount::Percent(100)) => left,
            // A share of all of the file, wherever reading begins.
            Some(share @ Amount::Percent(_)) => share.of(file_bytes).min(left),
            Some(Amount::Bytes(size)) => size / files.max(1) as u64,
        };
        if wanted > left {
            let from = match offset {
                0 => String::new(),
                _ => format!(" from {} on", Size(offset)),
            };
            let (has, reads) = (Size(file_bytes), Size(wanted));
            return Err(unfit(format_args!(
                "has {has}, job [{}] reads {reads}{from}",
                job.name
            )));
        }
        let sizes = job.sizes();
        let bytes = wanted / sizes.min() * sizes.min();
        if bytes < sizes.max() {
            let part = match wanted < file_bytes {
                true => format!("has {} to be read, less", Size(wanted)),
                false => "is smaller".to_owned(),
            };
            let block = Size(sizes.max());
            return Err(unfit(format_args!("{part} than one block of {block}")));
        }
        Ok(Region {
            path: path.to_owned(),
            offset: file.begin + offset,
            bytes,
            end: file.begin + file_bytes,
            begin: file.begin,
            page_bytes: file.page_bytes,
        })
    }

    /// How long a file that is not there must be made for one of so many `files`; `None` where the
    /// job does not say it in bytes.
    pub(super) fn made_bytes(job: &Job, files: usize) -> Option<u64> {
        let (Some(Amount::Bytes(size)), Some(Amount::Bytes(offset))) =
            (job.size, job.offset.or(Some(Amount::Bytes(0))))
        else {
            return None;
        };
        (size / files.max(1) as u64).checked_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobFile;

    fn region(options: &str, file_bytes: u64) -> std::result::Result<(u64, u64), String> {
        let text = format!("[j]\n{options}\n");
        let jobs = JobFile::parse(Path::new("t.fio"), text.as_bytes()).expect("a good job");
        let file = Readable::whole(Path::new("f"), file_bytes);
        let region = Region::new(&jobs.jobs[0], 1, &file);
        region
            .map(|region| (region.offset, region.bytes))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn shares_are_of_the_whole_file_and_whole_blocks() {
        let file = 100 << 10;
        for (options, expected) in [
            ("size=50%", (0, 48 << 10)),
            ("size=100%", (0, 100 << 10)),
            ("size=50%\noffset=75%", (76 << 10, 24 << 10)),
            ("offset=1%", (4 << 10, 96 << 10)),
            ("offset=8k\nsize=16k", (8 << 10, 16 << 10)),
            ("offset=1k", (1 << 10, 96 << 10)),
            // The smallest of all blocks, those for writes among them, is what shares are rounded to.
            ("bs=16k\noffset=33%", (48 << 10, 48 << 10)),
            ("bs=16k,4k\noffset=33%", (36 << 10, 64 << 10)),
        ] {
            assert_eq!(region(options, file), Ok(expected), "{options}");
        }
    }

    #[test]
    fn of_a_packed_field_the_pages_are_read() {
        let jobs =
            JobFile::parse(Path::new("t.fio"), b"[j]\nbs=4k\noffset=8k\n").expect("a good job");
        let file = Readable {
            begin: 64 << 10,
            page_bytes: Some(32 << 10),
            ..Readable::whole(Path::new("f"), 41_000)
        };
        let region = Region::new(&jobs.jobs[0], 1, &file).expect("fits");
        assert_eq!((region.offset, region.bytes), (72 << 10, 32 << 10));
        assert_eq!((region.begin, region.end), (64 << 10, (64 << 10) + 41_000));
    }

    #[test]
    fn what_no_file_can_give_is_told() {
        for (options, expected) in [
            ("offset=100%", "f has 100 KiB, job [j] begins at 100 KiB"),
            (
                "offset=64k\nsize=64k",
                "f has 100 KiB, job [j] reads 64 KiB from 64 KiB on",
            ),
            (
                "bs=64k\nsize=50%",
                "f has 50 KiB to be read, less than one block of 64 KiB",
            ),
            (
                "bs=4k,100\noffset=1%",
                "job [j]: offset 1100 is not a multiple of 512, as direct I/O needs",
            ),
        ] {
            assert_eq!(
                region(options, 100 << 10),
                Err(expected.to_owned()),
                "{options}"
            );
        }
    }
}
