//! What each implemented option means, and the limits its value has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{BlockSizes, Job, JobErrorKind, Rw, value};

const BLOCK_BYTES_MAX: u64 = 64 << 20;
const DEPTH_MAX: u32 = 4096;
const JOBS_MAX: u32 = 256;
const FILES_MAX: u32 = 2048;
/// fio's own limit.
const SPLIT_ENTRIES_MAX: usize = 64;

/// Records one option of the job, given on `line`.
pub(super) fn apply(
    job: &mut Job,
    name: &str,
    given: Option<&str>,
    line: usize,
) -> Result<(), JobErrorKind> {
    let option = Given { name, value: given };
    match name {
        "name" => job.name = option.text()?.to_owned(),
        // Free text for the reader of the file.
        "description" => drop(option.text()?),
        "rw" | "readwrite" => {
            let (rw, mixed) = option.rw()?;
            (job.rw, job.mixed_line) = (rw, mixed.then_some(line));
        }
        "rwmixread" => job.only_reads = option.share_of_reads(100)?,
        "rwmixwrite" => job.only_reads = option.share_of_reads(0)?,
        "bs" | "blocksize" => job.block_bytes = option.block_bytes()?,
        "bsrange" | "blocksize_range" => job.bsrange = Some(option.block_range()?),
        "bssplit" => job.bssplit = Some(option.block_split()?),
        "percentage_random" => job.percentage_random = Some(option.count(0, 100)?),
        "iodepth" => job.iodepth = option.count(1, DEPTH_MAX)?,
        "numjobs" => job.numjobs = option.count(1, JOBS_MAX)?,
        "size" => job.size = Some(option.size()?),
        "filename" => job.filenames = option.filenames()?,
        "nrfiles" | "nr_files" => job.nrfiles = Some(option.count(1, FILES_MAX)?),
        "file_service_type" => {
            let known = ["roundrobin", "random"];
            let given = option.one_of(&known, "roundrobin and random are")?;
            job.random_file = given == "random";
        }
        "runtime" | "timeout" => job.runtime = Some(option.time(1_000_000)?),
        "time_based" => job.time_based = option.flag()?,
        "direct" => job.direct = Some(option.yes_or_no()?),
        "ioengine" => job.ioengine = Some(option.one_of(&IOENGINES, IOENGINES_TEXT)?),
        "fixedbufs" => job.fixedbufs = Some(option.flag()?),
        "registerfiles" => job.registerfiles = Some(option.flag()?),
        "iodepth_batch" | "iodepth_batch_submit" => {
            job.batch_submit = Some(option.count(1, DEPTH_MAX)?);
        }
        "iodepth_batch_complete" | "iodepth_batch_complete_min" => {
            job.batch_complete_min = Some(option.count(0, DEPTH_MAX)?);
        }
        "iodepth_batch_complete_max" => job.batch_complete_max = Some(option.count(1, DEPTH_MAX)?),
        "iodepth_low" => job.iodepth_low = Some(option.count(0, DEPTH_MAX)?),
        "iomem" | "mem" => job.iomem = Some(option.one_of(&IOMEM, IOMEM_TEXT)?),
        "norandommap" => job.norandommap = option.flag()?,
        "randrepeat" => job.randrepeat = option.yes_or_no()?,
        "randseed" => job.randseed = Some(option.integer()?),
        "rate_iops" => job.rate_iops = Some(option.count(1, u32::MAX)?),
        "thinktime" => job.thinktime = Some(option.time(1)?),
        "thinktime_blocks" => job.thinktime_blocks = option.count(1, u32::MAX)?,
        "thinktime_blocks_type" => {
            option.one_of(&["issue"], "issue is")?;
            job.thinktime_by_issue = true;
        }
        "thread" => job.thread = option.flag()?,
        "group_reporting" => job.group_reporting = option.flag()?,
        "new_group" => job.new_group = option.flag()?,
        "stonewall" | "wait_for_previous" => job.stonewall = option.flag()?,
        _ => {
            return Err(JobErrorKind::OptionNotImplemented {
                name: shorten(name),
            });
        }
    }
    Ok(())
}

