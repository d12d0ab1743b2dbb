//! The sizes of a job's reads: `bs`, `bsrange` or `bssplit`, drawn as fio draws them.

use std::fmt;

use crate::size::Size;

/// What sizes the reads of a job have; each is a multiple of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlockSizes {
    One(u64),
    /// Uniform between two sizes.
    Range {
        min: u64,
        max: u64,
    },
    /// Sizes with their weights in percent, and the option's own text.
    Split {
        entries: Vec<(u64, u32)>,
        text: String,
    },
}

impl BlockSizes {
    /// The smallest size: fio's unit of offsets.
    pub(crate) fn min(&self) -> u64 {
        match self {
            BlockSizes::One(bytes) | BlockSizes::Range { min: bytes, .. } => *bytes,
            BlockSizes::Split { entries, .. } => {
                entries.iter().map(|&(bytes, _)| bytes).min().unwrap_or(512)
            }
        }
    }

    pub(crate) fn max(&self) -> u64 {
        match self {
            BlockSizes::One(bytes) | BlockSizes::Range { max: bytes, .. } => *bytes,
            BlockSizes::Split { entries, .. } => {
                entries.iter().map(|&(bytes, _)| bytes).max().unwrap_or(512)
            }
        }
    }

    pub(crate) fn are_mixed(&self) -> bool {
        self.min() != self.max()
    }

    /// The largest power of two that all sizes are multiples of.
    pub(crate) fn granule(&self) -> u64 {
        let bits = match self {
            BlockSizes::One(bytes) => *bytes,
            BlockSizes::Range { min, max } => min | max,
            BlockSizes::Split { entries, .. } => {
                entries.iter().fold(0, |bits, &(bytes, _)| bits | bytes)
            }
        };
        1 << bits.trailing_zeros().min(62)
    }

    /// The size that the random number `draw` stands for, before it is fitted to a place.
    ///
    /// Not every size of a range or split comes out as it was written: fio rounds down to a
    /// multiple of the smallest, and takes no more than the largest.
    pub(crate) fn of(&self, draw: u32) -> u64 {
        let (min, max) = (self.min(), self.max());
        let bytes = match self {
            BlockSizes::One(bytes) => return *bytes,
            BlockSizes::Range { min, max } => {
                min + ((u128::from(*max) * u128::from(draw)) >> u32::BITS) as u64
            }
            BlockSizes::Split { entries, .. } => {
                let percent = ((u64::from(draw) * 100) >> u32::BITS) as u32;
                let mut below = 0;
                let mut weighted = entries.iter().filter(|(_, weight)| *weight > 0);
                let chosen = weighted.clone().find(|(_, weight)| {
                    below += weight;
                    percent < below
                });
                // What the weights leave open goes to the last of them.
                chosen
                    .or(weighted.next_back())
                    .map_or(min, |&(bytes, _)| bytes)
            }
        };
        (bytes - bytes % min).clamp(min, max)
    }
}

/// For people: `4 KiB`, `4 KiB to 64 KiB`, `4k/50:64k/50`.
impl fmt::Display for BlockSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockSizes::One(bytes) => write!(f, "{}", Size(*bytes)),
            BlockSizes::Range { min, max } => write!(f, "{} to {}", Size(*min), Size(*max)),
            BlockSizes::Split { text, .. } => write!(f, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// How many of a thousand evenly spaced draws give each size, in units of 4 KiB.
    fn per_mille(sizes: &BlockSizes) -> Vec<(u64, u32)> {
        let mut counts = BTreeMap::new();
        for n in 0..1000_u64 {
            let draw = (n << 32).div_ceil(1000) as u32;
            *counts.entry(sizes.of(draw) >> 12).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }

    #[test]
    fn a_range_is_uniform_where_its_ends_are_powers_of_two() {
        let sizes = BlockSizes::Range {
            min: 16 << 10,
            max: 64 << 10,
        };
        assert_eq!(
            per_mille(&sizes),
            [(4, 250), (8, 250), (12, 250), (16, 250)]
        );
    }

    #[test]
    fn an_uneven_range_is_rounded_and_cut_as_fio_does() {
        // fio 3.33 with bsrange=24k-64k reads 39 % 24k, 36 % 48k and 24 % 64k.
        let sizes = BlockSizes::Range {
            min: 24 << 10,
            max: 64 << 10,
        };
        assert_eq!(per_mille(&sizes), [(6, 375), (12, 375), (16, 250)]);
    }

    #[test]
    fn a_split_gives_its_weights_and_the_rest_to_the_last() {
        let split = |entries: &[(u64, u32)]| BlockSizes::Split {
            entries: entries.iter().map(|&(k, w)| (k << 10, w)).collect(),
            text: String::new(),
        };
        assert_eq!(
            per_mille(&split(&[(4, 50), (64, 50)])),
            [(1, 500), (16, 500)]
        );
        // fio 3.33 with bssplit=4k/30:64k/30 reads 32 % 4k and 68 % 64k.
        assert_eq!(
            per_mille(&split(&[(4, 30), (64, 30)])),
            [(1, 300), (16, 700)]
        );
        assert_eq!(per_mille(&split(&[(4, 100), (8, 0)])), [(1, 1000)]);
        assert_eq!(split(&[(4, 50), (64, 50)]).granule(), 4096);
    }
}
