//! Many threads at once on fields that are damaged here and there, in pools so small that directory pages are evicted all
//! the time: right bytes or the typed error for everyone, nobody waits for ever, nothing stays pinned.

use crate::content::Random;
use crate::executor;
use crate::format::{DIRECTORY, Sparse};
use crate::made::{builder, quick_dir, random_bytes};
use ringfield::sim::{Disk, Faults, Machine, threaded};
use ringfield::{ArrayOptions, Engine, Error, Fault, Field};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
/// Reads that hold some frames and wait for others may wait for each other this long.
const PIN_WAIT: Duration = Duration::from_millis(10);

/// An array most of whose pages are holes, and what damage was done to it.
struct Holes {
    sparse: Sparse,
    dir: tempfile::TempDir,
    paths: Vec<PathBuf>,
    /// Pages that cannot be read, whether of themselves or for their directory.
    lost: Vec<u64>,
}

impl Holes {
    fn new(pages: u64, written: u64, members: usize) -> Holes {
        let mut random = Random(pages | 1);
        let written: BTreeMap<u64, Vec<u8>> = (0..written)
            .map(|k| match k % 3 {
                0 => k / 3,
                _ => random.below(pages),
            })
            .map(|page| (page, random_bytes(page, PAGE as usize)))
            .collect();
        let sparse = Sparse {
            page: PAGE,
            pages,
            array: *b"full of holes  !",
            written,
        };
        let dir = quick_dir();
        let paths: Vec<PathBuf> = (0..members)
            .map(|k| dir.path().join(format!("{k}.rf")))
            .collect();
        sparse.write(&paths);
        Holes {
            sparse,
            dir,
            paths,
            lost: Vec::new(),
        }
    }

    /// Damages every tenth page that is written and one leaf of the last member's directory.
    fn damage(&mut self) {
        use std::os::unix::fs::FileExt;
        let members = self.paths.len() as u64;
        let files: Vec<std::fs::File> = self
            .paths
            .iter()
            .map(|path| {
                std::fs::File::options()
                    .read(true)
                    .write(true)
                    .open(path)
                    .unwrap()
            })
            .collect();
        let header = |file: &std::fs::File, at: usize| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at as u64).unwrap();
            u64::from_le_bytes(bytes)
        };
        use crate::format::at;
        for &page in self.sparse.written.keys().step_by(10) {
            let file = &files[(page % members) as usize];
            let at = header(file, at::DATA_AT) + page / members * PAGE;
            file.write_all_at(&[!self.sparse.written[&page][99]], at + 99)
                .unwrap();
            self.lost.push(page);
        }
        let last = &files[files.len() - 1];
        let nodes = header(last, at::NODES);
        let leaf = header(last, at::DIRECTORY_AT) + (nodes - 1) * PAGE;
        last.write_all_at(&[0xee; 5], leaf + 4091).unwrap();
        let slots = header(last, at::SLOTS);
        for slot in (slots - 1) / 256 * 256..slots {
            self.lost.push(slot * members + members - 1);
        }
        self.lost.sort_unstable();
        self.lost.dedup();
    }

    fn wanted(&self, page: u64) -> Vec<u8> {
        let written = self.sparse.written.get(&page);
        written.cloned().unwrap_or_else(|| vec![0; PAGE as usize])
    }

    /// A page to read: written ones, holes beside them, damaged ones and any.
    fn some_page(&self, random: &mut Random) -> u64 {
        let keys = &self.sparse.written;
        let near = keys
            .range(random.below(self.sparse.pages)..)
            .next()
            .map_or(0, |(&page, _)| page);
        match random.below(4) {
            0 => self
                .lost
                .get(random.below(self.lost.len().max(1) as u64) as usize)
                .copied()
                .unwrap_or(near),
            1 => random.below(self.sparse.pages),
            2 => (near + 1).min(self.sparse.pages - 1),
            _ => near,
        }
    }

    /// Fails where what a read gave is neither right nor what the damage must give. True where there are bytes.
    #[track_caller]
    fn judge(&self, range: &Range<u64>, outcome: ringfield::Result<Vec<u8>>) -> bool {
        let pages = range.start / PAGE..range.end.div_ceil(PAGE);
        let lost = pages
            .clone()
            .any(|page| self.lost.binary_search(&page).is_ok());
        match outcome {
            Ok(bytes) => {
                assert!(!lost, "{range:?} is damaged and was read");
                let wanted: Vec<u8> = pages.flat_map(|page| self.wanted(page)).collect();
                assert!(bytes == wanted, "{range:?} is wrong");
                true
            }
            Err(Error::Read {
                page,
                fault: Fault::Checksum,
                ..
            }) => {
                assert!(lost, "{range:?} is whole: page {page:#x}");
                assert!(page >= DIRECTORY || pages.contains(&page));
                false
            }
            Err(Error::PoolPinned { .. } | Error::RangeTooLarge { .. } | Error::Busy { .. }) => {
                false
            }
            Err(e) => panic!("{range:?}: {e:?}"),
        }
    }
}

