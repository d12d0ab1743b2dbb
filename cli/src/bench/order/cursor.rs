//! The place in one file, moved as fio moves it.

use crate::bench::load::Load;
use crate::bench::region::Region;
use crate::content::splitmix64;
use crate::job::{BlockSizes, Rw};

use super::permutation::{Permutation, Taken};
use super::{Draws, Passes, Place};

/// All places but `begin` count from the region's.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    begin: u64,
    bytes: u64,
    file_bytes: u64,
    unit_bytes: u64,
    stride: u64,
    passes: Passes,
    only_file: bool,
    /// Where the last read began and ended.
    start: u64,
    end: u64,
    /// Nothing is read here before the next pass.
    pub(super) done: bool,
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
    pub(super) fn new(load: &Load, region: &Region, passes: Passes, seed: u64) -> Cursor {
        let unit_bytes = load.sizes.min();
        let units = (region.bytes / unit_bytes).max(1);
        let repeats = load.norandommap && passes != Passes::EachOnce;
        let kind = match load.rw {
            Rw::Read => Kind::Sequential,
            Rw::RandRead if repeats => Kind::Random { seed, drawn: 0 },
            Rw::RandRead => Kind::Permuted(
                Permutation::new(units, seed),
                load.sizes.are_mixed().then(|| Taken::new(units)),
            ),
        };
        Cursor {
            begin: region.offset,
            bytes: region.bytes,
            file_bytes: region.end,
            unit_bytes,
            stride: load.pattern.stride,
            passes,
            only_file: load.files.len() == 1,
            start: 0,
            end: 0,
            done: false,
            kind,
        }
    }

    /// As before the first read.
    pub(super) fn begin_anew(&mut self) {
        (self.start, self.end, self.done) = (0, 0, false);
        match &mut self.kind {
            Kind::Sequential => {}
            Kind::Random { drawn, .. } => *drawn = 0,
            Kind::Permuted(permutation, taken) => {
                permutation.begin_anew();
                taken.iter_mut().for_each(Taken::clear);
            }
        }
    }

    /// The next read's place in the file and its length; `None` where the file is done.
    pub(super) fn next(
        &mut self,
        place: Place,
        sizes: &BlockSizes,
        draws: &mut Draws,
    ) -> Option<(u64, u64)> {
        let behind = match place {
            Place::Drawn => None,
            Place::Following => self.following(),
            Place::Same => Some(self.start),
        };
        let left = |at: u64| self.bytes.checked_sub(at).filter(|&left| left > 0);
        let (at, bytes) = match (behind, &mut self.kind) {
            // Neither looked up in the map nor put into it, as in fio.
            (Some(at), _) => (at, fitting(sizes, left(at)?, draws)?),
            (None, Kind::Sequential) => return None,
            (None, Kind::Random { seed, drawn }) => {
                *drawn += 1;
                let units = (self.bytes / self.unit_bytes).max(1);
                let at = splitmix64(*seed ^ *drawn) % units * self.unit_bytes;
                (at, fitting(sizes, left(at)?, draws)?)
            }
            (None, Kind::Permuted(permutation, taken)) => {
                let unit = permutation.next_free(taken, self.passes == Passes::Endless)?;
                let at = unit * self.unit_bytes;
                let bytes = fitting(sizes, left(at)?, draws)?;
                let free = taken.as_mut().map_or(u64::MAX, |taken| {
                    taken.take(unit, bytes.div_ceil(self.unit_bytes)) * self.unit_bytes
                });
                (at, bytes.min(free))
            }
        };
        // With room between its reads the last one may reach beyond the region, not beyond the file.
        if self.begin + at + bytes > self.file_bytes {
            return None;
        }
        (self.start, self.end) = (at, at + bytes);
        Some((self.begin + at, bytes))
    }

    /// Behind the last read; `None` where nothing is behind it.
    fn following(&mut self) -> Option<u64> {
        if self.end >= self.bytes {
            match self.passes {
                Passes::Endless if self.only_file => self.end = 0,
                Passes::EachOnce => return None,
                _ => {}
            }
        }
        if self.begin + self.end >= self.file_bytes {
            return None;
        }
        if self.end == 0 || self.stride == 0 {
            return Some(self.end);
        }
        let at = self.end + self.stride;
        // fio compares a place in the region with the length of the file, and then begins not at
        // the region's first byte but as far behind it as that is from the file's.
        Some(if at >= self.file_bytes {
            self.begin
        } else {
            at
        })
    }
}

/// A size that fits into what is left; fio draws until one does, and does not look at what is left
/// where there is but one.
fn fitting(sizes: &BlockSizes, left: u64, draws: &mut Draws) -> Option<u64> {
    if let BlockSizes::One(bytes) = sizes {
        return Some(*bytes);
    }
    // A smallest size of little weight could take for ever.
    let drawn = (0..64)
        .map(|_| sizes.of(draws.draw()))
        .find(|&bytes| bytes <= left);
    drawn.or_else(|| Some(sizes.min()).filter(|&bytes| bytes <= left))
}
