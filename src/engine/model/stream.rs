//! The segments as they come: those that stay, and a window that runs through the others.

use super::segments::{Place, Segment, Segments};
use super::stats::ModelStats;
use super::weights::Matrix;
use crate::engine::Engine;
use crate::engine::batch::{Batch, Requests};
use crate::engine::view::View;
use crate::error::{Error, Result};
use crate::sync::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Segments that are on their way at most.
const SLOTS_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) matrices: Vec<Matrix>,
    pub(super) segments: Segments,
    /// Pins the segments that stay.
    resident: Batch,
    /// Streamed segment `n` of the endless sequence of passes is in slot `n % slots`.
    slots: Vec<Mutex<Slot>>,
    ahead: Mutex<Ahead>,
    /// Somebody has come to all before this.
    taken: AtomicU64,
    /// Where in that sequence the pass in progress begins and ends.
    pass: AtomicU64,
    pass_end: AtomicU64,
    waited_ns: AtomicU64,
    computed_ns: AtomicU64,
    /// Bytes of weights that were used, and of these, bytes that had to be read.
    used_bytes: AtomicU64,
    read_bytes: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    batch: Batch,
    /// Which of the sequence it holds or waits for.
    holds: Option<u64>,
}

/// How far reads are ahead.
#[derive(Debug, Default)]
struct Ahead {
    /// The next of the sequence that will be asked for, if nobody has come to it before.
    next: u64,
    /// Pages of those that were asked for and not used yet.
    pages: u64,
    /// Requests that are handed over together.
    requests: Requests,
}

impl Slot {
    fn clear(&mut self) {
        self.batch.clear();
        self.holds = None;
    }
}

impl Stream {
    /// Reads what stays.
    pub(super) fn open(
        engine: &Engine,
        matrices: Vec<Matrix>,
        segments: Segments,
    ) -> Result<Stream> {
        let mut resident = engine.batch(segments.resident.max(1))?;
        for segment in &segments.all {
            if let Place::Resident(index) = segment.place {
                submit(&mut resident, &matrices, segment, index as u64)?;
            }
        }
        let there = resident.wait(segments.resident);
        // A page that cannot be read is found now, and not by the first token.
        for index in 0..segments.resident {
            match resident.view(index) {
                Err(Error::Busy { .. }) if there < segments.resident => {
                    // It could not even be asked for: something else of this engine pins what it needs.
                    let missing = segments.all.iter().filter(
                        |segment| matches!(segment.place, Place::Resident(place) if place >= index),
                    );
                    let need: u64 = missing.map(|segment| segment.pages).sum();
                    let field = &matrices[0].tensor.field().shared;
                    return Err(field.pool_pinned(u32::try_from(need).unwrap_or(u32::MAX)));
                }
                view => drop(view?),
            }
        }
        // Segments of one page each would fill it; of those that share pages there are more.
        let slots = 4 * segments.window_pages as usize + 1;
        let slots = (0..slots.min(segments.streamed.len()).min(SLOTS_MAX)).map(|_| {
            Ok(Mutex::new(Slot {
                batch: engine.batch(1)?,
                holds: None,
            }))
        });
        let stream = Stream {
            slots: slots.collect::<Result<_>>()?,
            matrices,
            segments,
            resident,
            ahead: Mutex::default(),
            taken: AtomicU64::new(0),
            pass: AtomicU64::new(0),
            pass_end: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            computed_ns: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
        };
        Ok(stream)
    }

    fn streamed(&self) -> u64 {
        self.segments.streamed.len() as u64
    }

    /// Number `n` of the sequence, of the pass in progress or later. Whatever that pass leaves out, those after it are
    /// expected to be whole.
    fn segment(&self, n: u64) -> &Segment {
        let (start, end) = (self.pass.load(Relaxed), self.pass_end.load(Relaxed));
        let place = if n < end {
            n - start
        } else {
            (n - end) % self.streamed()
        };
        &self.segments.all[self.segments.streamed[place as usize]]
    }

    fn slot(&self, n: u64) -> &Mutex<Slot> {
        &self.slots[(n % self.slots.len() as u64) as usize]
    }

    /// Begins a pass that uses the first `count` of all segments, each once; asks for the first of them.
    pub(super) fn begin(&self, count: usize) -> Result<()> {
        if self.pass.load(Relaxed) != self.pass_end.load(Relaxed) {
            // The last one was not ended: its thread panicked.
            self.abandon();
        }
        let streamed = self.segments.streamed.partition_point(|&at| at < count) as u64;
        let end = self.pass.load(Relaxed) + streamed;
        if 0 < streamed && streamed < self.streamed() {
            let mut ahead = lock(&self.ahead);
            // What is there already of segments that this pass leaves out was read for a whole one.
            for slot in &self.slots {
                let mut slot = lock(slot);
                if let Some(n) = slot.holds.filter(|&n| n >= end) {
                    ahead.pages -= self.segment(n).charge;
                    slot.clear();
                }
            }
            ahead.next = ahead.next.min(end);
        }
        self.pass_end.store(end, Relaxed);
        self.read_ahead()
    }

