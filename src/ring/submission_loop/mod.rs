//! The submission loop of one device: takes requests from the lanes, makes reads and writes of them, and makes outcomes
//! of the answers.
//!
//! A *piece* is one read or one write in flight. It covers one slot, a part of one large slot, or several slots that are
//! adjacent in the file and go the same way. Whatever goes wrong with it is settled here, piece by piece: a short one goes
//! on where it stopped, a transient error is tried again with growing pauses, and any other error is bisected until only
//! the slots that cannot be had have failed. A slot is reported when all its bytes are accounted for.
//!
//! Writes travel in the demand lane, in turn with its reads, and leave no other trace there: they hold no prefetch back,
//! teach the depth control nothing, and are counted by themselves.

mod answers;
mod deadlines;
pub(crate) mod depth;
mod failure;
mod hand_over;
mod issue;
mod piece;
mod requests;

use self::depth::DepthControl;
use self::piece::Piece;
use crate::ring::backend::{Backend, Completion, SEGMENTS_MAX, Segment, Wait};
use crate::ring::fault::Fault;
use crate::ring::fifo::{Fifo, Links};
use crate::ring::shared::Shared;
use crate::ring::spin::SpinGate;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What the loop tells the owner of the slots.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The slot's memory is filled, or written, or will not be; it belongs to the claimer again.
    Done {
        slot: u32,
        outcome: Result<(), Fault>,
    },
    /// The slot's read or write will never be answered within this process's patience: its waiters get `Fault`, its memory
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
    /// Reads and writes in flight, at most.
    pub(crate) depth: u32,
    /// How many of them there are is found by measuring.
    pub(crate) find_depth: bool,
    /// Address of frame 0; slot `i` fills the memory from frame `i` on.
    pub(crate) arena: *mut u8,
    pub(crate) frame_bytes: u64,
    /// Largest single read or write, in bytes.
    pub(crate) io_bytes_max: u32,
    /// Alarm period for slots without an answer, in nanoseconds.
    pub(crate) deadline_ns: Option<u64>,
    /// How long shutdown waits for what is in flight, in nanoseconds.
    pub(crate) shutdown_ns: u64,
}

const DEMAND_QUEUE: u32 = 0;
const PREFETCH_QUEUE: u32 = 1;

/// A file known to the loop.
#[derive(Debug)]
struct FileEntry {
    /// Kept open until the last read or write of it is done.
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
    /// Reads and writes that may be in flight now.
    limit: u32,
    /// And bytes, before another one is issued.
    limit_bytes: u64,
    depth: Option<Box<DepthControl>>,
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
    /// Pieces that are writes.
    writes: u32,
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
        let control = config
            .find_depth
            .then(|| Box::new(DepthControl::new(depth)));
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
            limit: control.as_ref().map_or(depth, |control| control.limit()),
            limit_bytes: control
                .as_ref()
                .map_or(u64::MAX, |control| control.limit_bytes()),
            depth: control,
            delayed: Vec::with_capacity(depth as usize),
            completions: Vec::with_capacity(depth as usize),
            files: Vec::new(),
            taken: Vec::with_capacity(slots as usize),
            segments: Vec::with_capacity(SEGMENTS_MAX),
            bytes: 0,
            prefetch_bytes: 0,
            prefetch_reads: 0,
            writes: 0,
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
        u64::from(depth) * (size_of::<Piece>() as u64 + 32)
            + u64::from(slots) * 16
            + size_of::<DepthControl>() as u64
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

    /// One round: take requests, issue reads and writes, hand them over, sleep if `may_sleep`, deliver what completed.
    pub(crate) fn step(&mut self, may_sleep: bool) -> Step {
        self.now_ns = self.backend.now_ns();
        self.take_requests();
        self.retry_due();
        self.issue();
        self.adapt_depth();
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

    /// True where another read or write may be issued.
    pub(super) fn has_room(&self) -> bool {
        self.config.depth - (self.idle.len() as u32) < self.limit && self.bytes < self.limit_bytes
    }

    /// Tells the depth control whether reads wait for nothing but the depth. What they come to beside writes says
    /// nothing of it.
    fn adapt_depth(&mut self) {
        let full = !self.has_room();
        let Some(control) = &mut self.depth else {
            return;
        };
        let waiting = !self.demand.is_empty() || !self.prefetch.is_empty();
        if self.writes == 0 {
            control.round(self.now_ns, waiting && full);
        } else {
            control.disturbed(self.now_ns);
        }
        self.limit = control.limit();
        self.limit_bytes = control.limit_bytes();
        let found = u64::from(control.found().unwrap_or(0));
        let shown = &self.shared.counters.depth_found;
        if shown.load(Relaxed) != found {
            shown.store(found, Relaxed);
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.config.depth - self.idle.len() as u32 - self.delayed.len() as u32
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
}
