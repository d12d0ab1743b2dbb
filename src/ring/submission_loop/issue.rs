//! Making reads and writes of queued slots: demand first, prefetch as far as it does not delay demand.

use super::hand_over::{FIRST_BATCH, NEXT_BATCH};
use super::{Event, SubmissionLoop};
use crate::ring::backend::{Backend, SEGMENTS_MAX, Segment, Transfer, Wait};
use crate::ring::lane::Lane;
use std::sync::atomic::Ordering::Relaxed;

/// Prefetch reads are no larger than this while demand is active, in bytes: the device serves first come, first served.
const PREFETCH_PIECE_BYTES: u32 = 64 << 10;
/// And no more of their bytes are handed over right behind a demand read; between demand reads, one prefetch at a time.
const PREFETCH_BYTES_BEHIND_DEMAND: u64 = 256 << 10;
/// Nor more reads.
const PREFETCH_READS_IN_FLIGHT: u32 = 8;
/// Demand counts as active this long after its last read, in nanoseconds.
const DEMAND_ACTIVE_NS: u64 = 10_000_000;

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    fn demand_active(&self) -> bool {
        self.last_demand_ns != 0
            && self.now_ns.saturating_sub(self.last_demand_ns) < DEMAND_ACTIVE_NS
    }

    pub(super) fn issue(&mut self) {
        let mut demanded = false;
        let mut batch = FIRST_BATCH;
        let mut before = self.bytes;
        while let Some(front) = self.demand.front()
            && self.has_room()
        {
            demanded |= !self.shared.slots.get(front).is_write();
            self.issue_piece(Lane::Demand, self.config.io_bytes_max);
            let enough = self.staged >= batch.reads || self.bytes - before >= batch.bytes;
            if enough && !self.demand.is_empty() {
                self.hand_over(Wait::No);
                batch = NEXT_BATCH;
                before = self.bytes;
            }
        }
        if !self.demand.is_empty() {
            return;
        }
        if !self.demand_active() {
            while !self.prefetch.is_empty() && self.has_room() {
                self.issue_piece(Lane::Prefetch, self.config.io_bytes_max);
            }
            return;
        }
        // What follows a demand read into the device does not delay it; what is there when the next one comes does.
        let bytes_max = if demanded {
            PREFETCH_BYTES_BEHIND_DEMAND
        } else {
            1
        };
        while !self.prefetch.is_empty()
            && self.has_room()
            && self.prefetch_bytes < bytes_max
            && self.prefetch_reads < PREFETCH_READS_IN_FLIGHT
        {
            let limit = PREFETCH_PIECE_BYTES.min(self.config.io_bytes_max);
            self.issue_piece(Lane::Prefetch, limit);
        }
    }

    /// Makes a piece of the head of a queue and what follows it, and stages it.
    fn issue_piece(&mut self, lane: Lane, limit: u32) {
        let queue = match lane {
            Lane::Demand => &mut self.demand,
            Lane::Prefetch => &mut self.prefetch,
        };
        let (Some(first), Some(token)) = (queue.front(), self.idle.pop()) else {
            return;
        };
        let slots = &self.shared.slots;
        let slot = slots.get(first);
        let within = slot.issued.load(Relaxed);
        let align = self
            .files
            .get(slot.file() as usize)
            .and_then(Option::as_ref)
            .map_or(512, |file| file.align);
        let limit = (limit - limit % align).max(align);
        let frame_bytes = self.config.frame_bytes;
        let arena = self.config.arena;
        let address = |index: u32| arena.wrapping_add(index as usize * frame_bytes as usize);
        let start = address(first).wrapping_add(within as usize);
        let reaches = |backend: &B, to: *mut u8, bytes: u32| {
            let last = to.wrapping_add(bytes as usize - 1);
            backend.same_buffer(start, to) && backend.same_buffer(start, last)
        };
        let mut bytes = (slot.bytes() - within).min(limit);
        // A unit of several frames can lie in two buffers; a frame never does.
        while !reaches(&self.backend, start, bytes) {
            let frames = u64::from(within + bytes - 1) / frame_bytes;
            bytes = (frames * frame_bytes) as u32 - within;
        }
        slot.issued.store(within + bytes, Relaxed);
        let piece = &mut self.pieces[token as usize];
        piece.slots[0] = first;
        piece.slot_count = 1;
        piece.first = 0;
        piece.first_at = 0;
        if within + bytes == slot.bytes() {
            let mut last = first;
            let mut next = queue.after(&self.links, first);
            queue.remove(&mut self.links, first);
            while let Some(index) = next {
                let (previous, slot) = (slots.get(last), slots.get(index));
                let adjacent = slot.file() == previous.file()
                    && slot.is_write() == previous.is_write()
                    && previous.expected() == previous.bytes()
                    && slot.offset() == previous.offset() + u64::from(previous.bytes())
                    && slot.issued.load(Relaxed) == 0;
                let together =
                    address(index) == address(last).wrapping_add(previous.bytes() as usize);
                let reachable = reaches(&self.backend, address(index), slot.bytes())
                    && (together || self.backend.vectored());
                if !adjacent
                    || !reachable
                    || piece.slot_count as usize == SEGMENTS_MAX
                    || bytes + slot.bytes() > limit
                {
                    break;
                }
                next = queue.after(&self.links, index);
                queue.remove(&mut self.links, index);
                slot.issued.store(slot.bytes(), Relaxed);
                piece.slots[piece.slot_count as usize] = index;
                piece.slot_count += 1;
                bytes += slot.bytes();
                last = index;
            }
        }
        piece.lane = lane;
        piece.write = slot.is_write();
        piece.file = slot.file();
        piece.offset = slot.offset() + u64::from(within);
        piece.within = within;
        piece.bytes = bytes;
        piece.at = 0;
        piece.chunk = bytes;
        piece.attempts = 0;
        piece.busy = true;
        piece.submitted_ns = self.now_ns;
        piece.alarm_ns = u64::MAX;
        for &index in &piece.slots[..piece.slot_count as usize] {
            let queued = slots.get(index).queued_ns.load(Relaxed);
            if let Some(deadline) = self.config.deadline_ns {
                piece.alarm_ns = piece.alarm_ns.min(queued.saturating_add(deadline));
            }
            if !piece.write {
                self.shared
                    .times(lane)
                    .queue_ns
                    .record(self.now_ns.saturating_sub(queued));
            }
        }
        self.bytes += u64::from(bytes);
        self.writes += u32::from(piece.write);
        if lane == Lane::Prefetch {
            self.prefetch_bytes += u64::from(bytes);
            self.prefetch_reads += 1;
        }
        self.stage(token);
    }

    /// Hands the next chunk of a piece to the backend.
    pub(super) fn stage(&mut self, token: u32) {
        let piece = &self.pieces[token as usize];
        let mut segments = std::mem::take(&mut self.segments);
        segments.clear();
        self.overlaps(piece, piece.at, piece.chunk, |index, within, len| {
            let ptr = self.address(index).wrapping_add(within as usize);
            match segments.last_mut() {
                Some(last) if last.ptr.wrapping_add(last.len as usize) == ptr => last.len += len,
                _ => segments.push(Segment { ptr, len }),
            }
        });
        self.backend.stage(Transfer {
            token,
            file: piece.file,
            offset: piece.offset + u64::from(piece.at),
            segments: &segments,
            write: piece.write,
        });
        self.segments = segments;
        self.staged += 1;
    }

    /// First byte of frame `index`.
    fn address(&self, index: u32) -> *mut u8 {
        self.config
            .arena
            .wrapping_add(index as usize * self.config.frame_bytes as usize)
    }
}
