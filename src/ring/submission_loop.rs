//! The submission loop of one device: takes requests from the lanes, makes reads of them, and makes outcomes of the
//! answers.
//!
//! A *piece* is one read in flight. It covers one slot, a part of one large slot, or several slots that are adjacent in
//! the file. Whatever goes wrong with it is settled here, piece by piece: a short read goes on where it stopped, a
//! transient error is tried again with growing pauses, and any other error is bisected until only the slots that
//! cannot be read have failed. A slot is reported when all its bytes are accounted for.

use crate::ring::backend::{Backend, Completion, Read, SEGMENTS_MAX, Segment, Wait};
use crate::ring::fault::Fault;
use crate::ring::fifo::{Fifo, Links};
use crate::ring::lane::{Lane, Slot};
use crate::ring::shared::{Control, Shared};
use crate::ring::spin::SpinGate;
use crate::ring::telemetry::add;
use crate::sync::Ordering;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What the loop tells the owner of the slots.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The slot's memory is filled, or will not be; it belongs to the claimer again.
    Done {
        slot: u32,
        outcome: Result<(), Fault>,
    },
    /// The slot's read will never be answered within this process's patience: its waiters get `Fault`, its memory
    /// stays with the kernel for ever.
    Lost { slot: u32, fault: Fault },
    /// The slot has waited longer than the read deadline, and still does.
    Overdue { slot: u32 },
    /// All events of this round have been delivered: a good time to wake waiters.
    Flush,
}

/// Fixed choices of a loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopConfig {
    /// Reads in flight.
    pub(crate) depth: u32,
    /// Address of frame 0; slot `i` fills the memory from frame `i` on.
    pub(crate) arena: *mut u8,
    pub(crate) frame_bytes: u64,
    /// Largest single read, in bytes.
    pub(crate) io_bytes_max: u32,
    /// Alarm period for slots without an answer, in nanoseconds.
    pub(crate) deadline_ns: Option<u64>,
    /// How long shutdown waits for reads in flight, in nanoseconds.
    pub(crate) shutdown_ns: u64,
}

const DEMAND_QUEUE: u32 = 0;
const PREFETCH_QUEUE: u32 = 1;
/// Prefetch reads are no larger than this while demand is active, in bytes: the device serves first come, first served.
const PREFETCH_PIECE_BYTES: u32 = 64 << 10;
/// And no more of their bytes are handed over right behind a demand read; between demand reads, one prefetch at a time.
const PREFETCH_BYTES_BEHIND_DEMAND: u64 = 256 << 10;
/// Nor more reads.
const PREFETCH_READS_IN_FLIGHT: u32 = 8;
/// Demand counts as active this long after its last read, in nanoseconds.
const DEMAND_ACTIVE_NS: u64 = 10_000_000;
/// Demand reads handed to the kernel at once, first: so many, or so many bytes. The device starts on a batch when all of
/// it is prepared (about 1.5 µs a read), so that a large one leaves it idle meanwhile; below this, the system call itself
/// costs too much.
const FIRST_BATCH: Batch = Batch {
    reads: 4,
    bytes: 64 << 10,
};
/// And then: the device has something to do.
const NEXT_BATCH: Batch = Batch {
    reads: 8,
    bytes: 128 << 10,
};
/// Completions worth waiting for at high depth: a wake-up for each would cost more than the read.
const COMPLETED_BATCH: Batch = Batch {
    reads: 8,
    bytes: 256 << 10,
};
/// For at most this long, in microseconds; then one is enough. Also what a single read that arrives in such a sleep may
/// have to wait before it is handed over.
const BATCH_WAIT_US: u32 = 100;
/// From this depth on a quarter of the reads in flight is waited for, and longer: a read that arrives meanwhile queues
/// behind three times as many in the device anyway, and a timer that fires costs more than it saves.
const DEEP: u32 = 16;
const DEEP_WAIT_US: u32 = 1000;
/// With fewer reads in flight than this the loop looks for more before it sleeps: the device is about to run dry.
const SPIN_DEPTH: u32 = 8;
/// For this long, in nanoseconds.
const SPIN_NS: u64 = 15_000;
/// A transient error is tried this often.
const ATTEMPTS_MAX: u32 = 10;
/// How often in a read deadline the alarm of an overdue slot repeats: for those who came to wait for it later.
const ALARMS: u64 = 4;
/// First pause before trying again, in nanoseconds; doubles each time.
const BACKOFF_NS: u64 = 100_000;

