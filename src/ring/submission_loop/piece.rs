//! One read or write in flight, and which parts of which slots it covers.

use super::{Event, SubmissionLoop};
use crate::ring::backend::{Backend, SEGMENTS_MAX};
use crate::ring::lane::Lane;

/// One read or write in flight.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) slots: [u32; SEGMENTS_MAX],
    pub(super) slot_count: u32,
    /// Slots before this one are settled: somebody else may use them by now, so they are not looked at again.
    pub(super) first: u32,
    /// Where in the piece slot `first` begins, in bytes.
    pub(super) first_at: u32,
    pub(super) lane: Lane,
    /// The slots' bytes go to the file.
    pub(super) write: bool,
    pub(super) file: u32,
    /// File offset of byte 0 of the piece.
    pub(super) offset: u64,
    /// Where in its first slot the piece begins, in bytes.
    pub(super) within: u32,
    /// Bytes of the piece; those before `at` are accounted for, `chunk` of them are on their way.
    pub(super) bytes: u32,
    pub(super) at: u32,
    pub(super) chunk: u32,
    pub(super) attempts: u32,
    pub(super) submitted_ns: u64,
    pub(super) alarm_ns: u64,
    pub(super) busy: bool,
}

impl Piece {
    pub(super) fn idle() -> Piece {
        Piece {
            slots: [0; SEGMENTS_MAX],
            slot_count: 0,
            first: 0,
            first_at: 0,
            lane: Lane::Demand,
            write: false,
            file: 0,
            offset: 0,
            within: 0,
            bytes: 0,
            at: 0,
            chunk: 0,
            attempts: 0,
            submitted_ns: 0,
            alarm_ns: u64::MAX,
            busy: false,
        }
    }
}

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    /// Calls `each(slot, within the slot, length)` for the parts of slots in bytes `at..at + len` of a piece, which are
    /// not accounted for yet.
    pub(super) fn overlaps(
        &self,
        piece: &Piece,
        at: u32,
        len: u32,
        mut each: impl FnMut(u32, u32, u32),
    ) {
        let mut start = piece.first_at;
        for k in piece.first..piece.slot_count {
            if start >= at + len {
                return;
            }
            let index = piece.slots[k as usize];
            let within = if k == 0 { piece.within } else { 0 };
            let room = self.room(piece, k);
            let (low, high) = (start.max(at), (start + room).min(at + len));
            if low < high {
                each(index, within + (low - start), high - low);
            }
            start += room;
        }
    }

    /// Bytes of a piece that belong to its slot `k`, which is not settled.
    fn room(&self, piece: &Piece, k: u32) -> u32 {
        if piece.slot_count == 1 {
            return piece.bytes;
        }
        let within = if k == 0 { piece.within } else { 0 };
        self.shared.slots.get(piece.slots[k as usize]).bytes() - within
    }

    /// Steps over the slots of a piece whose part of it ends at or before `at`.
    pub(super) fn pass_settled(&mut self, token: u32, at: u32) {
        let piece = &self.pieces[token as usize];
        let (mut first, mut first_at) = (piece.first, piece.first_at);
        while first < piece.slot_count {
            let end = first_at + self.room(piece, first);
            if end > at {
                break;
            }
            first += 1;
            first_at = end;
        }
        let piece = &mut self.pieces[token as usize];
        piece.first = first;
        piece.first_at = first_at;
    }
}
