//! The order of reads of one host thread: which file, where, and how many bytes.
//!
//! Places are drawn in units of the smallest block. Without `norandommap` nothing is read twice
//! before everything was read once, so no cache can hit by chance.

use crate::content::splitmix64;

use super::load::Load;
use crate::job::{BlockSizes, Rw};

/// One read of the file with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) file: usize,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The reads of one host thread, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    cursors: Vec<Cursor>,
    sizes: BlockSizes,
    random_percent: u32,
    random_file: bool,
    /// After its last block a file begins anew.
    endless: bool,
    turn: usize,
    draws: Draws,
}

impl Order {
    pub(crate) fn new(load: &Load, job: u32) -> Order {
        Order::of(load, job, load.norandommap, load.time_based)
    }

    /// The order of the first thread, without repeats even where the job allows them, once.
    pub(crate) fn each_once(load: &Load) -> Order {
        Order::of(load, 0, false, false)
    }

    fn of(load: &Load, job: u32, norandommap: bool, endless: bool) -> Order {
        let seed = splitmix64(load.seed ^ (u64::from(load.first_thread + job) << 32));
        let cursor = |(number, bytes)| {
            let seed = splitmix64(seed.wrapping_add(number));
            Cursor::new(load, bytes, norandommap, seed)
        };
        Order {
            cursors: (0..)
                .zip(load.files.iter().map(|file| file.bytes))
                .map(cursor)
                .collect(),
            sizes: load.sizes.clone(),
            random_percent: load.random_percent,
            random_file: load.random_file,
            endless,
            turn: 0,
            draws: Draws { seed, drawn: 0 },
        }
    }

    /// The next read; `None` when every file was read and none begins anew.
    pub(crate) fn next(&mut self) -> Option<Read> {
        let files = self.cursors.len();
        let first = match self.random_file && files > 1 {
            true => self.draws.below(files as u64) as usize,
            false => self.turn,
        };
        // Files that are done are passed over.
        for file in (first..files).chain(0..first) {
            let cursor = self.cursors.get_mut(file)?;
            let follow = self.random_percent < 100
                && self.draws.below(100) >= u64::from(self.random_percent);
            if let Some((offset, bytes)) =
                cursor.next(follow, self.endless, &self.sizes, &mut self.draws)
            {
                self.turn = (file + 1) % files;
                return Some(Read {
                    file,
                    offset,
                    bytes,
                });
            }
        }
        None
    }
}

/// Random numbers that depend on nothing but the seed.
#[derive(Clone, Debug)]
struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    fn draw(&mut self) -> u32 {
        self.drawn += 1;
        (splitmix64(self.seed ^ self.drawn) >> 32) as u32
    }

    fn below(&mut self, limit: u64) -> u64 {
        (u64::from(self.draw()) * limit) >> 32
    }
}

/// The place in one file.
#[derive(Clone, Debug)]
struct Cursor {
    bytes: u64,
    unit_bytes: u64,
    /// Where the last read ended.
    position: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Sequential,
    /// With repeats (`norandommap`).
    Random {
        seed: u64,
        drawn: u64,
    },
    /// Each unit once.
    Permuted(Permutation, Option<Taken>),
}

impl Cursor {
    fn new(load: &Load, bytes: u64, norandommap: bool, seed: u64) -> Cursor {
        let unit_bytes = load.sizes.min();
        let units = (bytes / unit_bytes).max(1);
        let kind = match load.rw {
            Rw::Read => Kind::Sequential,
            Rw::RandRead if norandommap => Kind::Random { seed, drawn: 0 },
            Rw::RandRead => Kind::Permuted(
                Permutation::new(units, seed),
                load.sizes.are_mixed().then(|| Taken::new(units)),
            ),
        };
        Cursor {
            bytes,
            unit_bytes,
            position: 0,
            kind,
        }
    }

    /// The next offset and length; `follow` asks a random job for what follows its last read.
    fn next(
        &mut self,
        follow: bool,
        endless: bool,
        sizes: &BlockSizes,
        draws: &mut Draws,
    ) -> Option<(u64, u64)> {
        let left = |offset| self.bytes.saturating_sub(offset);
        let (offset, bytes) = match &mut self.kind {
            Kind::Sequential => {
                if left(self.position) < self.unit_bytes {
                    self.position = endless.then_some(0)?;
                }
                let room = self.bytes.saturating_sub(self.position);
                (self.position, fitting(sizes, room, draws))
            }
            // Neither looked up in the map nor put into it, as in fio.
            _ if follow && left(self.position) >= self.unit_bytes => {
                (self.position, fitting(sizes, left(self.position), draws))
            }
            Kind::Random { seed, drawn } => {
                *drawn += 1;
                let units = (self.bytes / self.unit_bytes).max(1);
                let offset = splitmix64(*seed ^ *drawn) % units * self.unit_bytes;
                (offset, fitting(sizes, left(offset), draws))
            }
            Kind::Permuted(permutation, taken) => {
                let unit = permutation.next_free(taken, endless)?;
                let offset = unit * self.unit_bytes;
                let bytes = fitting(sizes, left(offset), draws);
                let free = taken.as_mut().map_or(u64::MAX, |taken| {
                    taken.take(unit, bytes.div_ceil(self.unit_bytes)) * self.unit_bytes
                });
                (offset, bytes.min(free))
            }
        };
        self.position = offset + bytes;
        Some((offset, bytes))
    }
}

/// A size that fits into what is left; fio draws until one does.
fn fitting(sizes: &BlockSizes, left: u64, draws: &mut Draws) -> u64 {
    if let BlockSizes::One(bytes) = sizes {
        return *bytes;
    }
    // A smallest size of little weight could take for ever.
    (0..64)
        .map(|_| sizes.of(draws.draw()))
        .find(|&bytes| bytes <= left)
        .unwrap_or_else(|| sizes.min())
}

/// All numbers below `units`, each once: a Feistel network over the next even power of two, walked
/// until it lands inside.
#[derive(Clone, Debug)]
struct Permutation {
    units: u64,
    seed: u64,
    half_bits: u32,
    index: u64,
}

impl Permutation {
    fn new(units: u64, seed: u64) -> Permutation {
        let bits = u64::BITS - (units - 1).leading_zeros();
        Permutation {
            units,
            seed,
            half_bits: bits.div_ceil(2).max(1),
            index: 0,
        }
    }

    /// The next number not taken; after the last one in another order, if endless.
    fn next_free(&mut self, taken: &mut Option<Taken>, endless: bool) -> Option<u64> {
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
struct Taken {
    bits: Vec<u64>,
    units: u64,
}

impl Taken {
    fn new(units: u64) -> Taken {
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
    fn take(&mut self, unit: u64, wanted: u64) -> u64 {
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

    fn clear(&mut self) {
        self.bits.fill(0);
    }
}

#[cfg(test)]
mod tests;
