//! Reads that a job marks as hints: asked for in the engine's lane for reading ahead, and read when
//! they are there.
//!
//! A hint has no completion, as its host goes on without it. So this one looks every 100 us, which
//! its latencies are too long by at most, and its looking is processor time.

use std::thread;
use std::time::{Duration, Instant};

use ringfield::Field;

use super::in_flight::InFlight;
use crate::bench::order::Read;
use crate::bench::round::Tally;
use crate::engine_run::EngineContext;
use crate::error::Result;

const LOOK_EVERY: Duration = Duration::from_micros(100);
/// A hint may be dropped for want of room: it is given again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// One that comes to nothing is read, which says what is wrong.
const READ_AFTER: Duration = Duration::from_secs(5);

/// Hints given and not read yet.
pub(super) struct Ahead {
    hints: Vec<Hint>,
}

struct Hint {
    field: Field,
    read: Read,
    /// After the start of the job.
    since: Duration,
    last: Instant,
}

impl Ahead {
    pub(super) fn new(depth: u32) -> Ahead {
        Ahead {
            hints: Vec::with_capacity(depth as usize),
        }
    }
}

impl Hint {
    fn give(field: &Field, read: Read) {
        field.prefetch(std::slice::from_ref(
            &(read.offset..read.offset + read.bytes),
        ));
    }

    /// Whether its bytes are there, or will not come.
    fn is_due(&mut self, elapsed: Duration) -> bool {
        let range = self.read.offset..self.read.offset + self.read.bytes;
        if self.field.is_resident(range) || elapsed.saturating_sub(self.since) > READ_AFTER {
            return true;
        }
        if self.last.elapsed() > AGAIN_AFTER {
            Hint::give(&self.field, self.read);
            self.last = Instant::now();
        }
        false
    }
}

impl InFlight for Ahead {
    fn pending(&self) -> usize {
        self.hints.len()
    }

    fn submit(&mut self, field: &Field, read: Read, elapsed: Duration) -> Result<()> {
        Hint::give(field, read);
        self.hints.push(Hint {
            field: field.clone(),
            read,
            since: elapsed,
            last: Instant::now(),
        });
        Ok(())
    }

    /// A hint is handed over as it is given.
    fn flush(&mut self) {}

    fn take(&mut self, min: usize, max: usize, start: Instant, tally: &mut Tally) -> Result<u64> {
        let min = min.min(self.hints.len()).min(max);
        let mut taken = 0;
        loop {
            let mut place = 0;
            while place < self.hints.len() && taken < max {
                if !self.hints[place].is_due(start.elapsed()) {
                    place += 1;
                    continue;
                }
                let Hint {
                    field, read, since, ..
                } = self.hints.swap_remove(place);
                let view = field
                    .read(read.offset..read.offset + read.bytes)
                    .engine("cannot read")?;
                tally.record(start.elapsed().saturating_sub(since), read.bytes);
                std::hint::black_box(view.chunks().next());
                taken += 1;
            }
            if taken >= min {
                return Ok(taken as u64);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfield::Engine;

    const PAGE: u64 = 64 << 10;

    fn field(pages: u64) -> (tempfile::NamedTempFile, Field) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), vec![3; (pages * PAGE) as usize]).expect("written");
        let engine = Engine::builder().dram_budget(8 << 20).page_size(PAGE);
        let field = engine.build().expect("an engine").open(file.path());
        (file, field.expect("opened"))
    }

    fn read(page: u64) -> Read {
        Read {
            file: 0,
            offset: page * PAGE,
            bytes: PAGE,
        }
    }

    #[test]
    fn hints_are_read_ahead_and_given_again_where_there_was_no_room() {
        // Three times what the pool holds.
        let (_file, field) = field(384);
        let mut ahead = Ahead::new(384);
        let mut tally = Tally::new().expect("a tally");
        let start = Instant::now();
        for page in 0..384 {
            ahead
                .submit(&field, read(page), start.elapsed())
                .expect("given");
        }
        let mut taken = 0;
        while ahead.pending() > 0 {
            taken += ahead.take(1, 8, start, &mut tally).expect("read");
        }
        let stats = field.engine().stats();
        assert_eq!((taken, stats.misses), (384, 0), "{stats}");
        assert!(stats.prefetch_bytes >= 384 * PAGE && stats.prefetch_dropped > 0);
    }

    #[test]
    fn a_hint_that_comes_to_nothing_is_read_and_says_why() {
        let (_file, field) = field(1);
        let mut ahead = Ahead::new(1);
        let mut tally = Tally::new().expect("a tally");
        ahead
            .submit(&field, read(7), Duration::ZERO)
            .expect("given");
        let now = Instant::now();
        let late = now.checked_sub(READ_AFTER + Duration::from_millis(1));
        let taken = ahead.take(1, 1, late.expect("up that long"), &mut tally);
        assert!(now.elapsed() < READ_AFTER);
        let error = taken.expect_err("no such page").to_string();
        assert!(error.contains("cannot read"), "{error}");
    }
}