/// What one thread does, `rounds` times; returns how many reads gave bytes.
fn work(holes: &Holes, engine: &Engine, field: &Field, kind: usize, rounds: u64) -> u64 {
    let mut random = Random(kind as u64 * 7919 + 1);
    let mut batch = engine.batch(6).unwrap();
    let mut good = 0;
    let some = |random: &mut Random| {
        let first = holes.some_page(random);
        let count = 1 + random.below(3);
        let end = (first + count).min(holes.sparse.pages);
        first * PAGE..end * PAGE
    };
    for round in 0..rounds {
        match kind % 6 {
            // Blocking.
            0 => {
                let range = some(&mut random);
                let read = field.read(range.clone()).map(|view| view.to_vec());
                good += u64::from(holes.judge(&range, read));
            }
            // A batch.
            1 => {
                let ranges: Vec<_> = (0..4).map(|_| some(&mut random)).collect();
                // Its error is that of one of them.
                let _ = field.read_many(&ranges, &mut batch);
                for (k, range) in ranges.iter().enumerate() {
                    let read = batch.view(k).map(|view| view.to_vec());
                    good += u64::from(holes.judge(range, read));
                }
                batch.clear();
            }
            // A window that is dropped with reads under way.
            2 => {
                let ranges: Vec<_> = (0..5).map(|_| some(&mut random)).collect();
                for (k, range) in ranges.iter().enumerate() {
                    let _ = batch.submit(field, range.clone(), k as u64);
                }
                batch.wait(2);
                while let Some(ready) = batch.next() {
                    let range = &ranges[ready.tag() as usize];
                    let read = ready.view().map(|view| view.to_vec());
                    good += u64::from(holes.judge(range, read));
                }
                if round % 3 == 0 {
                    batch.clear();
                } else {
                    while batch.wait(1) > 0 {
                        while let Some(ready) = batch.next() {
                            let range = &ranges[ready.tag() as usize];
                            let read = ready.view().map(|view| view.to_vec());
                            good += u64::from(holes.judge(range, read));
                        }
                    }
                }
            }
            // Futures, every other one left.
            3 => {
                let (range, left) = (some(&mut random), some(&mut random));
                {
                    let mut left = pin!(field.read_async(left));
                    for _ in 0..random.below(3) {
                        if let Poll::Ready(_view) = executor::poll(left.as_mut(), Waker::noop()) {
                            break;
                        }
                        std::thread::yield_now();
                    }
                }
                let read = executor::block_on(field.read_async(range.clone()));
                good += u64::from(holes.judge(&range, read.map(|view| view.to_vec())));
            }
            // Read ahead, then read.
            4 => {
                let range = some(&mut random);
                field.prefetch(&[range.clone(), some(&mut random)]);
                let read = field.read(range.clone()).map(|view| view.to_vec());
                good += u64::from(holes.judge(&range, read));
            }
            // A plan, and reads of it and of others; the next plan takes its place.
            _ => {
                let ranges: Vec<_> = (0..4).map(|_| some(&mut random)).collect();
                let planned: Vec<_> = ranges.iter().map(|range| field.at(range.clone())).collect();
                let plan = engine.plan(&planned);
                for range in ranges.iter().take(3) {
                    let read = field.read(range.clone()).map(|view| view.to_vec());
                    good += u64::from(holes.judge(range, read));
                }
                if round % 2 == 0 {
                    plan.cancel();
                }
            }
        }
    }
    good
}