const IOENGINES: [&str; 5] = ["io_uring", "libaio", "psync", "sync", "mmap"];
const IOENGINES_TEXT: &str = "io_uring, libaio, psync, sync and mmap are";
const IOMEM: [&str; 3] = ["malloc", "mmap", "mmaphuge"];
const IOMEM_TEXT: &str = "malloc, mmap and mmaphuge are";

/// An option as the file gives it.
struct Given<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn text(&self) -> Result<&'a str, JobErrorKind> {
        let value = self
            .value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| JobErrorKind::NoValue {
                name: shorten(self.name),
            })?;
        // fio expands $pagesize, ${ENVIRONMENT} and the like.
        if value.contains('$') {
            return Err(self.not_implemented("variables are not expanded"));
        }
        Ok(value)
    }

    fn integer(&self) -> Result<u64, JobErrorKind> {
        let text = self.text()?;
        value::integer(text).ok_or_else(|| self.bad("a whole number was expected"))
    }

    fn count(&self, min: u32, max: u32) -> Result<u32, JobErrorKind> {
        u32::try_from(self.integer()?)
            .ok()
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| self.bad(format!("a number from {min} to {max} was expected")))
    }

    /// An option that may stand alone: `time_based` is `time_based=1`.
    fn flag(&self) -> Result<bool, JobErrorKind> {
        if self.value.is_none() {
            Ok(true)
        } else {
            self.yes_or_no()
        }
    }

    fn yes_or_no(&self) -> Result<bool, JobErrorKind> {
        value::yes_or_no(self.text()?).ok_or_else(|| self.bad("0 or 1 was expected"))
    }

    /// The order of reads, and whether the job mixes them with writes unless told otherwise.
    fn rw(&self) -> Result<(Rw, bool), JobErrorKind> {
        match self.text()? {
            "read" => Ok((Rw::Read, false)),
            "randread" => Ok((Rw::RandRead, false)),
            "rw" | "readwrite" => Ok((Rw::Read, true)),
            "randrw" => Ok((Rw::RandRead, true)),
            "write" | "randwrite" | "trim" | "randtrim" | "trimwrite" | "randtrimwrite" => {
                Err(self.writes("read and randread are there"))
            }
            _ => Err(self.not_implemented("read and randread are")),
        }
    }

    /// True: `rwmixread` and `rwmixwrite` leave no writes, with `all_reads` percent.
    fn share_of_reads(&self, all_reads: u32) -> Result<bool, JobErrorKind> {
        match self.count(0, 100)? {
            percent if percent == all_reads => Ok(true),
            _ => Err(self.writes("rwmixread=100 makes it a mix of reads alone")),
        }
    }

    fn block_bytes(&self) -> Result<u64, JobErrorKind> {
        let text = self.text()?;
        if text.contains([',', '-']) {
            return Err(self.not_implemented("one block size for reads is"));
        }
        self.block(text)
    }

    /// `4k-64k`; as in fio, the ends may stand in either order.
    fn block_range(&self) -> Result<BlockSizes, JobErrorKind> {
        let text = self.text()?;
        if text.contains(',') {
            return Err(self.not_implemented("one range for reads is"));
        }
        let (from, to) = text
            .split_once('-')
            .ok_or_else(|| self.bad("a range such as 4k-64k was expected"))?;
        let (from, to) = (self.block(from.trim())?, self.block(to.trim())?);
        Ok(BlockSizes::Range {
            min: from.min(to),
            max: from.max(to),
        })
    }

    /// `4k/50:64k/50`: sizes and their weights in percent. Those without share what is left.
    fn block_split(&self) -> Result<BlockSizes, JobErrorKind> {
        let text = self.text()?;
        if text.contains(',') {
            return Err(self.not_implemented("one split for reads is"));
        }
        let mut given = Vec::new();
        for entry in text.split(':') {
            if given.len() == SPLIT_ENTRIES_MAX {
                return Err(self.bad("at most 64 sizes are possible"));
            }
            let (size, weight) = entry.split_once('/').unwrap_or((entry, ""));
            let weight = match weight.trim() {
                "" => None,
                weight => Some(
                    value::integer(weight)
                        .and_then(|weight| u32::try_from(weight).ok())
                        .filter(|&weight| weight <= 100)
                        .ok_or_else(|| self.bad("a weight is a number of percent"))?,
                ),
            };
            // A weight of zero is none, as in fio.
            given.push((
                self.block(size.trim())?,
                weight.filter(|&weight| weight > 0),
            ));
        }
        let sum: u32 = given.iter().filter_map(|(_, weight)| *weight).sum();
        let without = given.iter().filter(|(_, weight)| weight.is_none()).count();
        let left = 100_u32
            .checked_sub(sum)
            .ok_or_else(|| self.bad("the weights add up to more than 100"))?;
        let share = left / u32::try_from(without.max(1)).unwrap_or(1);
        Ok(BlockSizes::Split {
            entries: given
                .into_iter()
                .map(|(bytes, weight)| (bytes, weight.unwrap_or(share)))
                .collect(),
            text: text.to_owned(),
        })
    }

    fn block(&self, text: &str) -> Result<u64, JobErrorKind> {
        let bytes = value::bytes(text).ok_or_else(|| self.bad("a size such as 4k was expected"))?;
        if bytes.is_multiple_of(512) && (512..=BLOCK_BYTES_MAX).contains(&bytes) {
            return Ok(bytes);
        }
        Err(self.bad(format!(
            "{bytes} bytes is not a multiple of 512 from 512 to 64m, as direct I/O needs{}",
            if text.to_ascii_lowercase().ends_with("ib") {
                " (fio reads kib as 1000 bytes and k as 1024)"
            } else {
                ""
            }
        )))
    }

    fn size(&self) -> Result<u64, JobErrorKind> {
        let text = self.text()?;
        if text.ends_with('%') {
            return Err(self.not_implemented("a size in bytes is"));
        }
        value::bytes(text)
            .filter(|&bytes| bytes > 0)
            .ok_or_else(|| self.bad("a size such as 8g was expected"))
    }

    fn time(&self, own_unit_us: u64) -> Result<Duration, JobErrorKind> {
        value::time(self.text()?, own_unit_us)
            .filter(|time| !time.is_zero())
            .ok_or_else(|| self.bad("a time above zero such as 10s was expected"))
    }

    /// Files separated by `:`; `\:` is the character itself.
    fn filenames(&self) -> Result<Arc<[PathBuf]>, JobErrorKind> {
        let text = self.text()?;
        let mut paths = vec![String::new()];
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let escaped = c == '\\' && rest.as_str().starts_with(':');
            match paths.last_mut() {
                Some(path) if escaped => path.extend(rest.next()),
                Some(path) if c != ':' => path.push(c),
                _ => paths.push(String::new()),
            }
        }
        if paths.iter().any(String::is_empty) {
            return Err(self.bad("a name between two colons is missing"));
        }
        if paths.iter().any(|path| path == "-") {
            return Err(self.not_implemented("a file is, standard input is not"));
        }
        Ok(paths.into_iter().map(PathBuf::from).collect())
    }

    fn one_of(&self, known: &[&str], text: &'static str) -> Result<String, JobErrorKind> {
        let value = self.text()?;
        if known.contains(&value) {
            Ok(value.to_owned())
        } else {
            Err(self.not_implemented(text))
        }
    }

    fn bad(&self, expected: impl Into<String>) -> JobErrorKind {
        JobErrorKind::BadValue {
            name: shorten(self.name),
            value: shorten(self.value.unwrap_or_default()),
            expected: expected.into(),
        }
    }

    fn writes(&self, instead: &'static str) -> JobErrorKind {
        JobErrorKind::Writes {
            name: shorten(self.name),
            value: shorten(self.value.unwrap_or_default()),
            instead,
        }
    }

    fn not_implemented(&self, implemented: &'static str) -> JobErrorKind {
        JobErrorKind::ValueNotImplemented {
            name: shorten(self.name),
            value: shorten(self.value.unwrap_or_default()),
            implemented,
        }
    }
}

/// What a message quotes of the file: one short printable line.
pub(super) fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown + "…"
    } else {
        shown
    }
}
