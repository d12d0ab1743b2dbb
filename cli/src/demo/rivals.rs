//! The rivals at their best: `mmap` and buffered `pread`, each with the advice that helps it most.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use crate::content::read_full;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::os::{self, FileAdvice, FileMap, MapAdvice};

use super::tally::Tally;
use super::workload::Workload;

/// Reads by page faults, from byte `begin` of the file on. Returns what was advised.
///
/// # Errors
/// A file that cannot be opened or mapped.
pub(crate) fn mmap(path: &Path, begin: u64, tally: &mut Tally) -> Result<&'static str> {
    let file = File::open(path).at("cannot open", path)?;
    let whole = begin..begin + tally.region_bytes;
    let map = FileMap::new(&file, whole.end).at("cannot map", path)?;
    let advised = match tally.workload {
        Workload::Random => {
            map.advise(whole, MapAdvice::Random);
            "MADV_RANDOM"
        }
        Workload::Sequential => "the kernel's own read-ahead",
        Workload::Expert => "MADV_WILLNEED 4 ahead",
    };
    drive(&mut Mapped { map }, begin, tally)?;
    Ok(advised)
}

/// Reads by buffered `pread`, from byte `begin` of the file on. Returns what was advised.
///
/// # Errors
/// A file that cannot be opened or read.
pub(crate) fn pread(path: &Path, begin: u64, tally: &mut Tally) -> Result<&'static str> {
    let file = File::open(path).at("cannot open", path)?;
    let whole = begin..begin + tally.region_bytes;
    let advised = match tally.workload {
        Workload::Random => {
            os::advise_file(&file, whole, FileAdvice::Random);
            "POSIX_FADV_RANDOM"
        }
        Workload::Sequential => {
            os::advise_file(&file, whole, FileAdvice::Sequential);
            "POSIX_FADV_SEQUENTIAL"
        }
        Workload::Expert => "POSIX_FADV_WILLNEED 4 ahead",
    };
    let bytes = usize::try_from(tally.workload.read_bytes()).map_err(Error::message)?;
    let buffers = vec![vec![0; bytes]; together(tally.workload)];
    drive(&mut Copied { file, buffers }, begin, tally)?;
    Ok(advised)
}

/// Of 2, 4, 8, 16 and 24 the best for both rivals: announcing a whole burst at once gains nothing
/// with much memory, and with little the pages announced last evict those announced first.
const AHEAD: usize = 4;

/// Reads that are needed together.
fn together(workload: Workload) -> usize {
    if workload == Workload::Expert {
        Workload::BURST as usize
    } else {
        1
    }
}

/// The steps of a read that the two rivals do differently.
trait Rival {
    /// Says early that a range will be needed.
    fn announce(&self, range: Range<u64>);
    /// Waits for a range. Those needed together have different slots.
    fn fetch(&mut self, slot: usize, range: Range<u64>) -> Result<()>;
    /// What was fetched.
    fn bytes(&self, slot: usize, range: Range<u64>) -> &[u8];
}

/// Ranges are of the file.
fn drive(rival: &mut impl Rival, begin: u64, tally: &mut Tally) -> Result<()> {
    let together = together(tally.workload);
    let mut ranges = Vec::with_capacity(together);
    let mut indices = 0..;
    tally.begin();
    while tally.goes_on() {
        interrupt::check()?;
        ranges.clear();
        let (workload, len) = (tally.workload, tally.region_bytes);
        ranges.extend(
            indices
                .by_ref()
                .take(together)
                .map_while(|i| workload.range(i, len))
                .map(|range| begin + range.start..begin + range.end),
        );
        if ranges.is_empty() {
            break;
        }
        let asked = Instant::now();
        // What is needed together is known: it is announced, a few reads ahead of the one in hand.
        let announced = if together > 1 { ranges.len() } else { 0 };
        ranges[..announced.min(AHEAD)]
            .iter()
            .for_each(|range| rival.announce(range.clone()));
        for (slot, range) in ranges.iter().enumerate() {
            if let Some(later) = ranges[..announced].get(slot + AHEAD) {
                rival.announce(later.clone());
            }
            rival.fetch(slot, range.clone())?;
        }
        tally.record(asked.elapsed());
        for (slot, range) in ranges.iter().enumerate() {
            tally.check(range.start - begin, [rival.bytes(slot, range.clone())]);
        }
    }
    Ok(())
}

struct Mapped {
    map: FileMap,
}

impl Rival for Mapped {
    fn announce(&self, range: Range<u64>) {
        self.map.advise(range, MapAdvice::WillNeed);
    }

    fn fetch(&mut self, slot: usize, range: Range<u64>) -> Result<()> {
        // A byte of each page: what is read later cannot fault any more, unless evicted.
        let touched = self.bytes(slot, range).iter().step_by(4096).copied();
        std::hint::black_box(touched.fold(0_u8, u8::wrapping_add));
        Ok(())
    }

    fn bytes(&self, _slot: usize, range: Range<u64>) -> &[u8] {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        self.map
            .bytes()
            .get(at(range.start)..at(range.end))
            .unwrap_or_default()
    }
}

struct Copied {
    file: File,
    buffers: Vec<Vec<u8>>,
}

impl Rival for Copied {
    fn announce(&self, range: Range<u64>) {
        os::advise_file(&self.file, range, FileAdvice::WillNeed);
    }

    fn fetch(&mut self, slot: usize, range: Range<u64>) -> Result<()> {
        let len = usize::try_from(range.end - range.start).map_err(Error::message)?;
        let buffer = &mut self.buffers[slot];
        buffer.resize(len, 0);
        let n = read_full(&self.file, buffer, range.start).doing("pread failed")?;
        buffer.truncate(n);
        Ok(())
    }

    fn bytes(&self, slot: usize, _range: Range<u64>) -> &[u8] {
        &self.buffers[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Content, fill};
    use std::time::Duration;

    type RivalFn = fn(&Path, u64, &mut Tally) -> Result<&'static str>;

    #[test]
    fn both_rivals_read_the_right_bytes_in_every_workload() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("field");
        let mut bytes = vec![0; (3 << 20) + 4097];
        fill(0, &mut bytes);
        // As in a packed field: the part that is read lies behind something else.
        let begin = 3 * 4096;
        std::fs::write(&path, [&[9; 3 * 4096], &bytes[..], &[9; 4096]].concat()).expect("written");
        let len = bytes.len() as u64;
        for rival in [mmap as RivalFn, pread as RivalFn] {
            for workload in Workload::ALL {
                // A pass over the file ends by itself, however slow the machine is at this moment.
                let longest = match workload {
                    Workload::Sequential => Duration::from_secs(60),
                    _ => Duration::from_millis(20),
                };
                let mut tally =
                    Tally::new(workload, len, Content::Pattern, longest).expect("a tally");
                rival(&path, begin, &mut tally).expect("reads");
                assert!(
                    tally.reads >= 1 && tally.wrong == 0,
                    "{workload:?} {}",
                    tally.reads
                );
                if workload == Workload::Sequential {
                    assert_eq!(tally.bytes, len);
                }
            }
        }
    }

    #[test]
    fn wrong_bytes_are_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("field");
        std::fs::write(&path, vec![7; 1 << 20]).expect("written");
        for rival in [mmap as RivalFn, pread as RivalFn] {
            let mut tally = Tally::new(
                Workload::Random,
                1 << 20,
                Content::Pattern,
                Duration::from_millis(5),
            )
            .expect("a tally");
            rival(&path, 0, &mut tally).expect("reads");
            assert!(tally.wrong == tally.reads && tally.reads > 0);
        }
    }
}