    /// Asks for as much as the window has room for, once there is room for a large read.
    fn read_ahead(&self) -> Result<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let mut ahead = lock(&self.ahead);
        let room = self.segments.window_pages.saturating_sub(ahead.pages);
        if ahead.pages > 0 && room < self.segments.step_pages {
            return Ok(());
        }
        let asked = self.ask(&mut ahead);
        ahead.requests.submit();
        asked
    }

    fn ask(&self, ahead: &mut Ahead) -> Result<()> {
        loop {
            let n = ahead.next.max(self.taken.load(Relaxed));
            let segment = self.segment(n);
            if ahead.pages > 0 && ahead.pages + segment.charge > self.segments.window_pages {
                return Ok(());
            }
            // Whoever uses what is in it reads ahead afterwards.
            let Ok(mut slot) = self.slot(n).try_lock() else {
                return Ok(());
            };
            if slot.holds.is_some() {
                return Ok(());
            }
            submit(&mut slot.batch, &self.matrices, segment, n)?;
            slot.batch.flush_into(&mut ahead.requests);
            slot.holds = Some(n);
            ahead.next = n + 1;
            ahead.pages += segment.charge;
        }
    }

    /// Ends a pass in which every segment was used that it began with.
    pub(super) fn end(&self) {
        self.pass.store(self.pass_end.load(Relaxed), Relaxed);
    }

    /// Asks once more for number `n`, before all that was read ahead of it: gives that back, but for what others are using.
    fn send_first(&self, slot: &mut Slot, n: u64) -> Result<()> {
        // Kept until it is sent, so that nobody reads ahead into the room.
        let mut ahead = lock(&self.ahead);
        for slot in &self.slots {
            let Ok(mut slot) = slot.try_lock() else {
                continue;
            };
            if let Some(later) = slot.holds.filter(|&later| later > n) {
                ahead.pages -= self.segment(later).charge;
                slot.clear();
            }
        }
        ahead.next = n + 1;
        slot.clear();
        self.send(slot, n)
    }

    /// Forgets a pass that was not finished: the next one starts from its beginning.
    pub(super) fn abandon(&self) {
        let mut ahead = lock(&self.ahead);
        for slot in &self.slots {
            lock(slot).clear();
        }
        let next = self.pass.load(Relaxed);
        self.taken.store(next, Relaxed);
        ahead.next = next;
        ahead.pages = 0;
    }

    /// Asks for number `n` of the sequence.
    fn send(&self, slot: &mut Slot, n: u64) -> Result<()> {
        submit(&mut slot.batch, &self.matrices, self.segment(n), n)?;
        slot.batch.flush();
        slot.holds = Some(n);
        Ok(())
    }

    /// Gives `work` the bytes of a segment, once they are there. Each segment is used once in a pass.
    pub(super) fn with<R>(
        &self,
        segment: &Segment,
        work: impl FnOnce(&View<'_>) -> R,
    ) -> Result<R> {
        let place = match segment.place {
            Place::Resident(index) => {
                let view = self.resident.view(index)?;
                return Ok(self.timed(&view, work));
            }
            Place::Streamed(place) => place as u64,
        };
        let n = self.pass.load(Relaxed) + place;
        let mut slot = lock(self.slot(n));
        self.taken.fetch_max(n + 1, Relaxed);
        if slot.holds != Some(n) {
            // It comes sooner than the window: a frame for it is there, as each thread has room for one.
            let mut ahead = lock(&self.ahead);
            ahead.pages += segment.charge;
            // One that comes later waits until it is asked for again.
            let other = slot.holds.map_or(0, |other| self.segment(other).charge);
            slot.clear();
            ahead.pages -= other;
            drop(ahead);
            self.send(&mut slot, n)?;
        }
        let started = Instant::now();
        slot.batch.wait(1);
        if matches!(slot.batch.view(0), Err(Error::PoolPinned { .. })) {
            // There was no room when it was asked for. Now it goes before what is not used yet.
            self.send_first(&mut slot, n)?;
            slot.batch.wait(1);
        }
        self.waited_ns.fetch_add(nanoseconds(started), Relaxed);
        let result = {
            let view = slot.batch.view(0)?;
            self.read_bytes.fetch_add(view.len() as u64, Relaxed);
            self.timed(&view, work)
        };
        slot.clear();
        drop(slot);
        lock(&self.ahead).pages -= segment.charge;
        self.read_ahead()?;
        Ok(result)
    }

    fn timed<R>(&self, view: &View<'_>, work: impl FnOnce(&View<'_>) -> R) -> R {
        let started = Instant::now();
        let result = work(view);
        self.computed_ns.fetch_add(nanoseconds(started), Relaxed);
        self.used_bytes.fetch_add(view.len() as u64, Relaxed);
        result
    }

    /// Adds what happened to `stats`.
    pub(super) fn count(&self, stats: &mut ModelStats) {
        stats.weight_bytes = self.used_bytes.load(Relaxed);
        stats.streamed_bytes = self.read_bytes.load(Relaxed);
        stats.io_wait = Duration::from_nanos(self.waited_ns.load(Relaxed));
        stats.compute = Duration::from_nanos(self.computed_ns.load(Relaxed));
    }
}

fn nanoseconds(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

fn submit(batch: &mut Batch, matrices: &[Matrix], segment: &Segment, tag: u64) -> Result<()> {
    let matrix = &matrices[segment.matrix];
    let bytes = matrix.bytes_of(segment.rows.clone());
    batch.submit(matrix.tensor.field(), bytes, tag)
}
