//! Handing reads to the kernel, and sleeping: how many at once, for how many answers, and how long.

use super::{Event, SubmissionLoop};
use crate::ring::backend::{Backend, Wait};
use crate::ring::telemetry::add;

/// A number of reads, or fewer large ones.
pub(super) struct Batch {
    pub(super) reads: u32,
    pub(super) bytes: u64,
}

/// Demand reads handed to the kernel at once, first: so many, or so many bytes. The device starts on a batch when all of
/// it is prepared (about 1.5 µs a read), so that a large one leaves it idle meanwhile; below this, the system call itself
/// costs too much.
pub(super) const FIRST_BATCH: Batch = Batch {
    reads: 4,
    bytes: 64 << 10,
};
/// And then: the device has something to do.
pub(super) const NEXT_BATCH: Batch = Batch {
    reads: 8,
    bytes: 128 << 10,
};
/// Completions worth waiting for at high depth: a wake-up for each would cost more than the read.
const COMPLETED_BATCH: Batch = Batch {
    reads: 8,
    bytes: 256 << 10,
};
/// For at most this long, in microseconds; then one is enough. Also what a single read that arrives in such a sleep may
/// have to wait before it is handed over.
const BATCH_WAIT_US: u32 = 100;
/// From this depth on a quarter of the reads in flight is waited for, and longer: a read that arrives meanwhile queues
/// behind three times as many in the device anyway, and a timer that fires costs more than it saves.
const DEEP: u32 = 8;
const DEEP_WAIT_US: u32 = 1000;
/// With fewer reads in flight than this the loop looks for more before it sleeps: the device is about to run dry.
const SPIN_DEPTH: u32 = 8;
/// For this long, in nanoseconds.
const SPIN_NS: u64 = 15_000;

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    pub(super) fn hand_over(&mut self, wait: Wait) {
        if self.staged > 0 {
            add(&self.shared.counters.batches, 1);
            add(&self.shared.counters.depth_sum, u64::from(self.in_flight()));
            self.staged = 0;
        }
        if let Err(e) = self.backend.submit(wait, &self.shared.wake) {
            self.shared.note_backend_error(&e);
            // The ring itself is broken, which no kernel should do; do not spin on it.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if matches!(wait, Wait::Until { .. }) {
            self.shared.wake.unpark();
        }
        let fixed = self.backend.fixed_reads();
        add(&self.shared.counters.fixed_ios, fixed - self.fixed_reads);
        self.fixed_reads = fixed;
    }

    /// Announces the coming sleep and looks at the lanes once more.
    pub(super) fn wait(&mut self, may_sleep: bool) -> Wait {
        let stopped = self.stop_ns.is_some() && self.in_flight() == 0;
        if !may_sleep || stopped {
            return Wait::No;
        }
        // Whoever was answered may ask for more at once.
        let expectant = self.delivered && self.in_flight() < SPIN_DEPTH && self.staged == 0;
        if expectant && self.spin.spin(SPIN_NS, || self.shared.has_work()) {
            return Wait::No;
        }
        self.shared.wake.announce_park();
        if self.shared.has_work() {
            self.shared.wake.unpark();
            return Wait::No;
        }
        let until_ns = [
            self.next_alarm(),
            self.delayed.iter().map(|&(due, _)| due).min(),
            self.stop_ns,
        ]
        .into_iter()
        .flatten()
        .min();
        let (count, batch_us) = self.batch();
        Wait::Until {
            count,
            batch_us,
            until_ns,
        }
    }

    /// How many completions are worth waiting for, and how long, in microseconds.
    ///
    /// One, where somebody waits for a single read, or where a prefetch would delay the first demand read. What a batch
    /// waits for, where there is only that. At high depth some more: the device has work while they come in.
    fn batch(&self) -> (u32, u32) {
        let in_flight = self.in_flight();
        let Some(want) = self
            .shared
            .batch_want()
            .filter(|_| self.prefetch_reads == 0)
        else {
            return (1, 0);
        };
        let (deep, wait_us) = match in_flight {
            DEEP.. => (in_flight / 4, DEEP_WAIT_US),
            _ => (1, BATCH_WAIT_US),
        };
        let typical = self.bytes / u64::from(in_flight.max(1));
        let enough = COMPLETED_BATCH.bytes / typical.max(1);
        let most = in_flight.min(COMPLETED_BATCH.reads).min(enough as u32);
        match want.max(deep).min(most) {
            0 | 1 => (1, 0),
            count => (count, wait_us),
        }
    }
}
