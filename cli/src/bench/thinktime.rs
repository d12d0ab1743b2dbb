//! fio's `thinktime`: after so many reads a job waits for all that are in flight, and then sleeps.
//!
//! Reads are counted as they are handed over (`thinktime_blocks_type=issue`) or as they are taken
//! back (`complete`, fio's default). fio looks at the count behind each read that it hands over, and
//! takes reads back only where that one filled the queue: a job that counts completions fills its
//! queue first, whatever `thinktime_blocks` is. What it takes back while it waits for the others
//! counts for the next time, which then is so much earlier.

use std::thread;
use std::time::{Duration, Instant};

use crate::interrupt;
use crate::job::Job;

/// What a job says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thinktime {
    pub(crate) time: Duration,
    /// Reads between two of them, at least.
    pub(crate) blocks: u32,
    pub(crate) by_issue: bool,
}

impl Thinktime {
    /// `None` where the job never stops to think.
    pub(super) fn of(job: &Job) -> Option<Thinktime> {
        (!job.thinktime.is_zero()).then_some(Thinktime {
            time: job.thinktime,
            blocks: job.thinktime_blocks,
            by_issue: job.thinktime_by_issue,
        })
    }
}

/// The count of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thinker {
    thinktime: Option<Thinktime>,
    last: u64,
}

impl Thinker {
    pub(crate) fn new(thinktime: Option<Thinktime>) -> Thinker {
        Thinker { thinktime, last: 0 }
    }

    /// How long to sleep once all reads in flight are complete; `None`: go on. So many reads were
    /// handed over and taken back until now.
    pub(crate) fn due(&mut self, issued: u64, completed: u64) -> Option<Duration> {
        let thinktime = self.thinktime?;
        let now = match thinktime.by_issue {
            true => issued,
            false => completed,
        };
        if now < self.last + u64::from(thinktime.blocks) {
            return None;
        }
        // What completes while the job waits counts for the next time.
        self.last = now;
        Some(thinktime.time)
    }
}

/// Sleeps for so long, or until somebody asks to stop.
pub(crate) fn think(time: Duration) {
    const SLICE: Duration = Duration::from_millis(500);
    let start = Instant::now();
    while !interrupt::requested() {
        let left = time.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(SLICE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thinker(blocks: u32, by_issue: bool) -> Thinker {
        Thinker::new(Some(Thinktime {
            time: Duration::from_micros(7),
            blocks,
            by_issue,
        }))
    }

    #[test]
    fn issued_reads_are_counted_in_bursts_whatever_completes() {
        let mut thinker = thinker(24, true);
        let due = (1..=60).filter(|&issued| thinker.due(issued, 0).is_some());
        assert_eq!(due.collect::<Vec<_>>(), [24, 48]);
    }

    #[test]
    fn what_completes_while_the_job_waits_counts_for_the_next_time() {
        let mut thinker = thinker(4, false);
        assert_eq!(thinker.due(8, 3), None);
        assert_eq!(thinker.due(11, 4), Some(Duration::from_micros(7)));
        // All eleven were waited for, seven of them after the count.
        assert!(thinker.due(12, 11).is_some());
        assert!(thinker.due(13, 12).is_none());
        assert!(thinker.due(19, 15).is_some());
    }

    #[test]
    fn a_job_without_thinktime_never_stops() {
        assert_eq!(Thinker::new(None).due(u64::MAX, u64::MAX), None);
    }
}
