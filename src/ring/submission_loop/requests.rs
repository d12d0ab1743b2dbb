//! Taking requests and messages from the callers, and reporting slots back to them.

use super::{Event, FileEntry, SubmissionLoop};
use crate::ring::backend::Backend;
use crate::ring::fault::Fault;
use crate::ring::fifo::Fifo;
use crate::ring::lane::{Lane, Slot};
use crate::ring::shared::Control;
use crate::ring::telemetry::add;
use crate::sync::Ordering;
use std::sync::atomic::Ordering::Relaxed;

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    pub(super) fn take_requests(&mut self) {
        // Controls first: a field is closed only after its last request was pushed, so those are taken below.
        let controls = self.shared.take_controls();
        let slots = self.shared.slots.clone();
        for lane in [Lane::Demand, Lane::Prefetch] {
            let mut taken = std::mem::take(&mut self.taken);
            self.shared
                .lane(lane)
                .take(&slots, |index| taken.push(index));
            for index in taken.drain(..).rev() {
                self.accept(slots.get(index), index, lane);
            }
            self.taken = taken;
        }
        let mut taken = std::mem::take(&mut self.taken);
        self.shared.promoted.take(&slots, |index| taken.push(index));
        for index in taken.drain(..) {
            let slot = slots.get(index);
            // Otherwise it is done, in flight, or promoted already: nothing to move.
            if self.prefetch.contains(&self.links, index) && slot.issued.load(Relaxed) == 0 {
                self.prefetch.remove(&mut self.links, index);
                slot.set_lane(Lane::Demand);
                self.demand.push_back(&mut self.links, index);
                self.last_demand_ns = self.now_ns;
            }
            slot.promotion_taken();
        }
        self.taken = taken;
        for control in controls {
            self.obey(control);
        }
    }

    fn accept(&mut self, slot: &Slot, index: u32, mut lane: Lane) {
        if lane == Lane::Prefetch && slot.is_wanted() {
            slot.set_lane(Lane::Demand);
            lane = Lane::Demand;
        }
        let open = match self.files.get_mut(slot.file() as usize) {
            Some(Some(file)) => {
                file.slots += 1;
                !file.closing
            }
            _ => false,
        };
        if lane == Lane::Demand && !slot.is_write() {
            self.last_demand_ns = self.now_ns;
        }
        if self.stop_ns.is_some() || !open {
            let fault = if open { Fault::Shutdown } else { Fault::Closed };
            slot.fault.store(fault.encode(), Relaxed);
            self.report(index);
            return;
        }
        match lane {
            Lane::Demand => self.demand.push_back(&mut self.links, index),
            Lane::Prefetch => self.prefetch.push_back(&mut self.links, index),
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::AddFile { index, file, reply } => {
                let added = self.backend.add_file(index, file.fd());
                if self.files.len() <= index as usize {
                    self.files.resize_with(index as usize + 1, || None);
                }
                self.files[index as usize] = Some(FileEntry {
                    align: file.align,
                    _file: file,
                    slots: 0,
                    closing: false,
                });
                // The opener may have gone away; then the close it sent follows.
                let _ = reply.send(added.map_err(|e| e.raw_os_error().unwrap_or(libc::EIO)));
            }
            Control::RemoveFile { index } => {
                self.drop_queued(Lane::Prefetch, |slot| slot.file() == index, Fault::Closed);
                if let Some(Some(file)) = self.files.get_mut(index as usize) {
                    file.closing = true;
                }
                self.forget_if_done(index);
            }
            Control::Cancel { epoch } => {
                self.drop_queued(Lane::Prefetch, |slot| slot.epoch() == epoch, Fault::Closed);
            }
            Control::Stop => {
                self.stop_ns = Some(self.now_ns.saturating_add(self.config.shutdown_ns));
                self.drop_queued(Lane::Prefetch, |_| true, Fault::Shutdown);
                self.drop_queued(Lane::Demand, |_| true, Fault::Shutdown);
                while let Some((_, piece)) = self.delayed.pop() {
                    self.fail_rest(piece, Fault::Shutdown);
                }
            }
            #[cfg(any(test, feature = "sim"))]
            // Without the message of a panic that nobody asked for.
            Control::Panic => std::panic::resume_unwind(Box::new("a test asked for it")),
        }
    }

    /// Takes slots that are not issued yet out of a lane's queue.
    fn drop_queued(&mut self, lane: Lane, which: impl Fn(&Slot) -> bool, fault: Fault) {
        let slots = self.shared.slots.clone();
        let mut next = self.queue(lane).front();
        while let Some(index) = next {
            next = self.queue(lane).after(&self.links, index);
            let slot = slots.get(index);
            if which(slot) && slot.issued.load(Relaxed) == 0 {
                match lane {
                    Lane::Demand => self.demand.remove(&mut self.links, index),
                    Lane::Prefetch => self.prefetch.remove(&mut self.links, index),
                }
                slot.fault.store(fault.encode(), Relaxed);
                self.report(index);
            }
        }
    }

    fn queue(&self, lane: Lane) -> &Fifo {
        match lane {
            Lane::Demand => &self.demand,
            Lane::Prefetch => &self.prefetch,
        }
    }

    /// Reports a slot all of whose bytes are accounted for.
    pub(super) fn report(&mut self, index: u32) {
        let slot = self.shared.slots.get(index);
        let file = slot.file();
        let outcome = match slot.fault.load(Relaxed) {
            0 => Ok(()),
            fault => Err(Fault::decode(fault)),
        };
        if outcome.is_err() {
            add(&self.shared.counters.failed_slots, 1);
        }
        slot.remaining.store(0, Relaxed);
        slot.unwant();
        self.shared.outstanding.fetch_sub(1, Ordering::Release);
        (self.on_event)(Event::Done {
            slot: index,
            outcome,
        });
        if let Some(Some(entry)) = self.files.get_mut(file as usize) {
            entry.slots -= 1;
            if entry.closing {
                self.forget_if_done(file);
            }
        }
    }

    fn forget_if_done(&mut self, index: u32) {
        if let Some(entry) = self.files.get_mut(index as usize)
            && entry
                .as_ref()
                .is_some_and(|file| file.closing && file.slots == 0)
        {
            self.backend.remove_file(index);
            *entry = None;
            self.shared.release_file(index);
        }
    }
}
