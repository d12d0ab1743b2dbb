//! Writing pages of a file through the pool: the bytes are put together in the frame, and the frame goes to the device as
//! reads come from it. Afterwards the page is resident like any other.

use super::chains::Chains;
use super::field::FieldShared;
use crate::error::{Error, Result};
use crate::ring::fault::Fault;
use crate::ring::lane::{Lane, Request};
use crate::tiers::frame::DIRECTORY_UNITS;
use crate::tiers::pool::{Claim, Purpose};
use crate::tiers::wait::BatchWakes;
use std::mem::ManuallyDrop;

#[cfg(test)]
mod tests;

/// A page on its way to the device. Its frame stays pinned until [`FieldShared::finish_write`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    unit: u64,
    frame: u32,
}

impl FieldShared {
    /// Writes a page that is not in the pool: `fill` gets its bytes, which hold anything, sets all of them, and returns how
    /// many are to be written, from the first on; the file has zeros in place of the others. Of a file opened for reading
    /// only nothing can be written: the kernel says so.
    ///
    /// It returns as soon as the write is queued; many can be under way, as many as the pool has frames. Each must be
    /// finished or forgotten ([`FieldShared::finish_write`], [`FieldShared::forget_write`]), or its frame stays pinned.
    ///
    /// # Errors
    /// [`Error::PoolPinned`] where writes and views leave no frame: finish some. [`Error::Write`] with [`Fault::Present`]
    /// where the page was read or written before and is in the pool still. [`Error::OutOfBounds`], [`Error::Forked`].
    pub(crate) fn write_unit(
        &self,
        unit: u64,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Writing> {
        self.ready()?;
        self.check_unit(unit)?;
        let claimed = self.claim_to_write(unit)?;
        let frame = claimed.frame;
        let read = self.request(unit, Lane::Demand, self.core.now_ns(), 0);
        let bytes = self.pool().fill(frame, read.bytes as usize, fill);
        let bytes = (bytes as u32).min(read.bytes);
        let request = Request {
            bytes,
            expected: bytes,
            checked: false,
            write: true,
            ..read
        };
        let mut chains = Chains::new();
        chains.link(&self.pool().slots, self, unit, frame, request);
        claimed.submitted();
        self.submit(Lane::Demand, &chains);
        Ok(Writing { unit, frame })
    }

    /// Waits until the device has taken the page, and gives its frame back to the pool. Success makes the page resident;
    /// after an error it is in no frame.
    ///
    /// A `read_deadline` does not count: bulk writes wait for each other. For the same reason the loop is not asked to
    /// report each completion at once.
    ///
    /// # Errors
    /// [`Error::Write`]. [`Error::Busy`] where too many callers wait: the write goes on, and can be finished later.
    pub(crate) fn finish_write(&self, writing: Writing) -> Result<()> {
        let Writing { unit, frame } = writing;
        self.ready()?;
        let outcome = loop {
            if let Some(outcome) =
                self.wait_one(frame, None, |field| field.pool().outcome(frame))?
            {
                break outcome;
            }
        };
        self.pool().unpin(frame);
        outcome.map_err(|fault| self.write_error(unit, fault))
    }

    /// Gives the frame of a write back that nobody waits for any more. The write goes on.
    pub(crate) fn forget_write(&self, writing: Writing) {
        if self.ready().is_ok() {
            self.pool().unpin(writing.frame);
        }
    }

    /// Waits until what was written would survive a loss of power.
    ///
    /// # Errors
    /// [`Error::Os`]: then any of it may be lost (fsync(2)).
    pub(crate) fn sync(&self) -> Result<()> {
        self.ready()?;
        for member in self.members.iter().flatten() {
            let synced = member.file.sync();
            synced.map_err(|e| Error::os(format!("syncing {}", member.file.path.display()), &e))?;
        }
        Ok(())
    }

    fn check_unit(&self, unit: u64) -> Result<()> {
        let len = self.geometry.len;
        let of_directory = self.array.is_some() && unit >= DIRECTORY_UNITS;
        if of_directory || len > 0 && unit <= self.geometry.unit(len - 1) {
            return Ok(());
        }
        let page = self.core.config.page_size;
        Err(Error::OutOfBounds {
            path: self.path.clone(),
            start: unit.saturating_mul(page),
            end: unit.saturating_add(1).saturating_mul(page),
            len,
        })
    }

    fn claim_to_write(&self, unit: u64) -> Result<Claimed<'_>> {
        let mut give_up_ns = None;
        loop {
            let key = self.key(unit);
            let claim = self.pool().claim(key, self.geometry.span, Purpose::Demand);
            match claim {
                Ok(Claim::Owner(frame)) => return Ok(Claimed { field: self, frame }),
                Ok(Claim::Hit(frame) | Claim::Joined(frame)) => {
                    self.pool().unpin(frame);
                    return Err(self.write_error(unit, Fault::Present));
                }
                Err(exhausted) => self.make_room(exhausted, 1, &mut give_up_ns)?,
            }
        }
    }

    fn write_error(&self, unit: u64, fault: Fault) -> Error {
        let member = self.member_of(unit);
        Error::Write {
            path: member.map_or(&self.path, |m| &m.file.path).clone(),
            page: unit,
            offset: match self.array.as_deref() {
                Some(array) => array.offset_of(unit).unwrap_or(0),
                None => self.geometry.bytes(unit).start,
            },
            fault,
        }
    }
}

/// A claimed frame that is not submitted; given up when it is dropped, as where `fill` panics: whoever joined it reads the
/// page instead.
struct Claimed<'f> {
    field: &'f FieldShared,
    frame: u32,
}

impl Claimed<'_> {
    /// The frame is the device's from now on.
    fn submitted(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let pool = self.field.pool();
        let mut batches = BatchWakes::default();
        pool.complete(self.frame, Err(Fault::Closed), &mut batches);
        batches.flush();
        pool.unpin(self.frame);
    }
}
