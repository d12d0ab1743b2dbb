//! The threads of one job: they share its order of reads, so that each block is read as often as by
//! fio, and they stop together where the job stops to think.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bench::load::Load;
use crate::bench::order::{Order, Read};
use crate::bench::reads::Reads;
use crate::bench::thinktime::{Thinker, think};
use crate::interrupt;

pub(super) struct Crew<'a> {
    threads: u64,
    state: Mutex<State<'a>>,
    /// A thought is over.
    thought: Condvar,
}

struct State<'a> {
    reads: Reads<'a>,
    thinker: Thinker,
    in_flight: u64,
    completed: u64,
    /// No read begins; it begins itself when the last one in flight has ended.
    thought: Option<Duration>,
}

impl<'a> Crew<'a> {
    /// The threads of the job with this number; the section has so many `threads`.
    pub(super) fn new(load: &'a Load, job: u32, threads: u32) -> Crew<'a> {
        let (each, rest) = (threads / load.numjobs, threads % load.numjobs);
        Crew {
            threads: u64::from(each + u32::from(job < rest)),
            state: Mutex::new(State {
                reads: Reads::new(load, Order::new(load, job), 1),
                thinker: Thinker::new(load.thinktime),
                in_flight: 0,
                completed: 0,
                thought: None,
            }),
            thought: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read, and when it may begin; its [`Crew::end`] must follow. `None` when the job is over.
    pub(super) fn next(&self, start: Instant) -> Option<(Read, Duration)> {
        let mut state = self.state();
        while state.thought.is_some() {
            let woken = self.thought.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if !state.reads.go_on(start.elapsed()) || interrupt::requested() {
            return None;
        }
        let due = state.reads.due();
        let read = state.reads.next()?;
        state.in_flight += 1;
        state.count();
        Some((read, due))
    }

    /// The end of a read that was `completed` or given up.
    pub(super) fn end(&self, completed: bool) {
        let mut state = self.state();
        let was_full = state.in_flight == self.threads;
        state.in_flight -= 1;
        state.completed += u64::from(completed);
        if was_full && state.thought.is_none() {
            state.count();
        }
        if state.in_flight > 0 {
            return;
        }
        if let Some(time) = state.thought {
            drop(state);
            think(time);
            self.state().thought = None;
            self.thought.notify_all();
        }
    }
}

impl State<'_> {
    fn count(&mut self) {
        self.thought = self.thinker.due(self.reads.begun(), self.completed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::tests::load;

    fn crew_of<T>(options: &str, threads: u32, test: impl FnOnce(&Crew) -> T) -> T {
        let text = format!("[j]\nthinktime=1ms\niodepth={threads}\n{options}\n");
        let load = load(&text, &[1 << 20]).expect("fits");
        test(&Crew::new(&load, 0, threads))
    }

    #[test]
    fn no_read_begins_before_all_of_the_burst_have_ended_and_the_time_is_over() {
        crew_of(
            "thinktime_blocks=3\nthinktime_blocks_type=issue",
            8,
            |crew| {
                let start = Instant::now();
                for _ in 0..3 {
                    assert!(crew.next(start).is_some());
                }
                assert!(crew.state().thought.is_some());
                crew.end(true);
                crew.end(true);
                assert!(crew.state().thought.is_some());
                let before = Instant::now();
                crew.end(true);
                assert!(before.elapsed() >= Duration::from_millis(1));
                assert!(crew.state().thought.is_none());
            },
        );
    }

    #[test]
    fn completed_reads_are_counted_when_all_threads_are_busy() {
        crew_of("thinktime_blocks=2", 3, |crew| {
            let start = Instant::now();
            for _ in 0..2 {
                crew.next(start);
                crew.end(true);
            }
            // Two are complete, and the next read is the first behind which they are counted.
            assert!(crew.state().thought.is_none());
            crew.next(start);
            assert!(crew.state().thought.is_some());
        });
        crew_of("thinktime_blocks=1", 2, |crew| {
            let start = Instant::now();
            crew.next(start);
            crew.next(start);
            assert!(crew.state().thought.is_none());
            crew.end(true);
            assert!(crew.state().thought.is_some());
        });
    }
}
