//! The rival without a queue: `O_DIRECT` `pread`, one thread for each read in flight.

use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::load::{Load, Region};
use super::order::{Order, Read};
use super::reads::{Reads, wait_in_time};
use super::round::{Measured, Round, Tally};
use crate::content::read_full;
use crate::direct::{self, Buffer};
use crate::error::{Context, Error, Result};
use crate::interrupt;

/// More threads than this only measure the scheduler.
const THREADS_MAX: u32 = 64;

pub(crate) fn round(loads: &[Load]) -> Result<Vec<Round>> {
    let sections: Vec<Section> = loads.iter().map(Section::new).collect::<Result<_>>()?;
    let threads: Vec<u32> = loads
        .iter()
        .map(|load| threads(load, loads.len()))
        .collect();
    let measured = Measured::run(
        &threads,
        |thread| {
            let section = sections.get(thread.section).ok_or_else(no_section)?;
            let bytes = usize::try_from(section.load.sizes.max()).map_err(Error::message)?;
            Ok((section, Buffer::new(bytes)))
        },
        |thread, (section, buffer), tally| section.read(thread.number, buffer, tally),
    )?;
    interrupt::check()?;
    let rounds = measured.rounds(0.0).into_iter();
    let rounds = rounds.zip(sections.iter().zip(threads));
    Ok(rounds
        .map(|(round, (section, threads))| Round {
            backend: "pread".into(),
            flags: section.flags(threads),
            ..round
        })
        .collect())
}

fn no_section() -> Error {
    Error::message("a thread without a section")
}

fn wanted(load: &Load) -> u32 {
    load.iodepth.saturating_mul(load.numjobs)
}

/// At least one for each job; otherwise the reads in flight are capped.
fn threads(load: &Load, sections: usize) -> u32 {
    let share = THREADS_MAX / u32::try_from(sections.max(1)).unwrap_or(u32::MAX);
    wanted(load).min(share.max(load.numjobs))
}

struct Section<'a> {
    load: &'a Load,
    files: Vec<(File, bool)>,
    /// The threads of a job share its order of reads, so each block is read as often as by fio.
    jobs: Vec<Mutex<Reads<'a>>>,
}

impl<'a> Section<'a> {
    fn new(load: &'a Load) -> Result<Section<'a>> {
        let open = |file: &Region| direct::open(&file.path).at("cannot open", &file.path);
        let reads = |job| Mutex::new(Reads::new(load, Order::new(load, job), 1));
        Ok(Section {
            load,
            files: load.files.iter().map(open).collect::<Result<_>>()?,
            jobs: (0..load.numjobs).map(reads).collect(),
        })
    }

    fn read(&self, thread: u32, mut buffer: Buffer, tally: &mut Tally) -> Result<()> {
        let job = self.jobs.get((thread % self.load.numjobs) as usize);
        let job = job.ok_or_else(no_section)?;
        let start = Instant::now();
        loop {
            let mut reads = job.lock().unwrap_or_else(PoisonError::into_inner);
            if !reads.go_on(start.elapsed()) || interrupt::requested() {
                return Ok(());
            }
            let due = reads.due();
            let Some(read) = reads.next() else {
                return Ok(());
            };
            drop(reads);
            // The time may be over when the rate allows the read.
            if !wait_in_time(self.load, due, start) {
                return Ok(());
            }
            self.one(read, &mut buffer, tally)?;
        }
    }

    fn one(&self, read: Read, buffer: &mut Buffer, tally: &mut Tally) -> Result<()> {
        let bytes = usize::try_from(read.bytes).map_err(Error::message)?;
        let (file, region) = self
            .files
            .get(read.file)
            .zip(self.load.files.get(read.file))
            .ok_or_else(no_section)?;
        let into = buffer.bytes().get_mut(..bytes).ok_or_else(no_section)?;
        let begin = Instant::now();
        let n = read_full(&file.0, into, read.offset).at("cannot read", &region.path)?;
        tally.record(begin.elapsed(), read.bytes);
        if n < bytes {
            return Err(Error::message(format!(
                "{} became shorter",
                region.path.display()
            )));
        }
        Ok(())
    }

    fn flags(&self, threads: u32) -> Vec<String> {
        let mut flags = vec![format!("threads={threads}")];
        let wanted = wanted(self.load);
        if threads < wanted {
            flags.push(format!("capped: {wanted} in flight were asked for"));
        }
        flags.push(if self.files.iter().all(|(_, direct)| *direct) {
            "O_DIRECT".into()
        } else {
            "buffered: no O_DIRECT here".into()
        });
        flags
    }
}
