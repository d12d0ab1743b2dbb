//! What becomes of a read or a write: complete, short, to be tried again, or cut in half until only what cannot be had has
//! failed.

use super::piece::Piece;
use super::{Event, SubmissionLoop};
use crate::ring::backend::{Backend, Completion, SEGMENTS_MAX};
use crate::ring::fault::Fault;
use crate::ring::lane::Lane;
use crate::ring::telemetry::add;
use std::sync::atomic::Ordering::Relaxed;

/// A transient error is tried this often.
const ATTEMPTS_MAX: u32 = 10;
/// First pause before trying again, in nanoseconds; doubles each time.
const BACKOFF_NS: u64 = 100_000;

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    pub(super) fn deliver(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        self.backend
            .reap(&mut |completion| completions.push(completion));
        self.delivered = !completions.is_empty();
        if self.delivered {
            self.now_ns = self.backend.now_ns();
            for completion in completions.drain(..) {
                self.settle(completion);
            }
        }
        self.completions = completions;
    }

    fn settle(&mut self, Completion { token, result }: Completion) {
        let piece = &self.pieces[token as usize];
        let counters = &self.shared.counters;
        let (lane, bytes) = (piece.lane, result.max(0) as u64);
        if piece.write {
            add(&counters.writes, 1);
            add(&counters.written_bytes, bytes);
        } else {
            add(&counters.ios, 1);
            add(&counters.bytes, bytes);
            if lane == Lane::Prefetch {
                add(&counters.prefetch_ios, 1);
                add(&counters.prefetch_bytes, bytes);
            }
            let device_ns = self.now_ns.saturating_sub(piece.submitted_ns);
            self.shared.times(lane).device_ns.record(device_ns);
            if let Some(control) = &mut self.depth {
                control.completed(bytes);
            }
        }
        if result < 0 {
            return self.settle_error(token, -result);
        }
        let expected = self.expected(piece);
        let got = result as u32;
        if got > expected {
            // No backend writes more than it was given.
            let fault = if piece.write {
                Fault::Os(libc::EIO)
            } else {
                Fault::Grew
            };
            return self.fail_chunk(token, fault);
        }
        if got == expected {
            let chunk = piece.chunk;
            self.credit(token, chunk);
            return self.go_on(token, chunk.saturating_mul(2));
        }
        // A short read or write goes on where it stopped, at the alignment below.
        let align = self.align(piece.file);
        let whole = got - got % align;
        if whole > 0 {
            self.credit(token, whole);
            add(&self.shared.counters.retries, 1);
            return self.go_on(token, u32::MAX);
        }
        // A read that gets nothing is at the end of the file. A write that stores nothing is no answer yet: after a
        // partial one the next "will either transfer further bytes or may result in an error" that says why (write(2)).
        if (got == 0 && !piece.write) || piece.attempts + 1 >= ATTEMPTS_MAX {
            let there = self.bytes_in_first_slot(piece, got);
            let fault = if piece.write {
                Fault::Partial(there)
            } else {
                Fault::Short(there)
            };
            return self.fail_first_slot(token, fault);
        }
        self.pieces[token as usize].attempts += 1;
        add(&self.shared.counters.retries, 1);
        self.again(token);
    }

    /// Bytes that the file holds of the chunk on its way; of a write, all of it.
    fn expected(&self, piece: &Piece) -> u32 {
        let mut expected = 0;
        self.overlaps(piece, piece.at, piece.chunk, |index, within, len| {
            let there = self.shared.slots.get(index).expected();
            expected += there.saturating_sub(within).min(len);
        });
        expected
    }

    fn align(&self, file: u32) -> u32 {
        match self.files.get(file as usize) {
            Some(Some(entry)) => entry.align,
            _ => 1,
        }
    }

    /// How many bytes of the slot at the piece's position there are, `got` of them beyond it.
    fn bytes_in_first_slot(&self, piece: &Piece, got: u32) -> u32 {
        let mut have = None;
        self.overlaps(piece, piece.at, piece.chunk, |_, within, _| {
            have.get_or_insert(within + got);
        });
        have.unwrap_or(got)
    }

    fn settle_error(&mut self, token: u32, errno: i32) {
        let piece = &mut self.pieces[token as usize];
        match errno {
            libc::EAGAIN | libc::EINTR | libc::EBUSY | libc::ENOMEM
                if piece.attempts + 1 < ATTEMPTS_MAX && self.stop_ns.is_none() =>
            {
                piece.attempts += 1;
                add(&self.shared.counters.retries, 1);
                if piece.attempts <= 2 {
                    return self.again(token);
                }
                let pause = BACKOFF_NS << (piece.attempts - 3).min(16);
                self.delayed.push((self.now_ns + pause, token));
            }
            libc::ECANCELED if self.stop_ns.is_some() => self.fail_rest(token, Fault::Shutdown),
            _ => self.fail_chunk(token, Fault::Os(errno)),
        }
    }

    /// The chunk failed: halve it, or give up on its slot where it lies in one.
    fn fail_chunk(&mut self, token: u32, fault: Fault) {
        let piece = &self.pieces[token as usize];
        let mut slots = 0u32;
        let mut bounds = [0u32; SEGMENTS_MAX];
        self.overlaps(piece, piece.at, piece.chunk, |_, _, len| {
            bounds[slots as usize] = len;
            slots += 1;
        });
        if slots <= 1 {
            return self.fail_first_slot(token, fault);
        }
        let half: u32 = bounds[..slots as usize / 2].iter().sum();
        let piece = &mut self.pieces[token as usize];
        piece.chunk = half;
        piece.attempts = 0;
        add(&self.shared.counters.bisections, 1);
        self.again(token);
    }

    /// Gives up on what the piece wants of the slot at its position, and goes on behind it.
    fn fail_first_slot(&mut self, token: u32, fault: Fault) {
        let piece = &self.pieces[token as usize];
        let mut first = None;
        self.overlaps(piece, piece.at, piece.bytes - piece.at, |index, _, len| {
            first.get_or_insert((index, len));
        });
        let Some((index, len)) = first else {
            return self.go_on(token, u32::MAX);
        };
        let slot = self.shared.slots.get(index);
        if slot.fault.load(Relaxed) == 0 {
            slot.fault.store(fault.encode(), Relaxed);
        }
        self.credit(token, len);
        // The next slot may be bad too: try it alone.
        self.go_on(token, 1);
    }

    /// Gives up on everything that a piece has not moved.
    pub(super) fn fail_rest(&mut self, token: u32, fault: Fault) {
        let piece = &self.pieces[token as usize];
        let mut failed = [0u32; SEGMENTS_MAX];
        let mut count = 0;
        self.overlaps(piece, piece.at, piece.bytes - piece.at, |index, _, _| {
            failed[count] = index;
            count += 1;
        });
        for &index in &failed[..count] {
            let slot = self.shared.slots.get(index);
            if slot.fault.load(Relaxed) == 0 {
                slot.fault.store(fault.encode(), Relaxed);
            }
        }
        let rest = piece.bytes - piece.at;
        self.credit(token, rest);
        self.go_on(token, u32::MAX);
    }

    /// Accounts for the next `bytes` of a piece; slots that are complete are reported.
    fn credit(&mut self, token: u32, bytes: u32) {
        let piece = &self.pieces[token as usize];
        let mut complete = [0u32; SEGMENTS_MAX];
        let mut count = 0;
        self.overlaps(piece, piece.at, bytes, |index, _, len| {
            let slot = self.shared.slots.get(index);
            let left = slot.remaining.load(Relaxed) - len;
            slot.remaining.store(left, Relaxed);
            if left == 0 {
                complete[count] = index;
                count += 1;
            }
        });
        let at = self.pieces[token as usize].at + bytes;
        self.pieces[token as usize].at = at;
        self.pass_settled(token, at);
        for &index in &complete[..count] {
            self.report(index);
        }
    }

    /// Goes on with the next chunk, of about `want` bytes (rounded up to whole slots), or ends the piece.
    fn go_on(&mut self, token: u32, want: u32) {
        let piece = &self.pieces[token as usize];
        let left = piece.bytes - piece.at;
        if left == 0 {
            return self.finish(token);
        }
        let mut chunk = 0;
        self.overlaps(piece, piece.at, left, |_, _, len| {
            if chunk < want {
                chunk += len;
            }
        });
        let piece = &mut self.pieces[token as usize];
        piece.chunk = chunk;
        // What was tried for the bytes before says nothing of these.
        piece.attempts = 0;
        self.again(token);
    }

    fn again(&mut self, token: u32) {
        if self.stop_ns.is_some() {
            return self.fail_rest(token, Fault::Shutdown);
        }
        self.pieces[token as usize].submitted_ns = self.now_ns;
        self.stage(token);
    }

    fn finish(&mut self, token: u32) {
        let piece = &mut self.pieces[token as usize];
        piece.busy = false;
        piece.alarm_ns = u64::MAX;
        self.bytes -= u64::from(piece.bytes);
        self.writes -= u32::from(piece.write);
        if piece.lane == Lane::Prefetch {
            self.prefetch_bytes -= u64::from(piece.bytes);
            self.prefetch_reads -= 1;
        }
        self.idle.push(token);
    }

    pub(super) fn retry_due(&mut self) {
        let mut k = 0;
        while k < self.delayed.len() {
            if self.delayed[k].0 <= self.now_ns {
                let (_, token) = self.delayed.swap_remove(k);
                self.again(token);
            } else {
                k += 1;
            }
        }
    }
}
