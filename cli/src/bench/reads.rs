//! The reads that a host thread still has to make: what comes next, when, and when it is over.

use std::time::{Duration, Instant};

use super::load::Load;
use super::order::{Order, Read};
use super::thinktime::think;
use crate::job::Amount;

/// An order of reads with the job's limits: its time, its bytes and its rate.
pub(crate) struct Reads<'a> {
    load: &'a Load,
    order: Order,
    /// Host threads that draw from here together.
    sharers: u32,
    begun: u64,
    begun_bytes: u64,
    /// Of them, those of this pass over the files.
    pass_bytes: u64,
    over: bool,
}

impl<'a> Reads<'a> {
    pub(crate) fn new(load: &'a Load, order: Order, sharers: u32) -> Reads<'a> {
        Reads {
            load,
            order,
            sharers,
            begun: 0,
            begun_bytes: 0,
            pass_bytes: 0,
            over: false,
        }
    }

    /// Whether another read begins, `elapsed` after the start.
    pub(crate) fn go_on(&self, elapsed: Duration) -> bool {
        let bytes_left = self.load.time_based || self.begun_bytes < self.load.limit_bytes;
        in_time(self.load, elapsed) && bytes_left && !self.over
    }

    /// The next read; `None` when the files are used up.
    pub(crate) fn next(&mut self) -> Option<Read> {
        let pass_is_over = !self.load.time_based && self.pass_bytes >= self.load.pass_bytes;
        let read = match pass_is_over {
            true => None,
            false => self.order.next(),
        };
        let read = read.or_else(|| self.begin_anew().then(|| self.order.next())?);
        match read {
            Some(read) => {
                self.begun += 1;
                self.begun_bytes += read.bytes;
                self.pass_bytes += read.bytes;
            }
            None => self.over = true,
        }
        read
    }

    /// Begins another pass where `io_size` leaves room for a block of any size, as fio does.
    fn begin_anew(&mut self) -> bool {
        let left = self.load.limit_bytes.saturating_sub(self.begun_bytes);
        let more = matches!(self.load.io_size, Some(Amount::Bytes(_)));
        self.pass_bytes = 0;
        !self.load.time_based && more && left >= self.load.sizes.max() && self.order.begin_anew()
    }

    /// Reads that were given out.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    /// When the next read may start, counted from the start of the job.
    ///
    /// fio limits the bytes of a second, to the rate times the smallest block.
    pub(crate) fn due(&self) -> Duration {
        self.load.rate_iops.map_or(Duration::ZERO, |rate| {
            let second_bytes = f64::from(rate.max(1))
                * f64::from(self.sharers.max(1))
                * self.load.sizes.min() as f64;
            // A year is for ever, and no float of that size fails to be a duration.
            Duration::from_secs_f64((self.begun_bytes as f64 / second_bytes).min(3e7))
        })
    }
}

/// Sleeps until `due`, counted from `start`, and no longer than the job's time.
pub(crate) fn wait_until(load: &Load, due: Duration, start: Instant) {
    let until = load.runtime.map_or(due, |runtime| runtime.min(due));
    let wait = until.saturating_sub(start.elapsed());
    if !wait.is_zero() {
        think(wait);
    }
}

/// Whether the job's time is not over.
pub(crate) fn in_time(load: &Load, elapsed: Duration) -> bool {
    load.runtime.is_none_or(|runtime| elapsed < runtime)
}

/// Sleeps until `due`, and says whether the job's time is not over then.
pub(crate) fn wait_in_time(load: &Load, due: Duration, start: Instant) -> bool {
    wait_until(load, due, start);
    in_time(load, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::tests::load;

    #[test]
    fn a_timed_job_runs_its_time_and_another_its_size() {
        let timed = load("[j]\nruntime=2\ntime_based", &[8192]).expect("fits");
        let mut reads = Reads::new(&timed, Order::new(&timed, 0), 1);
        for _ in 0..1000 {
            reads.next();
        }
        assert!(reads.go_on(Duration::from_secs(1)));
        assert!(!reads.go_on(Duration::from_secs(2)));
        let sized = load("[j]\nbs=4k\nrate_iops=10", &[8192]).expect("fits");
        let mut reads = Reads::new(&sized, Order::new(&sized, 0), 1);
        reads.next();
        assert!(reads.go_on(Duration::from_secs(9)));
        reads.next();
        assert!(!reads.go_on(Duration::ZERO));
    }

    #[test]
    fn nobody_waits_for_the_rate_beyond_the_time_of_the_job() {
        let load = load("[j]\nruntime=20ms\ntime_based", &[8192]).expect("fits");
        let start = Instant::now();
        assert!(!wait_in_time(&load, Duration::from_secs(60), start));
        assert!((20..10_000).contains(&start.elapsed().as_millis()));
        assert!(!wait_in_time(&load, Duration::ZERO, start));
    }

    #[test]
    fn a_rate_limits_the_bytes_of_the_smallest_block() {
        let due = |job: &str, sharers| {
            let load = load(job, &[1 << 20]).expect("fits");
            let mut reads = Reads::new(&load, Order::new(&load, 0), sharers);
            for _ in 0..5 {
                reads.next();
            }
            (reads.due(), reads.begun_bytes)
        };
        let (even, _) = due("[j]\nbs=4k\nrate_iops=10", 1);
        assert_eq!(even, Duration::from_millis(500));
        assert_eq!(due("[j]\nbs=4k\nrate_iops=10", 2).0 * 2, even);
        let (mixed, bytes) = due("[j]\nbssplit=4k/1:32k/99\nrate_iops=10", 1);
        assert_eq!(mixed, Duration::from_secs_f64(bytes as f64 / 40_960.0));
        assert!(mixed > even);
    }
}
