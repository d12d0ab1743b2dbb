//! Reads that will never be answered, and a loop that has panicked: every slot is still reported, once.

use super::{DEMAND_QUEUE, Event, PREFETCH_QUEUE, SubmissionLoop};
use crate::ring::backend::Backend;
use crate::ring::fault::Fault;
use crate::ring::fifo::Fifo;
use crate::ring::lane::Lane;
use crate::ring::shared::Control;
use crate::sync::Ordering;
use std::sync::atomic::Ordering::Relaxed;

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    /// Reports every slot in flight as lost.
    pub(super) fn lose(&mut self, fault: Fault) {
        for token in 0..self.pieces.len() {
            if !self.pieces[token].busy {
                continue;
            }
            for k in self.pieces[token].first..self.pieces[token].slot_count {
                self.lose_slot(self.pieces[token].slots[k as usize], fault);
            }
        }
        (self.on_event)(Event::Flush);
    }

    /// Reports a slot as lost, once: several reads of it can be in flight.
    fn lose_slot(&mut self, slot: u32, fault: Fault) {
        let remaining = &self.shared.slots.get(slot).remaining;
        if remaining.swap(0, Ordering::Relaxed) != 0 {
            (self.on_event)(Event::Lost { slot, fault });
        }
    }

    /// After a panic: nothing this loop believes can be trusted, so its reads are lost and every request that still
    /// comes fails at once. Returns when the engine stops.
    pub(crate) fn serve_failed(&mut self) {
        self.fail_all();
        while self.refuse_requests() {
            self.shared.wake.announce_park();
            if !self.shared.has_work() {
                self.shared.wake.sleep(None);
            }
            self.shared.wake.unpark();
        }
    }

    /// Fails what the loop had taken.
    pub(crate) fn fail_all(&mut self) {
        self.lose(Fault::LoopFailed);
        let slots = self.shared.slots.clone();
        for queue in [Lane::Demand, Lane::Prefetch] {
            let fifo = match queue {
                Lane::Demand => std::mem::replace(&mut self.demand, Fifo::new(DEMAND_QUEUE)),
                Lane::Prefetch => std::mem::replace(&mut self.prefetch, Fifo::new(PREFETCH_QUEUE)),
            };
            let mut next = fifo.front();
            while let Some(index) = next {
                next = fifo.after(&self.links, index);
                if slots.get(index).issued.load(Relaxed) == 0 {
                    self.refuse(index);
                } else {
                    // Issued in part: what of it is in flight, if anything, has been lost already.
                    self.lose_slot(index, Fault::LoopFailed);
                }
            }
        }
        (self.on_event)(Event::Flush);
    }

    /// Fails what comes in after a panic; false where the engine stops.
    pub(crate) fn refuse_requests(&mut self) -> bool {
        let slots = self.shared.slots.clone();
        let mut taken = std::mem::take(&mut self.taken);
        for lane in [Lane::Demand, Lane::Prefetch] {
            self.shared
                .lane(lane)
                .take(&slots, |index| taken.push(index));
        }
        for index in taken.drain(..) {
            self.refuse(index);
        }
        self.shared.promoted.take(&slots, |_| {});
        self.taken = taken;
        (self.on_event)(Event::Flush);
        for control in self.shared.take_controls() {
            match control {
                Control::Stop => return false,
                Control::AddFile { reply, .. } => {
                    let _ = reply.send(Err(libc::EIO));
                }
                _ => {}
            }
        }
        true
    }

    fn refuse(&mut self, index: u32) {
        self.shared.outstanding.fetch_sub(1, Ordering::Release);
        (self.on_event)(Event::Done {
            slot: index,
            outcome: Err(Fault::LoopFailed),
        });
    }
}
