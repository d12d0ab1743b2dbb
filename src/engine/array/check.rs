//! Comparing pages with their checksums, in the thread of whoever waits for them first.

use super::checksum::page_checksum;
use super::directory::Entry;
use super::map::{ArrayMap, EntryPlace};
use crate::engine::chains::Chains;
use crate::engine::claim::ReadOutcome;
use crate::engine::field::FieldShared;
use crate::ring::fault::Fault;
use crate::ring::lane::Lane;
use crate::ring::telemetry::add;
use crate::tiers::wait::BatchWakes;

impl FieldShared {
    /// How the read of a unit ended, whose frame the caller has pinned, and so the directory pages above it; `None` while
    /// it has not. A page that was read and that nobody has checked is checked here.
    pub(crate) fn outcome(&self, unit: u64, frame: u32) -> Option<ReadOutcome> {
        let pool = self.pool();
        if let Some(outcome) = pool.outcome(frame) {
            return Some(outcome);
        }
        let array = self.array.as_deref()?;
        if !pool.is_unchecked(frame) {
            return None;
        }
        let Some(entry) = self.entry(array, unit) else {
            return Some(Err(Fault::Directory));
        };
        if pool.begin_check(frame) {
            self.check(array, unit, frame, entry);
        }
        pool.outcome(frame)
    }

    /// To be called by a waiter that has linked itself to a unit and will be notified: read between its look and the link,
    /// nobody else may be there to check it. Whoever does so, the waiter hears when that is over; where the page cannot be
    /// checked, it hears now.
    pub(crate) fn look_again(&self, unit: u64, frame: u32) {
        let pool = self.pool();
        if pool.is_unchecked(frame) && self.outcome(unit, frame) == Some(Err(Fault::Directory)) {
            let mut batches = BatchWakes::default();
            pool.ops.nudge(pool.frame(frame), &mut batches);
            batches.flush();
        }
    }

    /// The entry of a unit, where the directory page that holds it is resident.
    fn entry(&self, array: &ArrayMap, unit: u64) -> Option<Entry> {
        let (above, index) = match array.entry_of(unit)? {
            EntryPlace::Known(entry) => return Some(entry),
            EntryPlace::In { unit, index } => (unit, index),
        };
        let pool = self.pool();
        let frame = pool.pinned(self.key(above))?;
        // One that others check is not to be believed yet.
        pool.outcome(frame)?.ok()?;
        pool.with_page(frame, |page| Entry::of_page(page, index))?
    }

    /// How many bytes of a unit are to be read: what is stored, where the directory page that says so is resident and
    /// nothing has to be read for it; all of it otherwise.
    pub(crate) fn stored_bytes(&self, array: &ArrayMap, unit: u64) -> u64 {
        let entry = match array.entry_of(unit) {
            None => None,
            Some(EntryPlace::Known(entry)) => Some(entry),
            Some(EntryPlace::In { unit, index }) => {
                let pool = self.pool();
                pool.hit(self.key(unit), 0).and_then(|(frame, _)| {
                    let entry = pool.with_page(frame, |page| Entry::of_page(page, index));
                    pool.unpin(frame);
                    entry?
                })
            }
        };
        entry
            .and_then(|entry| entry.stored(array.page_bytes))
            .unwrap_or(array.page_bytes)
    }

    /// Compares a page that this thread has taken with its entry. What does not fit is read once more.
    fn check(&self, array: &ArrayMap, unit: u64, frame: u32, entry: Entry) {
        let pool = self.pool();
        let started_ns = self.core.now_ns();
        let fits = pool.with_page(frame, |page| {
            if entry.is_absent() {
                return page.iter().all(|&byte| byte == 0);
            }
            let stored = entry
                .stored(array.page_bytes)
                .and_then(|stored| page.get(..stored as usize));
            stored.is_some_and(|stored| {
                page_checksum(stored, &array.id, unit, entry.version()) == entry.checksum
            })
        });
        let fits = fits.unwrap_or(false);
        let shared = self.member_of(unit).map(|member| &member.ring.shared);
        if let Some(shared) = shared {
            let took_ns = self.core.now_ns().saturating_sub(started_ns);
            shared.verify_ns.record(took_ns);
            if !fits {
                add(&shared.counters.checksum_mismatches, 1);
            }
        }
        if fits {
            // Whatever lies in the file behind what is stored.
            if let Some(stored) = entry.stored(array.page_bytes) {
                pool.clear_behind(frame, stored);
            }
            return pool.end_check(frame, Ok(()));
        }
        if pool.read_again(frame) {
            let mut chains = Chains::new();
            let request = self.request(unit, Lane::Demand, self.core.now_ns(), 0);
            chains.link(&pool.slots, self, unit, frame, request);
            return self.submit(Lane::Demand, &chains);
        }
        if let Some(shared) = shared {
            add(&shared.counters.failed_slots, 1);
        }
        pool.end_check(frame, Err(Fault::Checksum));
    }
}