/// A number of reads, or fewer large ones.
struct Batch {
    reads: u32,
    bytes: u64,
}

/// One read in flight.
#[derive(Debug, Clone)]
struct Piece {
    slots: [u32; SEGMENTS_MAX],
    slot_count: u32,
    /// Slots before this one are settled: somebody else may use them by now, so they are not looked at again.
    first: u32,
    /// Where in the piece slot `first` begins, in bytes.
    first_at: u32,
    lane: Lane,
    file: u32,
    /// File offset of byte 0 of the piece.
    offset: u64,
    /// Where in its first slot the piece begins, in bytes.
    within: u32,
    /// Bytes of the piece; those before `at` are accounted for, `chunk` of them are being read.
    bytes: u32,
    at: u32,
    chunk: u32,
    attempts: u32,
    submitted_ns: u64,
    alarm_ns: u64,
    busy: bool,
}

impl Piece {
    fn idle() -> Piece {
        Piece {
            slots: [0; SEGMENTS_MAX],
            slot_count: 0,
            first: 0,
            first_at: 0,
            lane: Lane::Demand,
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

/// A file known to the loop.
#[derive(Debug)]
struct FileEntry {
    /// Kept open until the last read of it is done.
    _file: Arc<crate::ring::file::OpenFile>,
    align: u32,
    /// Slots taken from the lanes and not reported yet.
    slots: u32,
    closing: bool,
}

/// See the module.
pub(crate) struct SubmissionLoop<B, F> {
    shared: Arc<Shared>,
    backend: B,
    on_event: F,
    config: LoopConfig,
    spin: Arc<SpinGate>,
    /// The last round completed demand reads.
    delivered: bool,
    demand: Fifo,
    prefetch: Fifo,
    links: Links,
    pieces: Box<[Piece]>,
    idle: Vec<u32>,
    /// Pieces that wait for their next attempt: (time, piece).
    delayed: Vec<(u64, u32)>,
    completions: Vec<Completion>,
    files: Vec<Option<FileEntry>>,
    taken: Vec<u32>,
    segments: Vec<Segment>,
    /// Of all pieces.
    bytes: u64,
    prefetch_bytes: u64,
    prefetch_reads: u32,
    last_demand_ns: u64,
    now_ns: u64,
    stop_ns: Option<u64>,
    fixed_reads: u64,
    staged: u32,
}

/// What a step of the loop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Running,
    /// Stopped, nothing in flight.
    Stopped,
    /// Stopped, but some reads were never answered: nothing that the kernel may still write to can be freed.
    Abandoned,
}

impl<B: Backend, F: FnMut(Event)> SubmissionLoop<B, F> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        backend: B,
        config: LoopConfig,
        spin: Arc<SpinGate>,
        on_event: F,
    ) -> SubmissionLoop<B, F> {
        let depth = config.depth;
        let slots = shared.slots.len();
        SubmissionLoop {
            backend,
            on_event,
            config,
            spin,
            delivered: false,
            demand: Fifo::new(DEMAND_QUEUE),
            prefetch: Fifo::new(PREFETCH_QUEUE),
            links: Links::new(slots),
            pieces: vec![Piece::idle(); depth as usize].into_boxed_slice(),
            idle: (0..depth).rev().collect(),
            delayed: Vec::with_capacity(depth as usize),
            completions: Vec::with_capacity(depth as usize),
            files: Vec::new(),
            taken: Vec::with_capacity(slots as usize),
            segments: Vec::with_capacity(SEGMENTS_MAX),
            bytes: 0,
            prefetch_bytes: 0,
            prefetch_reads: 0,
            last_demand_ns: 0,
            now_ns: 0,
            stop_ns: None,
            fixed_reads: 0,
            staged: 0,
            shared,
        }
    }

