//! Telling the waiters of slots that have waited longer than the read deadline.

use super::{Event, SubmissionLoop};
use crate::ring::backend::Backend;
use std::sync::atomic::Ordering::Relaxed;

/// How often in a read deadline the alarm of an overdue slot repeats: for those who came to wait for it later.
const ALARMS: u64 = 4;

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    /// When the next slot will have waited longer than the read deadline.
    pub(super) fn next_alarm(&self) -> Option<u64> {
        let deadline = self.config.deadline_ns?;
        let in_flight = self.pieces.iter().filter(|piece| piece.busy);
        let fronts = [self.demand.front(), self.prefetch.front()];
        let queued = fronts.into_iter().flatten().map(|index| {
            let queued_ns = self.shared.slots.get(index).queued_ns.load(Relaxed);
            queued_ns.saturating_add(deadline)
        });
        in_flight.map(|piece| piece.alarm_ns).chain(queued).min()
    }

    pub(super) fn alarm(&mut self) {
        let Some(deadline) = self.config.deadline_ns else {
            return;
        };
        for token in 0..self.pieces.len() {
            let piece = &mut self.pieces[token];
            if !piece.busy || piece.alarm_ns > self.now_ns {
                continue;
            }
            piece.alarm_ns = self.now_ns.saturating_add(deadline / ALARMS);
            for k in piece.first as usize..piece.slot_count as usize {
                let slot = self.pieces[token].slots[k];
                if self.shared.slots.get(slot).remaining.load(Relaxed) != 0 {
                    (self.on_event)(Event::Overdue { slot });
                }
            }
        }
        let slots = self.shared.slots.clone();
        // Prefetches too: a read may wait for the frame of one, to have it after.
        for queue in [&self.demand, &self.prefetch] {
            let mut next = queue.front();
            while let Some(index) = next {
                let slot = slots.get(index);
                if slot.queued_ns.load(Relaxed).saturating_add(deadline) > self.now_ns {
                    break;
                }
                let rearmed = self.now_ns.saturating_sub(deadline - deadline / ALARMS);
                slot.queued_ns.store(rearmed, Relaxed);
                (self.on_event)(Event::Overdue { slot: index });
                next = queue.after(&self.links, index);
            }
        }
    }
}
