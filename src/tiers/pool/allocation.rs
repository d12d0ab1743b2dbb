//! Free frames: giving them out, making more by eviction, finding adjacent ones for extents.

use super::{Exhausted, Pool, Purpose};
use crate::sync::{Ordering, lock};
use crate::tiers::eviction::EvictionPolicy;
use crate::tiers::frame::{AHEAD, DIRECTORY, PLANNED, Phase};

/// Directory pages are spared while they take at most this part of the frames.
const DIRECTORY_PART: u32 = 2;

#[derive(Debug)]
pub(super) struct Allocation {
    /// Frames that are probably free; the state word decides.
    pub(super) free: Vec<u32>,
}

impl Pool {
    /// Claims `span` adjacent frames; all but the first are members.
    pub(in crate::tiers) fn allocate(&self, span: u32, purpose: Purpose) -> Result<u32, Exhausted> {
        let room = match purpose {
            Purpose::Demand => true,
            Purpose::Prefetch => self.room_ahead() >= span,
            Purpose::Planned => self.make_room_ahead(span),
        };
        if !room {
            return Err(Exhausted { in_flight: None });
        }
        let mut allocation = lock(&self.allocation);
        let spare_first = match purpose {
            Purpose::Demand => PLANNED,
            // What was read ahead is not given up for more of the same.
            Purpose::Prefetch | Purpose::Planned => AHEAD,
        } | self.spared_directory();
        let found = if span == 1 {
            self.allocate_one(&mut allocation, spare_first).or_else(|| {
                (purpose == Purpose::Demand).then(|| self.allocate_one(&mut allocation, 0))?
            })
        } else {
            self.allocate_run(&mut allocation, span, spare_first)
                .or_else(|| {
                    (purpose == Purpose::Demand)
                        .then(|| self.allocate_run(&mut allocation, span, 0))?
                })
        };
        drop(allocation);
        found.ok_or_else(|| Exhausted {
            in_flight: self.unpinned_in_flight(),
        })
    }

    /// The flag of directory pages while they are few enough to be spared: one stands for hundreds of pages, each of
    /// which costs a second read without it.
    fn spared_directory(&self) -> u64 {
        let few = self.directory.load(Ordering::Relaxed) <= self.frame_count() / DIRECTORY_PART;
        if few { DIRECTORY } else { 0 }
    }

    fn allocate_one(&self, allocation: &mut Allocation, keep: u64) -> Option<u32> {
        while let Some(index) = allocation.free.pop() {
            if self.frame(index).claim(Phase::Free, 0).is_some() {
                return Some(index);
            }
        }
        let (index, state) = self.policy.victim(&self.frames, keep)?;
        let span = self.take_out(index, state);
        for member in 1..span {
            self.free_into(allocation, index + member, 1);
        }
        Some(index)
    }

    /// Claims adjacent frames: the first run behind the hand that is free or can be evicted, at a multiple of its length
    /// if there is one, so that runs of one length never leave gaps that none of them fits.
    fn allocate_run(&self, allocation: &mut Allocation, span: u32, keep: u64) -> Option<u32> {
        let count = self.frame_count();
        if span > count {
            return None;
        }
        // The first round spares what was used since the last one; only the last begins anywhere.
        for (aligned, spare_referenced) in [(true, true), (true, false), (false, false)] {
            let start = self.policy.hand() % count;
            let mut scanned = 0;
            let mut at = start;
            let (mut low, mut have) = (at, 0);
            while scanned < count + span {
                if at == count {
                    // A run cannot go round the end.
                    at = 0;
                    have = 0;
                }
                if have == 0 {
                    low = at;
                }
                let frame = self.frame(at);
                let state = frame.state();
                let units = match state.phase() {
                    _ if aligned && have == 0 && !at.is_multiple_of(span) => 0,
                    Phase::Free if state.pins() == 0 => 1,
                    Phase::Failed if state.pins() == 0 => self.span(at),
                    Phase::Resident | Phase::Loaded if state.pins() == 0 && !state.has(keep) => {
                        if spare_referenced && state.is_referenced() {
                            frame.unreference();
                            0
                        } else {
                            self.span(at)
                        }
                    }
                    _ => 0,
                };
                let step = match (units, state.phase()) {
                    (
                        0,
                        Phase::Resident
                        | Phase::Loaded
                        | Phase::Checking
                        | Phase::Loading
                        | Phase::Failed,
                    ) => self.span(at),
                    (0, _) => 1,
                    (n, _) => n,
                }
                .min(count - at);
                have = if units == 0 { 0 } else { have + step };
                at += step;
                scanned += step;
                if have >= span {
                    if let Some(index) = self.claim_run(allocation, low, have, span, keep) {
                        self.policy.set_hand(index + span);
                        return Some(index);
                    }
                    have = 0;
                }
            }
        }
        None
    }

    /// Claims the frames `low..low + have`, keeps `span` of them and frees the rest.
    fn claim_run(
        &self,
        allocation: &mut Allocation,
        low: u32,
        have: u32,
        span: u32,
        keep: u64,
    ) -> Option<u32> {
        let mut at = low;
        while at < low + have {
            let frame = self.frame(at);
            let claimed = frame
                .claim(Phase::Free, 0)
                .or_else(|| frame.claim(Phase::Resident, keep))
                .or_else(|| frame.claim(Phase::Loaded, keep))
                .or_else(|| frame.claim_leaving());
            if let Some(state) = claimed {
                at += self.take_out(at, state);
            } else {
                // Somebody pinned it meanwhile; what was claimed so far stays free.
                for claimed in low..at {
                    self.free_into(allocation, claimed, 1);
                }
                return None;
            }
        }
        for spare in low + span..at {
            self.free_into(allocation, spare, 1);
        }
        for member in 1..span {
            self.frame(low + member).set_member();
        }
        Some(low)
    }

    fn unpinned_in_flight(&self) -> Option<u32> {
        (0..self.frame_count()).find(|&index| {
            let state = self.frame(index).state();
            state.phase() == Phase::Loading && state.pins() == 0
        })
    }

    /// Frees `span` claimed frames.
    pub(super) fn free_claimed(&self, index: u32, span: u32) {
        let mut allocation = lock(&self.allocation);
        self.free_into(&mut allocation, index, span);
    }

    fn free_into(&self, allocation: &mut Allocation, index: u32, span: u32) {
        for member in (0..span).rev() {
            let frame = self.frame(index + member);
            if frame.state().phase() == Phase::Member {
                frame.unset_member();
            }
            frame.release_claim(Phase::Free);
            if allocation.free.len() < allocation.free.capacity() {
                allocation.free.push(index + member);
            }
        }
    }
}
