//! The bytes of a page that is to be written, and the end of a read or write: its outcome, and who is told.

use super::Pool;
use crate::ring::fault::Fault;
use crate::sync::Ordering;
use crate::tiers::frame::Phase;
use crate::tiers::wait::BatchWakes;
use std::ops::Range;

impl Pool {
    /// Lets `fill` put the first `bytes` of a unit into its frames, which hold whatever they held before. The unit was
    /// claimed by the caller ([`super::Claim::Owner`]) and is not submitted yet.
    pub(crate) fn fill<R>(&self, index: u32, bytes: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        debug_assert_eq!(self.frame(index).state().phase(), Phase::Loading);
        let capacity = u64::from(self.span(index)) * self.frame_bytes;
        assert!(bytes as u64 <= capacity && self.arena.bytes() > 0);
        // SAFETY: the frames belong to the claimer (phase Loading) and lie in the arena, which is mapped, initialized by
        // the kernel and alive as long as `self`; nobody looks at the bytes of a loading page, and no device was told of
        // them. `bytes` is not more than the unit has (asserted above).
        fill(unsafe { std::slice::from_raw_parts_mut(self.address(index), bytes) })
    }

    /// Takes the outcome of a frame's read or write and notifies its waiters.
    pub(crate) fn complete(
        &self,
        index: u32,
        outcome: Result<(), Fault>,
        batches: &mut BatchWakes,
    ) {
        let frame = self.frame(index);
        let phase = match outcome {
            Ok(()) => {
                self.clear_tail(index, self.span(index));
                if self.slots.get(index).is_checked() {
                    return self.loaded(index, batches);
                }
                Phase::Resident
            }
            Err(fault) => {
                self.detail(index)
                    .fault
                    .store(fault.encode(), Ordering::Relaxed);
                Phase::Failed
            }
        };
        let waiters = self.ops.close(frame);
        let before = frame.finish_loading(phase);
        self.ops.notify_all(waiters, batches);
        if outcome.is_err() || before.is_stale() {
            self.tear_down_leaving(index);
        }
    }

    /// The kernel may write to this frame for ever: its waiters get the fault, and it is never used again.
    pub(crate) fn lose(&self, index: u32, fault: Fault, batches: &mut BatchWakes) {
        let frame = self.frame(index);
        self.detail(index)
            .fault
            .store(fault.encode(), Ordering::Relaxed);
        let waiters = self.ops.close(frame);
        frame.finish_loading(Phase::Lost);
        self.ops.notify_all(waiters, batches);
    }

    /// Zeroes what lies behind the last byte that was to be read or written: behind the end of a file in its last page,
    /// behind what is stored of a packed one.
    fn clear_tail(&self, index: u32, span: u32) {
        let capacity = u64::from(span) * self.frame_bytes;
        self.clear(index, u64::from(self.slots.get(index).expected())..capacity);
    }

    /// Zeroes bytes of a unit that the caller completes the read of, or checks.
    pub(super) fn clear(&self, index: u32, bytes: Range<u64>) {
        let phase = self.frame(index).state().phase();
        debug_assert!(matches!(phase, Phase::Loading | Phase::Checking));
        let capacity = u64::from(self.span(index)) * self.frame_bytes;
        let end = bytes.end.min(capacity);
        if bytes.start < end && self.arena.bytes() > 0 {
            let first = self.address(index).wrapping_add(bytes.start as usize);
            // SAFETY: who completes a read (phase Loading) or checks a page (phase Checking) has the unit's frames alone:
            // no device writes to them any more, and nobody looks at them before the next phase. The bytes from `first` on
            // end where the unit does at the latest, and it lies in the arena.
            unsafe { first.write_bytes(0, (end - bytes.start) as usize) };
        }
    }

    /// How a frame's read ended; `None` while it has not.
    pub(crate) fn outcome(&self, index: u32) -> Option<Result<(), Fault>> {
        let frame = self.frame(index);
        match frame.state().phase() {
            Phase::Resident => Some(Ok(())),
            Phase::Failed | Phase::Lost => Some(Err(self.fault(index))),
            _ => None,
        }
    }

    /// Why a read failed.
    pub(super) fn fault(&self, index: u32) -> Fault {
        Fault::decode(self.detail(index).fault.load(Ordering::Relaxed))
    }
}
