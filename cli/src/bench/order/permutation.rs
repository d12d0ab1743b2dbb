//! Each block of a file once, in a random order.

use crate::content::splitmix64;

/// All numbers below `units`, each once: a Feistel network over the next even power of two, walked
/// until it lands inside.
#[derive(Clone, Debug)]
pub(super) struct Permutation {
    units: u64,
    first_seed: u64,
    seed: u64,
    half_bits: u32,
    index: u64,
}

impl Permutation {
    pub(super) fn new(units: u64, seed: u64) -> Permutation {
        let bits = u64::BITS - (units - 1).leading_zeros();
        Permutation {
            units,
            first_seed: seed,
            seed,
            half_bits: bits.div_ceil(2).max(1),
            index: 0,
        }
    }

    /// The next number not taken; after the last one in another order, if endless.
    pub(super) fn next_free(&mut self, taken: &mut Option<Taken>, endless: bool) -> Option<u64> {
        loop {
            if self.index == self.units {
                if !endless {
                    return None;
                }
                self.index = 0;
                self.seed = self.seed.wrapping_add(1);
                taken.iter_mut().for_each(Taken::clear);
            }
            let mut unit = self.feistel(self.index);
            // At most three quarters of the network lie outside: four steps on average.
            while unit >= self.units {
                unit = self.feistel(unit);
            }
            self.index += 1;
            if taken.as_ref().is_none_or(|taken| !taken.holds(unit)) {
                return Some(unit);
            }
        }
    }

    /// Gives the same numbers once more.
    pub(super) fn begin_anew(&mut self) {
        (self.index, self.seed) = (0, self.first_seed);
    }

    fn feistel(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for round in 0..4 {
            (left, right) = (
                right,
                left ^ (splitmix64(right ^ self.seed.rotate_left(round * 16)) & mask),
            );
        }
        left << self.half_bits | right
    }
}

/// Which units of a file were read, one bit each.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    bits: Vec<u64>,
    units: u64,
}

impl Taken {
    pub(super) fn new(units: u64) -> Taken {
        let words = usize::try_from(units.div_ceil(64)).unwrap_or(usize::MAX);
        Taken {
            bits: vec![0; words],
            units,
        }
    }

    fn holds(&self, unit: u64) -> bool {
        let word = usize::try_from(unit / 64).ok();
        let word = word.and_then(|word| self.bits.get(word));
        word.is_none_or(|word| word >> (unit % 64) & 1 == 1)
    }

    /// Takes as many of `wanted` units as are free from `unit` on.
    pub(super) fn take(&mut self, unit: u64, wanted: u64) -> u64 {
        let end = (unit + wanted).min(self.units);
        let free = (unit..end).take_while(|&unit| !self.holds(unit)).count() as u64;
        for unit in unit..unit + free {
            let word = usize::try_from(unit / 64).ok();
            if let Some(word) = word.and_then(|word| self.bits.get_mut(word)) {
                *word |= 1 << (unit % 64);
            }
        }
        free
    }

    pub(super) fn clear(&mut self) {
        self.bits.fill(0);
    }
}
