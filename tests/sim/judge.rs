//! Whether an error is one that the disk gave a reason for.

use crate::field_model::{FieldModel, FileModel};
use ringfield::sim::{Answered, Disk};
use ringfield::{Error, Fault};
use std::ops::Range;
use std::time::Duration;

/// A transient error is tried this often before it is one.
const ATTEMPTS: usize = 10;
const EAGAIN: i32 = 11;
const EINTR: i32 = 4;
const EIO: i32 = 5;

/// What an error came to and in which circumstances.
pub(crate) struct Case<'c> {
    pub(crate) disk: &'c Disk,
    pub(crate) file: &'c FileModel,
    pub(crate) field: &'c FieldModel,
    pub(crate) range: &'c Range<u64>,
    pub(crate) frames: u64,
    pub(crate) deadline: Option<Duration>,
    /// How long ago the read was first polled.
    pub(crate) waited: Duration,
    /// There are few places for waiting reads.
    pub(crate) few_waiters: bool,
    /// The loop has panicked.
    pub(crate) broken: bool,
}

impl Case<'_> {
    /// Panics where the error has no reason.
    pub(crate) fn judge(&self, error: &Error) {
        let (file, field, range) = (self.file, self.field, self.range);
        let units = field.units(range);
        let need = (units.end - units.start) * field.span();
        let justified = match error {
            Error::OutOfBounds {
                start, end, len, ..
            } => {
                (*start, *end, *len) == (range.start, range.end, field.len)
                    && (range.start > range.end || range.end > field.len)
            }
            Error::RangeTooLarge { need: n, frames } => {
                *n == need && *frames == self.frames && need > self.frames
            }
            Error::PoolPinned {
                need: n, pinned, ..
            } => {
                // Extents need adjacent frames, which a few pins can deny: those of others, or of an extent of the same
                // read that lies in the middle.
                let apart = field.span() > 1 && (*pinned > 0 || need > field.span());
                *n == need && (apart || need + pinned > self.frames || self.broken)
            }
            Error::Busy { .. } => self.few_waiters,
            Error::TimedOut { page, deadline, .. } => {
                Some(*deadline) == self.deadline && self.waited >= *deadline && units.contains(page)
            }
            Error::FileChanged { path, .. } => {
                path.to_str() == Some(&file.name) && file.is_changed()
            }
            Error::Read {
                path,
                page,
                offset,
                fault,
                ..
            } => {
                path.to_str() == Some(&file.name)
                    && units.contains(page)
                    && *offset == field.bytes(*page).start
                    && self.faulted(*page, *fault)
            }
            _ => false,
        };
        assert!(
            justified,
            "nothing justifies {error:?} for {} {range:?} (units {units:?}, {need} frames of {}), after {:?}; answers: {:#?}",
            file.name,
            self.frames,
            self.waited,
            self.answers(units.clone()),
        );
    }

    /// True where the disk answered a read inside this page so.
    fn faulted(&self, page: u64, fault: Fault) -> bool {
        let reads = self.field.reads(page);
        let inside = |a: &&Answered| a.offset + u64::from(a.bytes) <= reads.end;
        // Answers after which the same bytes were asked for again: each is one attempt.
        let is_stalled = |a: &&Answered| {
            matches!(-a.result, EAGAIN | EINTR)
                || a.result > 0 && (a.result as u64) < self.field.align && a.result < a.bytes as i32
        };
        let answers = self.answers(page..page + 1);
        let stalled = || answers.iter().filter(is_stalled);
        match fault {
            Fault::LoopFailed => self.broken,
            Fault::Os(EIO) => answers.iter().filter(inside).any(|a| a.result == -EIO),
            Fault::Os(EAGAIN | EINTR) => stalled().filter(inside).count() >= ATTEMPTS,
            Fault::Short(got) => {
                // Nothing at all once, or too little to go on from every time. A file that ends here does so for what
                // lies behind this page, too.
                let ends = |a: &&Answered| {
                    a.is_fault()
                        && a.result >= 0
                        && a.offset + a.result as u64 == reads.start + u64::from(got)
                };
                let nothing = answers.iter().filter(ends).any(|a| a.result == 0);
                nothing || answers.iter().any(|a| ends(&a)) && stalled().count() >= ATTEMPTS
            }
            _ => false,
        }
    }

    /// Answers to reads that began in these units.
    fn answers(&self, units: Range<u64>) -> Vec<Answered> {
        if units.is_empty() {
            return Vec::new();
        }
        let reads = self.field.reads(units.start).start..self.field.reads(units.end - 1).end;
        let mut log = self.disk.log();
        log.retain(|a| *a.file == *self.file.name && reads.contains(&a.offset));
        log
    }
}