    /// Bytes of memory that a loop holds beside its backend, for `slots` slots.
    pub(crate) fn memory_bytes(depth: u32, slots: u32) -> u64 {
        u64::from(depth) * (size_of::<Piece>() as u64 + 32) + u64::from(slots) * 16
    }

    /// Runs until stopped.
    pub(crate) fn run(&mut self) -> Step {
        loop {
            match self.step(true) {
                Step::Running => {}
                end => return end,
            }
        }
    }

    /// One round: take requests, issue reads, hand them over, sleep if `may_sleep`, deliver what completed.
    pub(crate) fn step(&mut self, may_sleep: bool) -> Step {
        self.now_ns = self.backend.now_ns();
        self.take_requests();
        self.retry_due();
        self.issue();
        let wait = self.wait(may_sleep);
        self.hand_over(wait);
        self.deliver();
        self.alarm();
        (self.on_event)(Event::Flush);
        self.end()
    }

    #[cfg(all(feature = "sim", not(loom)))]
    pub(crate) fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    fn in_flight(&self) -> u32 {
        self.config.depth - self.idle.len() as u32 - self.delayed.len() as u32
    }

    // ---- requests -------------------------------------------------------------------------------------------------

    fn take_requests(&mut self) {
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
        if lane == Lane::Demand {
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
                self.drop_queued(|slot| slot.file() == index, Fault::Closed);
                if let Some(Some(file)) = self.files.get_mut(index as usize) {
                    file.closing = true;
                }
                self.forget_if_done(index);
            }
            Control::Cancel { epoch } => {
                self.drop_queued(|slot| slot.epoch() == epoch, Fault::Closed);
            }
            Control::Stop => {
                self.stop_ns = Some(self.now_ns.saturating_add(self.config.shutdown_ns));
                self.drop_queued(|_| true, Fault::Shutdown);
                self.drop_demand();
                while let Some((_, piece)) = self.delayed.pop() {
                    self.fail_rest(piece, Fault::Shutdown);
                }
            }
            #[cfg(any(test, feature = "sim"))]
            // Without the message of a panic that nobody asked for.
            Control::Panic => std::panic::resume_unwind(Box::new("a test asked for it")),
        }
    }

    /// Takes prefetches that are not issued yet out of their queue.
    fn drop_queued(&mut self, which: impl Fn(&Slot) -> bool, fault: Fault) {
        let slots = self.shared.slots.clone();
        let mut next = self.prefetch.front();
        while let Some(index) = next {
            next = self.prefetch.after(&self.links, index);
            let slot = slots.get(index);
            if which(slot) && slot.issued.load(Relaxed) == 0 {
                self.prefetch.remove(&mut self.links, index);
                slot.fault.store(fault.encode(), Relaxed);
                self.report(index);
            }
        }
    }

    fn drop_demand(&mut self) {
        let slots = self.shared.slots.clone();
        let mut next = self.demand.front();
        while let Some(index) = next {
            next = self.demand.after(&self.links, index);
            let slot = slots.get(index);
            if slot.issued.load(Relaxed) == 0 {
                self.demand.remove(&mut self.links, index);
                slot.fault.store(Fault::Shutdown.encode(), Relaxed);
                self.report(index);
            }
        }
    }

    /// Reports a slot all of whose bytes are accounted for.
    fn report(&mut self, index: u32) {
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

    // ---- reads ----------------------------------------------------------------------------------------------------

    fn demand_active(&self) -> bool {
        self.last_demand_ns != 0
            && self.now_ns.saturating_sub(self.last_demand_ns) < DEMAND_ACTIVE_NS
    }

    fn issue(&mut self) {
        let mut demanded = false;
        let mut batch = FIRST_BATCH;
        let mut before = self.bytes;
        while !self.demand.is_empty() && !self.idle.is_empty() {
            self.issue_piece(Lane::Demand, self.config.io_bytes_max);
            demanded = true;
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
            while !self.prefetch.is_empty() && !self.idle.is_empty() {
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
            && !self.idle.is_empty()
            && self.prefetch_bytes < bytes_max
            && self.prefetch_reads < PREFETCH_READS_IN_FLIGHT
        {
            let limit = PREFETCH_PIECE_BYTES.min(self.config.io_bytes_max);
            self.issue_piece(Lane::Prefetch, limit);
        }
    }

    /// Makes a piece of the head of a queue and what follows it, and stages its read.
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
            self.shared
                .times(lane)
                .queue_ns
                .record(self.now_ns.saturating_sub(queued));
        }
        self.bytes += u64::from(bytes);
        if lane == Lane::Prefetch {
            self.prefetch_bytes += u64::from(bytes);
            self.prefetch_reads += 1;
        }
        self.stage(token);
    }

    /// First byte of frame `index`.
    fn address(&self, index: u32) -> *mut u8 {
        self.config
            .arena
            .wrapping_add(index as usize * self.config.frame_bytes as usize)
    }

    /// Hands the next chunk of a piece to the backend.
    fn stage(&mut self, token: u32) {
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
        self.backend.stage(Read {
            token,
            file: piece.file,
            offset: piece.offset + u64::from(piece.at),
            segments: &segments,
        });
        self.segments = segments;
        self.staged += 1;
    }

    /// Calls `each(slot, within the slot, length)` for the parts of slots in bytes `at..at + len` of a piece, which are
    /// not accounted for yet.
    fn overlaps(&self, piece: &Piece, at: u32, len: u32, mut each: impl FnMut(u32, u32, u32)) {
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
    fn pass_settled(&mut self, token: u32, at: u32) {
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

    fn hand_over(&mut self, wait: Wait) {
        if self.staged > 0 {
            add(&self.shared.counters.batches, 1);
            add(&self.shared.counters.depth_sum, u64::from(self.in_flight()));
            self.staged = 0;
        }
        if let Err(e) = self.backend.submit(wait, &self.shared.wake) {
            self.shared.note_backend_error(&e);
            // The ring itself is broken, which no kernel should do; do not spin on it.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if matches!(wait, Wait::Until { .. }) {
            self.shared.wake.unpark();
        }
        let fixed = self.backend.fixed_reads();
        add(&self.shared.counters.fixed_ios, fixed - self.fixed_reads);
        self.fixed_reads = fixed;
    }

    /// Announces the coming sleep and looks at the lanes once more.
    fn wait(&mut self, may_sleep: bool) -> Wait {
        let stopped = self.stop_ns.is_some() && self.in_flight() == 0;
        if !may_sleep || stopped {
            return Wait::No;
        }
        // Whoever was answered may ask for more at once.
        let expectant = self.delivered && self.in_flight() < SPIN_DEPTH && self.staged == 0;
        if expectant && self.spin.spin(SPIN_NS, || self.shared.has_work()) {
            return Wait::No;
        }
        self.shared.wake.announce_park();
        if self.shared.has_work() {
            self.shared.wake.unpark();
            return Wait::No;
        }
        let until_ns = [
            self.next_alarm(),
            self.delayed.iter().map(|&(due, _)| due).min(),
            self.stop_ns,
        ]
        .into_iter()
        .flatten()
        .min();
        let (count, batch_us) = self.batch();
        Wait::Until {
            count,
            batch_us,
            until_ns,
        }
    }

    /// When the next slot will have waited longer than the read deadline.
    fn next_alarm(&self) -> Option<u64> {
        let deadline = self.config.deadline_ns?;
        let in_flight = self.pieces.iter().filter(|piece| piece.busy);
        let fronts = [self.demand.front(), self.prefetch.front()];
        let queued = fronts.into_iter().flatten().map(|index| {
            let queued_ns = self.shared.slots.get(index).queued_ns.load(Relaxed);
            queued_ns.saturating_add(deadline)
        });
        in_flight.map(|piece| piece.alarm_ns).chain(queued).min()
    }

    /// How many completions are worth waiting for, and how long, in microseconds.
    ///
    /// One, where somebody waits for a single read, or where a prefetch would delay the first demand read. What a batch
    /// waits for, where there is only that. At high depth some more: the device has work while they come in.
    fn batch(&self) -> (u32, u32) {
        let in_flight = self.in_flight();
        let Some(want) = self
            .shared
            .batch_want()
            .filter(|_| self.prefetch_reads == 0)
        else {
            return (1, 0);
        };
        let (deep, wait_us) = match in_flight {
            DEEP.. => (in_flight / 4, DEEP_WAIT_US),
            _ => (1, BATCH_WAIT_US),
        };
        let typical = self.bytes / u64::from(in_flight.max(1));
        let enough = COMPLETED_BATCH.bytes / typical.max(1);
        let most = in_flight.min(COMPLETED_BATCH.reads).min(enough as u32);
        match want.max(deep).min(most) {
            0 | 1 => (1, 0),
            count => (count, wait_us),
        }
    }

    // ---- answers --------------------------------------------------------------------------------------------------

    fn deliver(&mut self) {
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
        add(&counters.ios, 1);
        add(&counters.bytes, bytes);
        if lane == Lane::Prefetch {
            add(&counters.prefetch_ios, 1);
            add(&counters.prefetch_bytes, bytes);
        }
        self.shared
            .times(lane)
            .device_ns
            .record(self.now_ns.saturating_sub(piece.submitted_ns));
        if result < 0 {
            return self.settle_error(token, -result);
        }
        let expected = self.expected(piece);
        let got = result as u32;
        if got > expected {
            return self.fail_chunk(token, Fault::Grew);
        }
        if got == expected {
            let chunk = piece.chunk;
            self.credit(token, chunk);
            return self.go_on(token, chunk.saturating_mul(2));
        }
        // A short read goes on where it stopped, at the alignment below.
        let align = self.align(piece.file);
        let whole = got - got % align;
        if whole > 0 {
            self.credit(token, whole);
            add(&self.shared.counters.retries, 1);
            return self.go_on(token, u32::MAX);
        }
        if got == 0 || piece.attempts + 1 >= ATTEMPTS_MAX {
            // Nothing there: the file ends before this byte.
            let fault = Fault::Short(self.bytes_in_first_slot(piece, got));
            return self.fail_first_slot(token, fault);
        }
        self.pieces[token as usize].attempts += 1;
        add(&self.shared.counters.retries, 1);
        self.again(token);
    }

    /// Bytes that the file holds of the chunk being read.
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

    /// Gives up on everything that a piece has not read.
    fn fail_rest(&mut self, token: u32, fault: Fault) {
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

    /// Reads the next chunk, of about `want` bytes (rounded up to whole slots), or ends the piece.
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
        if piece.lane == Lane::Prefetch {
            self.prefetch_bytes -= u64::from(piece.bytes);
            self.prefetch_reads -= 1;
        }
        self.idle.push(token);
    }

    fn retry_due(&mut self) {
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

    // ---- time and the end -----------------------------------------------------------------------------------------

    fn alarm(&mut self) {
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

    fn end(&mut self) -> Step {
        let Some(stop_ns) = self.stop_ns else {
            return Step::Running;
        };
        if self.in_flight() == 0 && self.delayed.is_empty() {
            return Step::Stopped;
        }
        if self.now_ns < stop_ns {
            return Step::Running;
        }
        self.backend.cancel_all();
        self.hand_over(Wait::No);
        self.deliver();
        if self.in_flight() == 0 {
            return Step::Stopped;
        }
        self.lose(Fault::Shutdown);
        Step::Abandoned
    }

    /// Reports every slot in flight as lost.
    fn lose(&mut self, fault: Fault) {
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
                // The eventfd of an old kernel is not read here, so that sleep is a short one.
                self.shared
                    .wake
                    .sleep(Some(std::time::Duration::from_millis(20)));
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
