//! Pages with a checksum: between the end of their read and the first use somebody compares the two.
//!
//! The loop only notes that a page was read (`Loaded`) and wakes who waits. The first of them takes it (`Checking`), the
//! others wait on in the same list, which is open until the check has ended. A waiter links itself first and looks at the
//! phase afterwards, and the loop changes the phase first and takes the list afterwards, so that one of them sees the
//! other: no page is left without somebody who checks it while somebody waits for it.

use super::Pool;
use crate::ring::fault::Fault;
use crate::sync::Ordering;
use crate::tiers::frame::Phase;
use crate::tiers::wait::BatchWakes;

impl Pool {
    /// The page was read and is to be checked by whoever waits for it.
    pub(super) fn loaded(&self, index: u32, batches: &mut BatchWakes) {
        let frame = self.frame(index);
        let before = frame.finish_loading(Phase::Loaded);
        let waiters = self.ops.take(frame);
        self.ops.notify_all(waiters, batches);
        if before.is_stale() {
            self.tear_down_leaving(index);
        }
    }

    /// True where a page was read and nobody checks it yet.
    pub(crate) fn is_unchecked(&self, index: u32) -> bool {
        self.frame(index).state().phase() == Phase::Loaded
    }

    /// Takes an unchecked page, which the caller has pinned, to check it; one of several callers wins.
    /// [`Pool::end_check`] or [`Pool::read_again`] must follow.
    pub(crate) fn begin_check(&self, index: u32) -> bool {
        self.frame(index).begin_check()
    }

    /// The page in a frame that the caller has pinned; `None` where it is neither resident nor being checked, by the caller.
    pub(crate) fn with_page<R>(&self, index: u32, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let phase = self.frame(index).state().phase();
        if !matches!(phase, Phase::Resident | Phase::Checking) {
            return None;
        }
        let len = self.span(index) as usize * self.frame_bytes as usize;
        // SAFETY: `len` bytes from the frame's first are the arena's. Nothing writes to them: the phase, seen with Acquire,
        // says that a page was read, and no other is read in while the caller's pin holds it there; one that is being
        // checked is read again only by who checks it, which is the caller.
        Some(look(unsafe {
            std::slice::from_raw_parts(self.address(index), len)
        }))
    }

    /// Zeroes what lies behind the first `stored` bytes of a page that the caller checks ([`Pool::begin_check`]).
    pub(crate) fn clear_behind(&self, index: u32, stored: u64) {
        // What the read left out is zero already.
        self.clear(index, stored..u64::from(self.slots.get(index).expected()));
    }

    /// The page is what its checksum says, or is not.
    pub(crate) fn end_check(&self, index: u32, outcome: Result<(), Fault>) {
        let frame = self.frame(index);
        let phase = match outcome {
            Ok(()) => Phase::Resident,
            Err(fault) => {
                let word = &self.detail(index).fault;
                word.store(fault.encode(), Ordering::Relaxed);
                Phase::Failed
            }
        };
        let waiters = self.ops.close(frame);
        let before = frame.end_check(phase);
        let mut batches = BatchWakes::default();
        self.ops.notify_all(waiters, &mut batches);
        batches.flush();
        if outcome.is_err() || before.is_stale() {
            self.tear_down_leaving(index);
        }
    }

    /// The page is not what its checksum says, and is to be read once more: the caller submits its slot. False where it
    /// has been already.
    pub(crate) fn read_again(&self, index: u32) -> bool {
        let word = &self.detail(index).fault;
        if word.swap(Fault::Checksum.encode(), Ordering::Relaxed) == Fault::Checksum.encode() {
            return false;
        }
        self.frame(index).end_check(Phase::Loading);
        true
    }

    /// Lets go of waiters that gave up on a page that nobody has checked.
    pub(super) fn forget_waiters(&self, index: u32) {
        let waiters = self.ops.close(self.frame(index));
        let mut batches = BatchWakes::default();
        self.ops.notify_all(waiters, &mut batches);
        batches.flush();
    }
}
