//! What each implemented option means, and the limits its value has.

use std::path::PathBuf;
use std::time::Duration;

use super::{Job, JobErrorKind, Rw, value};

const BLOCK_BYTES_MAX: u64 = 64 << 20;
const DEPTH_MAX: u32 = 4096;
const JOBS_MAX: u32 = 256;

/// Records one option of the job.
pub(super) fn apply(job: &mut Job, name: &str, given: Option<&str>) -> Result<(), JobErrorKind> {
    let option = Given { name, value: given };
    match name {
        "name" => job.name = option.text()?.to_owned(),
        // Free text for the reader of the file.
        "description" => drop(option.text()?),
        "rw" | "readwrite" => job.rw = option.rw()?,
        "bs" | "blocksize" => job.block_bytes = option.block_bytes()?,
        "iodepth" => job.iodepth = option.count(1, DEPTH_MAX)?,
        "numjobs" => job.numjobs = option.count(1, JOBS_MAX)?,
        "size" => job.size = Some(option.size()?),
        "filename" => job.filename = Some(option.filename()?),
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

    fn rw(&self) -> Result<Rw, JobErrorKind> {
        match self.text()? {
            "read" => Ok(Rw::Read),
            "randread" => Ok(Rw::RandRead),
            _ => Err(self.not_implemented("read and randread are")),
        }
    }

    fn block_bytes(&self) -> Result<u64, JobErrorKind> {
        let text = self.text()?;
        if text.contains([',', '-']) {
            return Err(self.not_implemented("one block size for reads is"));
        }
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

    /// One file; fio separates several by `:` and takes `\:` for the character itself.
    fn filename(&self) -> Result<PathBuf, JobErrorKind> {
        let text = self.text()?;
        let mut path = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                ':' => return Err(self.not_implemented("one file is")),
                '\\' if rest.as_str().starts_with(':') => path.extend(rest.next()),
                _ => path.push(c),
            }
        }
        if path == "-" {
            return Err(self.not_implemented("a file is, standard input is not"));
        }
        Ok(PathBuf::from(path))
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

    fn not_implemented(&self, implemented: &'static str) -> JobErrorKind {
        JobErrorKind::ValueNotImplemented {
            name: shorten(self.name),
            value: shorten(self.value.unwrap_or_default()),
            implemented,
        }
    }
}

/// What a message quotes of the file: one short printable line.
fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown + "…"
    } else {
        shown
    }
}
