//! The rival that everybody has: page faults on a fresh mapping, from a cold page cache.
//!
//! Each block is read once, however long the job lasts: a second pass over a file that memory
//! happens to hold would measure memory.

use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::load::Load;
use super::order::{Order, Read};
use super::reads::{Reads, in_time, wait_in_time};
use super::region::Region;
use super::round::{Measured, Round, Tally};
use super::thinktime::{Thinker, think};
use crate::cgroup;
use crate::error::{Context, Result};
use crate::interrupt;
use crate::job::Rw;
use crate::os::{self, FileMap, MapAdvice};
use crate::size::Size;

/// Reads announced together, at most.
const AHEAD_MAX: u32 = 1024;

pub(crate) fn round(loads: &[Load]) -> Result<Vec<Round>> {
    let sections: Vec<Section> = loads.iter().map(Section::new).collect::<Result<_>>()?;
    let threads: Vec<u32> = loads.iter().map(|load| load.numjobs).collect();
    let measured = Measured::run(
        &threads,
        |thread| Ok(sections.get(thread.section)),
        |_, section, tally| {
            section.into_iter().for_each(|section| section.read(tally));
            Ok(())
        },
    )?;
    interrupt::check()?;
    let rounds = measured.rounds(0.0).into_iter().zip(&sections);
    Ok(rounds
        .map(|(round, section)| Round {
            backend: "mmap".into(),
            flags: section.flags(loads),
            ..round
        })
        .collect())
}

struct Section<'a> {
    load: &'a Load,
    maps: Vec<FileMap>,
    ahead: Option<u32>,
    /// The jobs share one order, each taking what comes next: what one reads no other finds cached.
    reads: Mutex<Reads<'a>>,
}

impl<'a> Section<'a> {
    fn new(load: &'a Load) -> Result<Section<'a>> {
        let map = |region: &Region| {
            let file = File::open(&region.path).at("cannot open", &region.path)?;
            os::drop_cache(&file);
            let map = FileMap::new(&file, region.end).at("cannot map", &region.path)?;
            if load.rw == Rw::RandRead {
                map.advise(0..region.end, MapAdvice::Random);
            }
            Ok(map)
        };
        let order = Order::each_once(load);
        Ok(Section {
            load,
            maps: load.files.iter().map(map).collect::<Result<_>>()?,
            ahead: reads_ahead(load),
            reads: Mutex::new(Reads::new(load, order, load.numjobs)),
        })
    }

    fn read(&self, tally: &mut Tally) {
        let start = Instant::now();
        let mut group = Vec::new();
        let mut begun = 0;
        let mut thinker = Thinker::new(self.load.thinktime);
        while let Some(due) = self.draw(start.elapsed(), begun, &mut group) {
            if !wait_in_time(self.load, due, start) {
                return;
            }
            let mut begin = Instant::now();
            if self.ahead.is_some() {
                group.iter().for_each(|read| self.announce(read));
            }
            for read in &group {
                self.touch(read);
                tally.record(begin.elapsed(), read.bytes);
                begun += 1;
                // One read at a time: what was begun is complete.
                thinker.due(begun, begun).into_iter().for_each(think);
                begin = Instant::now();
                if interrupt::requested() || !in_time(self.load, start.elapsed()) {
                    return;
                }
            }
        }
    }

    /// Draws the reads that are announced together, the first of a thread's reads being number
    /// `begun`; says when they may start.
    fn draw(&self, elapsed: Duration, begun: u64, group: &mut Vec<Read>) -> Option<Duration> {
        group.clear();
        // No more than what is left of a burst.
        let burst = self.load.thinktime.map(|thinktime| {
            let reads = u64::from(thinktime.blocks);
            reads - begun % reads
        });
        let wanted = u64::from(self.ahead.unwrap_or(1)).min(burst.unwrap_or(u64::MAX));
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if !reads.go_on(elapsed) || interrupt::requested() {
            return None;
        }
        let due = reads.due();
        group.extend((0..wanted).map_while(|_| reads.next()));
        (!group.is_empty()).then_some(due)
    }

    fn announce(&self, read: &Read) {
        if let Some(map) = self.maps.get(read.file) {
            map.advise(read.offset..read.offset + read.bytes, MapAdvice::WillNeed);
        }
    }

    /// One byte of each page: the fault is what is measured, not a copy.
    fn touch(&self, read: &Read) {
        let range = usize::try_from(read.offset).ok();
        let range = range.zip(usize::try_from(read.offset + read.bytes).ok());
        let bytes = self.maps.get(read.file).map(FileMap::bytes);
        let bytes = bytes
            .zip(range)
            .and_then(|(all, (from, to))| all.get(from..to));
        let touched = bytes.unwrap_or_default().iter().step_by(4096).copied();
        std::hint::black_box(touched.fold(0_u8, u8::wrapping_add));
    }

    fn flags(&self, loads: &[Load]) -> Vec<String> {
        let advice = match (self.load.rw, self.ahead) {
            (_, Some(1)) => "MADV_RANDOM, MADV_WILLNEED of each read",
            (_, Some(_)) => "MADV_WILLNEED of each burst",
            (Rw::RandRead, None) => "MADV_RANDOM",
            // The kernel's own read-ahead finds a sequential reader by itself.
            (Rw::Read, None) => "MADV_NORMAL",
        };
        let shared = loads.iter().filter(|load| !std::ptr::eq(*load, self.load));
        let shared = shared
            .flat_map(|load| &load.files)
            .any(|file| self.load.files.iter().any(|ours| ours.path == file.path));
        vec![
            advice.to_owned(),
            match self.load.random_percent == 100 && self.load.pattern.run == 1 {
                true => "depth=1, each block once".to_owned(),
                false => "depth=1, each random block once".to_owned(),
            },
            match shared {
                false => "cold page cache".to_owned(),
                true => "page cache cold at first, shared with other sections".to_owned(),
            },
            match cgroup::memory_limit() {
                Some(bytes) => format!("memory limited to {}", Size(bytes)),
                None => "not memory limited".to_owned(),
            },
        ]
    }
}

/// Reads to announce together, where announcing them beats faulting them in page by page.
fn reads_ahead(load: &Load) -> Option<u32> {
    match (load.thinktime, load.rw) {
        // Reads that are issued together are known together.
        (Some(thinktime), _) if thinktime.by_issue => Some(thinktime.blocks.min(AHEAD_MAX)),
        (_, Rw::RandRead) if load.sizes.max() >= 16 << 10 => Some(1),
        _ => None,
    }
}
