//! The three ways of reading that the demo shows, as a pure function of a read's number.

use std::ops::Range;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::content::splitmix64;

const MIB: u64 = 1 << 20;

/// A way of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// 4 KiB at random places: embedding rows, hash-grid cells.
    Random,
    /// The file from start to end in 1 MiB reads: the layers of a dense model.
    Sequential,
    /// Bursts of 24 × 1 MiB at random places, all needed together: the experts of a token.
    Expert,
}

impl Workload {
    pub(crate) const ALL: [Workload; 3] =
        [Workload::Random, Workload::Sequential, Workload::Expert];

    /// Reads of one burst.
    pub(crate) const BURST: u64 = 24;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Random => "random 4 KiB",
            Workload::Sequential => "sequential 1 MiB",
            Workload::Expert => "bursts of 24 × 1 MiB",
        }
    }

    pub(crate) fn argument(self) -> &'static str {
        match self {
            Workload::Random => "random",
            Workload::Sequential => "sequential",
            Workload::Expert => "expert",
        }
    }

    pub(crate) fn read_bytes(self) -> u64 {
        match self {
            Workload::Random => 4096,
            Workload::Sequential | Workload::Expert => MIB,
        }
    }

    /// Reads that the engine keeps in flight: about the knee of an NVMe disk for small reads, and
    /// enough large ones that the disk is never without work.
    pub(crate) fn in_flight(self) -> u64 {
        match self {
            Workload::Random => 32,
            Workload::Sequential => 8,
            Workload::Expert => Self::BURST,
        }
    }

    /// The range of read number `index` in a file of `len` bytes; `None` after the last one.
    pub(crate) fn range(self, index: u64, len: u64) -> Option<Range<u64>> {
        let bytes = self.read_bytes();
        if self == Workload::Sequential {
            let start = index.checked_mul(bytes).filter(|&start| start < len)?;
            // The last read ends where the file does, at whatever odd length.
            return Some(start..(start + bytes).min(len));
        }
        let places = len / bytes;
        let place = splitmix64(index ^ (bytes << 32)).checked_rem(places)?;
        Some(place * bytes..(place + 1) * bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_covers_an_odd_file_exactly() {
        let len = 3 * MIB + 5;
        let ranges: Vec<_> = (0..10)
            .map_while(|i| Workload::Sequential.range(i, len))
            .collect();
        assert_eq!(ranges.len(), 4);
        assert_eq!(ranges[3], 3 * MIB..len);
    }

    #[test]
    fn random_reads_are_aligned_and_inside() {
        for workload in [Workload::Random, Workload::Expert] {
            for index in 0..1000 {
                let range = workload.range(index, 10 * MIB + 77).expect("never ends");
                assert!(range.end <= 10 * MIB && range.start % workload.read_bytes() == 0);
            }
            assert_eq!(workload.range(0, 100), None);
        }
    }
}
