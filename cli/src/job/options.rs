//! What each implemented option means, and the limits its value has.

use super::amount::Amount;
use super::given::{Given, shorten};
use super::rw::GivenRw;
use super::{Job, JobErrorKind};

const DEPTH_MAX: u32 = 4096;
const JOBS_MAX: u32 = 256;
const FILES_MAX: u32 = 2048;

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
            let given = GivenRw::of(&option)?;
            (job.rw, job.pattern) = (given.rw, given.pattern);
            job.mixed_line = given.mixed.then_some(line);
        }
        "rwmixread" => job.only_reads = option.share_of_reads(100)?,
        "rwmixwrite" => job.only_reads = option.share_of_reads(0)?,
        "rw_sequencer" => {
            let known = ["sequential", "identical"];
            let given = option.one_of(&known, "sequential and identical are")?;
            job.identical = given == "identical";
        }
        "bs" | "blocksize" => job.blocks.set_one(&option)?,
        "bsrange" | "blocksize_range" => job.blocks.set_range(&option)?,
        "bssplit" => job.blocks.set_split(&option)?,
        "percentage_random" => job.percentage_random = Some(option.count(0, 100)?),
        "iodepth" => job.iodepth = option.count(1, DEPTH_MAX)?,
        "numjobs" => job.numjobs = option.count(1, JOBS_MAX)?,
        "size" => set_amount(&mut job.size, &option, 1)?,
        "io_size" | "io_limit" => set_amount(&mut job.io_size, &option, 1)?,
        "offset" | "fileoffset" => {
            set_amount(&mut job.offset, &option, 0)?;
            if let Some(Amount::Bytes(bytes)) = job.offset
                && !bytes.is_multiple_of(512)
            {
                return Err(option.bad("a multiple of 512 bytes was expected, as direct I/O needs"));
            }
        }
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
        "thinktime" => job.thinktime = option.pause()?,
        "thinktime_spin" if option.pause()?.is_zero() => {}
        // A sleep of what is left, which is then below zero.
        "thinktime_spin" => {
            return Err(option.not_implemented(
                "sleeping is, as fio 3.33 hangs when a spin takes longer than the thinktime",
            ));
        }
        "thinktime_blocks" => job.thinktime_blocks = option.count(1, u32::MAX)?,
        "thinktime_blocks_type" => {
            let given = option.one_of(&["complete", "issue"], "complete and issue are")?;
            job.thinktime_by_issue = given == "issue";
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

/// Records an amount of at least `bytes_min`.
fn set_amount(
    place: &mut Option<Amount>,
    option: &Given,
    bytes_min: u64,
) -> Result<(), JobErrorKind> {
    let given = option.amount()?;
    match (*place, given) {
        (_, Amount::Bytes(bytes)) if bytes < bytes_min => {
            return Err(option.bad("a size such as 8g or 50% was expected"));
        }
        // To fio these are two settings, and it would apply both.
        (Some(Amount::Percent(_)), Amount::Bytes(_)) => {
            return Err(option.bad("a share in percent was given before, and fio would apply both"));
        }
        _ => {}
    }
    *place = Some(given);
    Ok(())
}

const IOENGINES: [&str; 5] = ["io_uring", "libaio", "psync", "sync", "mmap"];
const IOENGINES_TEXT: &str = "io_uring, libaio, psync, sync and mmap are";
const IOMEM: [&str; 3] = ["malloc", "mmap", "mmaphuge"];
const IOMEM_TEXT: &str = "malloc, mmap and mmaphuge are";
