//! What a ring counts: log-linear latency histograms and plain sums.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets for each power of two: values are known within 1/32.
const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;
/// Values up to 2^40 ns, about 18 minutes; longer ones count in the last bucket.
const BUCKETS: usize = ((40 - SUB_BITS as usize) + 1) << SUB_BITS;

/// A histogram in the layout of HdrHistogram (linear within each power of two), written by one thread and read by any.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn index(value: u64) -> usize {
        if value < SUB {
            return value as usize;
        }
        let exponent = 63 - value.leading_zeros() - SUB_BITS;
        let sub = (value >> exponent) - SUB;
        (((u64::from(exponent) + 1) << SUB_BITS) + sub).min(BUCKETS as u64 - 1) as usize
    }

    /// The middle of a bucket.
    fn value(index: usize) -> u64 {
        let index = index as u64;
        if index < SUB {
            return index;
        }
        let exponent = (index >> SUB_BITS) - 1;
        let low = (SUB + (index & (SUB - 1))) << exponent;
        low + ((1 << exponent) >> 1)
    }

    pub(crate) fn record(&self, value: u64) {
        self.buckets[Self::index(value)].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds this histogram's counts to `into`, which has [`Histogram::buckets`] entries.
    pub(crate) fn add_to(&self, into: &mut [u64]) {
        for (sum, bucket) in into.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }

    pub(crate) fn buckets() -> usize {
        BUCKETS
    }

    /// The smallest value that at least the share `quantile` of `counts` does not exceed; 0 for an empty histogram.
    pub(crate) fn quantile(counts: &[u64], quantile: f64) -> u64 {
        let total: u64 = counts.iter().sum();
        let rank = ((total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::value(index);
            }
        }
        0
    }
}

/// Time of a read in the queues of the engine and in the device, for one lane.
#[derive(Debug)]
pub(crate) struct LaneTimes {
    /// From the caller's push to the hand-over to the kernel.
    pub(crate) queue_ns: Histogram,
    /// From the hand-over to the completion.
    pub(crate) device_ns: Histogram,
}

impl LaneTimes {
    pub(crate) fn new() -> LaneTimes {
        LaneTimes {
            queue_ns: Histogram::new(),
            device_ns: Histogram::new(),
        }
    }
}

/// Sums of one ring. Written by the loop (and by inline readers), read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Reads completed by the device, retries included.
    pub(crate) ios: AtomicU64,
    /// Bytes that those reads returned.
    pub(crate) bytes: AtomicU64,
    /// Of `ios`, those of the prefetch lane.
    pub(crate) prefetch_ios: AtomicU64,
    /// Of `bytes`, those of the prefetch lane.
    pub(crate) prefetch_bytes: AtomicU64,
    /// Writes completed by the device, repeated ones included; not among `ios`.
    pub(crate) writes: AtomicU64,
    /// Bytes that those writes stored.
    pub(crate) written_bytes: AtomicU64,
    /// Reads through a registered buffer.
    pub(crate) fixed_ios: AtomicU64,
    /// Reads made by a caller itself.
    pub(crate) inline_ios: AtomicU64,
    /// Reads and writes issued again after a transient error or a short answer.
    pub(crate) retries: AtomicU64,
    /// Reads and writes issued again to find the bad pages in a failed range.
    pub(crate) bisections: AtomicU64,
    /// Pages that were not what their checksum says.
    pub(crate) checksum_mismatches: AtomicU64,
    /// Pages that failed.
    pub(crate) failed_slots: AtomicU64,
    /// Batches handed to the kernel that held at least one read or write.
    pub(crate) batches: AtomicU64,
    /// Sum over those batches of reads and writes in flight after the hand-over.
    pub(crate) depth_sum: AtomicU64,
    /// Times the loop was woken by a system call of a caller.
    pub(crate) wakeups: AtomicU64,
    /// The depth that was found by measuring; 0 before, and where the host has set it.
    pub(crate) depth_found: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Histogram;

    #[test]
    fn a_quantile_is_within_a_thirty_second_of_the_exact_one() {
        let histogram = Histogram::new();
        let mut values: Vec<u64> = (0..10_000u64).map(|i| i * i * 37 % 9_000_001).collect();
        for &value in &values {
            histogram.record(value);
        }
        values.sort_unstable();
        let mut counts = vec![0; Histogram::buckets()];
        histogram.add_to(&mut counts);
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            let exact = values[(values.len() as f64 * quantile) as usize - 1] as f64;
            let got = Histogram::quantile(&counts, quantile) as f64;
            assert!(
                (got - exact).abs() <= exact / 32.0 + 1.0,
                "{quantile}: {got} for {exact}"
            );
        }
    }

    #[test]
    fn the_longest_value_counts_in_the_last_bucket() {
        let histogram = Histogram::new();
        histogram.record(u64::MAX);
        histogram.record(0);
        let mut counts = vec![0; Histogram::buckets()];
        histogram.add_to(&mut counts);
        assert_eq!(counts.iter().sum::<u64>(), 2);
        assert_eq!(counts[0], 1);
    }
}
