//! `ringfield fio-job`: the ordinary fio job that equals a configuration of the builder.
//!
//! fio does what the engine does with these settings: io_uring, direct, registered buffers and
//! files, as many reads in flight. What fio has no option for stands in a comment that
//! `ringfield bench` reads back, so that the printed file gives the same run there.

use std::fmt::Write;
use std::path::Path;

use crate::args::{FioJobArgs, HugePages, Order};
use crate::bench::load;
use crate::console;
use crate::error::{Error, Result};
use crate::job::{EngineSettings, JobFile, PREFETCH};
use crate::size::Size;

/// Read by fio and ringfield alike where no file is named.
const FILE: &str = "ringfield-bench.dat";
const FILE_SIZE: &str = "1g";

/// Runs the command.
///
/// # Errors
/// Settings that no engine or no job file can have.
pub(crate) fn run(args: &FioJobArgs) -> Result<()> {
    console::print(text(args)?.trim_end())
}

/// The settings that the printed file keeps.
fn settings(args: &FioJobArgs) -> EngineSettings {
    EngineSettings {
        page_size: Some(args.page_size.0),
        dram_budget: Some(args.budget.0),
        queue_depth: Some(args.queue_depth),
        backend: Some(args.backend),
        inline_reads: Some(!args.no_inline),
        huge_pages: Some(args.huge_pages),
    }
}

fn text(args: &FioJobArgs) -> Result<String> {
    let page = args.page_size.0;
    if !page.is_power_of_two() || !(4 << 10..=4 << 20).contains(&page) {
        return Err(Error::message(format!(
            "--page-size {}: a power of two from 4 KiB to 4 MiB is needed",
            Size(page)
        )));
    }
    let mut text = String::from(
        "# What the engine does with the settings below, as an ordinary fio job. The\n\
         # comment that begins with `ringfield:` is for `ringfield bench`.\n",
    );
    let depth = args.queue_depth;
    // Writing to a `String` cannot fail.
    let mut line = |line: std::fmt::Arguments| {
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("{}\n", settings(args)));
    line(format_args!("[global]\nioengine=io_uring\ndirect=1"));
    line(format_args!("fixedbufs=1\nregisterfiles=1"));
    if args.huge_pages == HugePages::Explicit {
        line(format_args!("iomem=mmaphuge"));
    }
    match &args.file {
        Some(file) => line(format_args!("filename={}", written(file)?)),
        None => line(format_args!("filename={FILE}\nsize={FILE_SIZE}")),
    }
    line(format_args!("time_based=1"));
    line(format_args!("runtime={}ms", args.runtime.as_millis()));
    line(format_args!("\n[ringfield]"));
    if args.prefetch {
        line(format_args!("{PREFETCH}"));
    }
    line(format_args!("rw={}", args.rw.as_str()));
    let block_bytes = args.block_size.unwrap_or(args.page_size).0;
    line(format_args!("bs={block_bytes}\niodepth={depth}"));
    line(format_args!("iodepth_batch={}", load::batch_submit(depth)));
    line(format_args!("iodepth_batch_complete_min=1"));
    line(format_args!("iodepth_batch_complete_max={depth}"));
    if args.rw == Order::Randread {
        line(format_args!("norandommap=1\nrandrepeat=1"));
    }
    // Whatever is wrong with it is said here, not when the file is used.
    let read = JobFile::parse(Path::new("fio-job"), text.as_bytes())?;
    let names = read.jobs.iter().flat_map(|job| job.filenames.iter());
    match (&args.file, names.last()) {
        (Some(file), Some(name)) if file != name => Err(unwritable(file)),
        _ => Ok(text),
    }
}

/// A file name as a job file has it.
fn written(file: &Path) -> Result<String> {
    let name = file.to_str().ok_or_else(|| unwritable(file))?;
    match name.contains(['\n', ';', '#', '$']) {
        true => Err(unwritable(file)),
        false => Ok(name.replace(':', "\\:")),
    }
}

fn unwritable(file: &Path) -> Error {
    Error::message(format!(
        "--file {}: this name cannot be written in an fio job file",
        file.display().to_string().escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn job(arguments: &[&str]) -> (FioJobArgs, Result<String>) {
        let all = ["ringfield", "fio-job"].iter().chain(arguments);
        let cli = Cli::try_parse_from(all).expect("good arguments");
        let Command::FioJob(args) = cli.command else {
            panic!("fio-job")
        };
        let text = text(&args);
        (args, text)
    }

    #[test]
    fn a_printed_job_gives_the_same_configuration() {
        for arguments in [
            &[][..],
            &["--queue-depth", "1", "--rw", "read", "--page-size", "4KiB"],
            &[
                "--queue-depth",
                "24",
                "--page-size",
                "8KiB",
                "--budget",
                "48MiB",
                "--block-size",
                "128KiB",
                "--runtime",
                "1.5",
                "--file",
                "/d/a:b c",
                "--backend",
                "pread",
                "--huge-pages",
                "explicit",
                "--no-inline",
                "--prefetch",
            ],
        ] {
            let (args, text) = job(arguments);
            let text = text.expect("a job");
            let read = JobFile::parse(Path::new("t"), text.as_bytes()).expect(&text);
            assert_eq!(read.engine, settings(&args), "{text}");
            let [job] = read.jobs.as_slice() else {
                panic!("one section: {text}")
            };
            assert_eq!(
                (job.iodepth, job.prefetch),
                (args.queue_depth, args.prefetch)
            );
            let block_bytes = args.block_size.unwrap_or(args.page_size).0;
            assert_eq!(
                (job.sizes().min(), job.sizes().max()),
                (block_bytes, block_bytes)
            );
            assert_eq!(
                (job.rw.as_str(), job.runtime),
                (args.rw.as_str(), Some(args.runtime))
            );
            let file = args.file.unwrap_or_else(|| FILE.into());
            assert_eq!(*job.filenames, [file]);
            let huge = (args.huge_pages == HugePages::Explicit).then_some("mmaphuge");
            assert_eq!(job.iomem.as_deref(), huge);
        }
    }

    #[test]
    fn what_no_job_file_can_hold_is_refused_in_one_line() {
        for (arguments, expected) in [
            (
                ["--page-size", "5000"],
                "--page-size 4.9 KiB: a power of two from 4 KiB to 4 MiB is needed",
            ),
            (
                ["--file", "a;b"],
                "--file a;b: this name cannot be written in an fio job file",
            ),
            (
                ["--file", " a"],
                "--file  a: this name cannot be written in an fio job file",
            ),
        ] {
            let error = job(&arguments).1.expect_err("must be refused").to_string();
            assert_eq!(error, expected);
        }
        let error = job(&["--block-size", "1000"]).1.expect_err("not a block");
        assert!(
            error
                .to_string()
                .contains("bs=1000: 1000 bytes is not a multiple of 512")
        );
    }
}
