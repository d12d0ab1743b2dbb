//! What a worker counts: every read, how long it took, and whether its bytes were right.

use std::time::{Duration, Instant};

use crate::bench::round::{LatUs, Latencies};
use crate::content::Content;
use crate::error::Result;

use super::workload::Workload;

/// The counts of one measurement.
pub(crate) struct Tally {
    pub(crate) workload: Workload,
    /// Bytes of the file that take part.
    pub(crate) region_bytes: u64,
    content: Content,
    latencies: Latencies,
    start: Instant,
    longest: Duration,
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    /// Reads that did not return the file's bytes.
    pub(crate) wrong: u64,
}

impl Tally {
    /// # Errors
    /// As [`Latencies::new`].
    pub(crate) fn new(
        workload: Workload,
        region_bytes: u64,
        content: Content,
        longest: Duration,
    ) -> Result<Tally> {
        Ok(Tally {
            workload,
            region_bytes,
            content,
            latencies: Latencies::new()?,
            start: Instant::now(),
            longest,
            reads: 0,
            bytes: 0,
            wrong: 0,
        })
    }

    /// Starts the clock, once everything is prepared.
    pub(crate) fn begin(&mut self) {
        self.start = Instant::now();
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether there is time for another read.
    pub(crate) fn goes_on(&self) -> bool {
        self.elapsed() < self.longest
    }

    /// A read, or a burst of them, had all its bytes this long after it was asked for.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.latencies.record(latency);
    }

    /// Checks the parts of one read, given in order from `offset`.
    pub(crate) fn check<'a>(&mut self, offset: u64, parts: impl IntoIterator<Item = &'a [u8]>) {
        let mut at = offset;
        let mut right = true;
        for part in parts {
            right &= self.content.matches(at, part);
            at += part.len() as u64;
        }
        let expected = self.workload.read_bytes().min(self.region_bytes - offset);
        right &= at - offset == expected;
        self.reads += 1;
        self.bytes += at - offset;
        self.wrong += u64::from(!right);
    }

    pub(crate) fn lat_us(&self) -> LatUs {
        self.latencies.us()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::fill;

    #[test]
    fn short_wrong_and_right_reads_are_told_apart() {
        let mut tally = Tally::new(
            Workload::Random,
            1 << 20,
            Content::Pattern,
            Duration::from_secs(1),
        )
        .expect("a tally");
        let mut bytes = vec![0; 4096];
        fill(8192, &mut bytes);
        tally.check(8192, [&bytes[..]]);
        assert_eq!((tally.reads, tally.wrong), (1, 0));
        tally.check(8192, [&bytes[..4095]]);
        tally.check(4096, [&bytes[..]]);
        tally.check(8192, []);
        assert_eq!(
            (tally.reads, tally.wrong, tally.bytes),
            (4, 3, 4096 + 4095 + 4096)
        );
    }
}
