//! How much of the pool may hold pages that nobody has asked for yet, and which of them are protected.

use super::Pool;
use crate::sync::Ordering;
use crate::tiers::frame::{AHEAD, PLANNED, State};

impl Pool {
    /// Makes a pinned page, there or on its way, part of the plan.
    pub(super) fn protect(&self, index: u32) {
        let span = self.span(index);
        // Counted first: whoever takes the flag away may do so at once.
        self.speculative.fetch_add(span, Ordering::Relaxed);
        if self.frame(index).set(PLANNED | AHEAD).has(AHEAD) {
            self.speculative.fetch_sub(span, Ordering::Relaxed);
        }
    }

    /// Frames that may still be given to pages nobody has asked for: three quarters of all, less those that have.
    pub(crate) fn room_ahead(&self) -> u32 {
        let room = self.frame_count() - self.frame_count() / 4;
        room.saturating_sub(self.speculative.load(Ordering::Relaxed))
    }

    /// Room for a plan: what was read ahead on a guess gives its own.
    pub(super) fn make_room_ahead(&self, span: u32) -> bool {
        if self.room_ahead() < span {
            self.release_ahead(|state| !state.has(PLANNED));
        }
        self.room_ahead() >= span
    }

    /// Planned pages are protected no longer.
    pub(crate) fn unprotect_planned(&self) {
        self.release_ahead(|state| state.has(PLANNED));
    }

    /// Makes units that were read ahead pages like any other.
    fn release_ahead(&self, which: impl Fn(State) -> bool) {
        for index in 0..self.frame_count() {
            let frame = self.frame(index);
            let state = frame.state();
            if !state.has(AHEAD) || !which(state) {
                continue;
            }
            // Pinned, so that it stays the unit it is.
            if which(frame.pin()) && frame.clear(PLANNED | AHEAD).has(AHEAD) {
                self.speculative
                    .fetch_sub(self.span(index), Ordering::Relaxed);
            }
            self.unpin(index);
        }
    }
}
