//! The order of reads of one host thread: which file, where, and how many bytes.
//!
//! Places are drawn in units of the smallest block. Without `norandommap` nothing is drawn twice
//! before everything was drawn once, so no cache can hit by chance.

mod cursor;
mod permutation;

use crate::content::splitmix64;

use super::load::Load;
use crate::job::{BlockSizes, Rw};
use cursor::Cursor;

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
    rw: Rw,
    sizes: BlockSizes,
    random_percent: u32,
    random_file: bool,
    /// Of so many reads the first is drawn, the others follow it, or repeat it.
    run: u32,
    identical: bool,
    /// Reads until the next one that is drawn.
    until_drawn: u32,
    passes: Passes,
    turn: usize,
    draws: Draws,
}

/// How often the files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    /// As fio without `time_based`: until nothing is behind the last read or left to be drawn.
    One,
    /// As fio with it.
    Endless,
    /// Each block is drawn once, whatever the job says, and what follows ends nothing.
    EachOnce,
}

/// Where the next read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Drawn,
    Following,
    Same,
}

impl Order {
    pub(crate) fn new(load: &Load, job: u32) -> Order {
        match load.time_based {
            true => Order::of(load, job, Passes::Endless),
            false => Order::of(load, job, Passes::One),
        }
    }

    /// The order of the first thread, without repeats even where the job allows them, once.
    pub(crate) fn each_once(load: &Load) -> Order {
        Order::of(load, 0, Passes::EachOnce)
    }

    fn of(load: &Load, job: u32, passes: Passes) -> Order {
        let seed = splitmix64(load.seed ^ (u64::from(load.first_thread + job) << 32));
        let cursor = |(number, region)| {
            let seed = splitmix64(seed.wrapping_add(number));
            Cursor::new(load, region, passes, seed)
        };
        Order {
            cursors: (0..).zip(&load.files).map(cursor).collect(),
            rw: load.rw,
            sizes: load.sizes.clone(),
            random_percent: load.random_percent,
            random_file: load.random_file,
            run: load.pattern.run,
            identical: load.identical,
            until_drawn: 1,
            passes,
            turn: 0,
            draws: Draws { seed, drawn: 0 },
        }
    }

    /// The next read; `None` when every file is done and none begins anew.
    pub(crate) fn next(&mut self) -> Option<Read> {
        let read = self.of_pass();
        if read.is_some() || self.passes != Passes::Endless {
            return read;
        }
        self.begin_anew();
        self.of_pass()
    }

    /// Begins another pass, with the same random numbers (`randrepeat`), unless blocks are read once
    /// only: then false.
    pub(super) fn begin_anew(&mut self) -> bool {
        if self.passes == Passes::EachOnce {
            return false;
        }
        self.cursors.iter_mut().for_each(Cursor::begin_anew);
        self.draws.drawn = 0;
        true
    }

    fn of_pass(&mut self) -> Option<Read> {
        let files = self.cursors.len();
        let first = match self.random_file && files > 1 {
            true => self.draws.below(files as u64) as usize,
            false => self.turn,
        };
        for file in (first..files).chain(0..first) {
            if self.cursors.get(file)?.done {
                continue;
            }
            let place = self.place();
            let cursor = self.cursors.get_mut(file)?;
            if let Some((offset, bytes)) = cursor.next(place, &self.sizes, &mut self.draws) {
                self.turn = (file + 1) % files;
                return Some(Read {
                    file,
                    offset,
                    bytes,
                });
            }
            cursor.done = true;
        }
        None
    }

    /// Runs are counted over all files, so that files in turn share one.
    fn place(&mut self) -> Place {
        if self.rw == Rw::Read {
            return Place::Following;
        }
        self.until_drawn -= 1;
        if self.until_drawn > 0 {
            return match self.identical {
                true => Place::Same,
                false => Place::Following,
            };
        }
        self.until_drawn = self.run;
        match self.random_percent < 100 && self.draws.below(100) >= u64::from(self.random_percent) {
            true => Place::Following,
            false => Place::Drawn,
        }
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

#[cfg(test)]
mod tests;
