//! The segments as they come: those that stay, and a window that runs through the others.

use super::segments::{Place, Segment, Segments};
use super::stats::ModelStats;
use super::weights::Matrix;
use crate::engine::Engine;
use crate::engine::batch::Batch;
use crate::engine::view::View;
use crate::error::Result;
use crate::sync::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) matrices: Vec<Matrix>,
    pub(super) segments: Segments,
    /// Pins the segments that stay.
    resident: Batch,
    /// Streamed segment `n` of the endless sequence of passes is in slot `n % window`.
    slots: Vec<Mutex<Slot>>,
    /// Where in that sequence the pass in progress begins.
    pass: AtomicU64,
    waited_ns: AtomicU64,
    computed_ns: AtomicU64,
    /// Bytes of weights that were used, and of these, bytes that had to be read.
    used_bytes: AtomicU64,
    read_bytes: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    batch: Batch,
    /// Which of the sequence it holds or waits for; `None` before the first pass and after a failure.
    holds: Option<u64>,
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
        resident.wait(segments.resident);
        // A page that cannot be read is found now, and not by the first token.
        for index in 0..segments.resident {
            resident.view(index)?;
        }
        let slots = (0..segments.window).map(|_| {
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
            pass: AtomicU64::new(0),
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

    /// Begins a pass: reads ahead whatever is not on its way.
    pub(super) fn begin(&self) -> Result<()> {
        let first = self.pass.load(Relaxed);
        for n in first..first + self.slots.len() as u64 {
            let mut slot = lock(&self.slots[n as usize % self.slots.len()]);
            if slot.holds != Some(n) {
                self.send(&mut slot, n)?;
            }
        }
        Ok(())
    }

    /// Ends a pass in which every segment was used.
    pub(super) fn end(&self) {
        self.pass.fetch_add(self.streamed(), Relaxed);
    }

    /// Forgets a pass that was not finished: the next one starts from its beginning.
    pub(super) fn abandon(&self) {
        for slot in &self.slots {
            let mut slot = lock(slot);
            slot.batch.clear();
            slot.holds = None;
        }
    }

    /// Asks for number `n` of the sequence.
    fn send(&self, slot: &mut Slot, n: u64) -> Result<()> {
        slot.batch.clear();
        slot.holds = None;
        let index = self.segments.streamed[(n % self.streamed()) as usize];
        submit(
            &mut slot.batch,
            &self.matrices,
            &self.segments.all[index],
            n,
        )?;
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
        let mut slot = lock(&self.slots[n as usize % self.slots.len()]);
        if slot.holds != Some(n) {
            self.send(&mut slot, n)?;
        }
        let started = Instant::now();
        slot.batch.wait(1);
        self.waited_ns.fetch_add(nanoseconds(started), Relaxed);
        let result = {
            let view = slot.batch.view(0)?;
            self.read_bytes.fetch_add(view.len() as u64, Relaxed);
            self.timed(&view, work)
        };
        self.send(&mut slot, n + self.slots.len() as u64)?;
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
