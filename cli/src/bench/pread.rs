//! The rival without a queue: `O_DIRECT` `pread`, one thread for each read in flight.

mod crew;

use std::fs::File;
use std::time::Instant;

use super::load::Load;
use super::order::Read;
use super::reads::wait_in_time;
use super::region::Region;
use super::round::{Measured, Round, Tally};
use crate::content::read_full;
use crate::direct::{self, Buffer};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crew::Crew;

/// More threads than this only measure the scheduler.
const THREADS_MAX: u32 = 64;

pub(crate) fn round(loads: &[Load]) -> Result<Vec<Round>> {
    let threads: Vec<u32> = loads
        .iter()
        .map(|load| threads(load, loads.len()))
        .collect();
    let sections: Vec<Section> = loads
        .iter()
        .zip(&threads)
        .map(|(load, &threads)| Section::new(load, threads))
        .collect::<Result<_>>()?;
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
    jobs: Vec<Crew<'a>>,
}

impl<'a> Section<'a> {
    fn new(load: &'a Load, threads: u32) -> Result<Section<'a>> {
        let open = |file: &Region| direct::open(&file.path).at("cannot open", &file.path);
        let crew = |job| Crew::new(load, job, threads);
        Ok(Section {
            load,
            files: load.files.iter().map(open).collect::<Result<_>>()?,
            jobs: (0..load.numjobs).map(crew).collect(),
        })
    }

    fn read(&self, thread: u32, mut buffer: Buffer, tally: &mut Tally) -> Result<()> {
        let job = self.jobs.get((thread % self.load.numjobs) as usize);
        let job = job.ok_or_else(no_section)?;
        let start = Instant::now();
        while let Some((read, due)) = job.next(start) {
            // The time may be over when the rate allows the read.
            let outcome = match wait_in_time(self.load, due, start) {
                true => self.one(read, &mut buffer, tally).map(|()| true),
                false => Ok(false),
            };
            // Others may wait for this read, however it ended.
            job.end(matches!(outcome, Ok(true)));
            if !outcome? {
                break;
            }
        }
        Ok(())
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