/// Twelve threads. A reader that waits for ever fails the test.
fn together(holes: &Holes, engine: &Engine, field: &Field, rounds: u64) {
    std::thread::scope(|scope| {
        let (ended, all) = mpsc::channel();
        for kind in 0..12 {
            let ended = ended.clone();
            scope.spawn(move || {
                let good = work(holes, engine, field, kind, rounds);
                let _ = ended.send((kind, good));
            });
        }
        drop(ended);
        let mut waiting: Vec<usize> = (0..12).collect();
        let mut all_good = 0;
        while !waiting.is_empty() {
            match all.recv_timeout(Duration::from_secs(60)) {
                Ok((kind, good)) => {
                    all_good += good;
                    waiting.retain(|other| *other != kind);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("a thread failed"),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("threads {waiting:?} wait for ever: {}", engine.stats());
                    std::process::exit(101);
                }
            }
        }
        assert!(all_good > rounds, "{all_good} reads gave bytes");
    });
    engine.plan(&[]).cancel();
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let stats = engine.stats();
        if (stats.frames_loading, stats.frames_pinned) == (0, 0) {
            assert_eq!(stats.frames_lost, 0);
            break;
        }
        assert!(Instant::now() < until, "{stats}");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Every place to wait is free.
    for page in [0, 1] {
        let range = page * PAGE..(page + 1) * PAGE;
        holes.judge(&range, field.read(range.clone()).map(|view| view.to_vec()));
    }
}

/// The smallest budget there can be, and then a few frames more.
fn small_engine(frames: u64) -> Engine {
    let least = match builder(PAGE).dram_budget(1).build() {
        Err(Error::BudgetTooSmall { minimum, .. }) => minimum,
        other => panic!("{other:?}"),
    };
    let budget = least + frames * (PAGE + 512);
    let builder = builder(PAGE).dram_budget(budget);
    builder.pin_wait(PIN_WAIT).build().unwrap()
}

#[test]
fn many_threads_on_a_small_pool_and_two_levels_of_directory() {
    for members in [1, 3] {
        let mut holes = Holes::new(2_000, 900, members);
        holes.damage();
        for more in [2, 24] {
            let engine = small_engine(more);
            let field = engine.open_array(&holes.paths).unwrap();
            together(&holes, &engine, &field, 150);
        }
    }
}

#[test]
fn many_threads_on_a_small_pool_and_three_levels_of_directory() {
    let mut holes = Holes::new(70_000, 600, 1);
    holes.damage();
    let engine = small_engine(10);
    let field = engine.open_array(&holes.paths).unwrap();
    assert_eq!(field.len(), 70_000 * PAGE);
    together(&holes, &engine, &field, 150);
    drop(field);
    // A file with holes is as small as what is in it.
    assert!(holes.dir.path().exists());
}

#[test]
fn many_threads_on_a_simulated_disk_whose_reads_overtake_each_other() {
    let mut holes = Holes::new(1_200, 500, 2);
    holes.damage();
    for seed in 0..6 {
        let disk = Disk::new(seed);
        for (name, path) in ["a", "b"].iter().zip(&holes.paths) {
            disk.add_file(name, std::fs::read(path).unwrap(), 512)
                .unwrap();
        }
        let mut faults = Faults::default();
        (faults.eagain, faults.short, faults.slow) = (30, 30, 10);
        disk.set_faults(faults);
        let mut machine = Machine::default();
        machine.frames_max = 10 + seed as u32 * 4;
        let builder = builder(PAGE).pin_wait(PIN_WAIT);
        let engine = threaded(&disk, builder, machine).unwrap();
        let field = disk
            .open_array(&engine, &["b", "a"], ArrayOptions::new())
            .unwrap();
        together(&holes, &engine, &field, 60);
    }
}
