//! The reads of a host thread that are in flight: those that it waits for, in a batch.

use std::time::{Duration, Instant};

use ringfield::{Batch, Field};

use crate::bench::order::Read;
use crate::bench::round::Tally;
use crate::engine_run::EngineContext;
use crate::error::{Error, Result};

/// The two ways of a host to have its reads: waited for, or read ahead.
pub(super) trait InFlight {
    /// Reads begun and not taken yet.
    fn pending(&self) -> usize;

    /// Begins a read, `elapsed` after the start of the job.
    fn submit(&mut self, field: &Field, read: Read, elapsed: Duration) -> Result<()>;

    /// Hands over what was begun.
    fn flush(&mut self);

    /// Waits for `min` reads or all there are, takes at most `max`, and says how many.
    fn take(&mut self, min: usize, max: usize, start: Instant, tally: &mut Tally) -> Result<u64>;
}

impl InFlight for Batch {
    fn pending(&self) -> usize {
        Batch::pending(self)
    }

    fn submit(&mut self, field: &Field, read: Read, elapsed: Duration) -> Result<()> {
        let tag = u64::try_from(elapsed.as_nanos()).map_err(Error::message)?;
        Batch::submit(self, field, read.offset..read.offset + read.bytes, tag).engine("cannot read")
    }

    fn flush(&mut self) {
        Batch::flush(self);
    }

    fn take(&mut self, min: usize, max: usize, start: Instant, tally: &mut Tally) -> Result<u64> {
        self.wait(min.min(self.pending()));
        let mut taken = 0;
        while taken < max as u64
            && let Some(ready) = self.next()
        {
            let view = ready.view().engine("cannot read")?;
            let submitted = Duration::from_nanos(ready.tag());
            tally.record(start.elapsed().saturating_sub(submitted), view.len() as u64);
            std::hint::black_box(view.chunks().next());
            taken += 1;
        }
        Ok(taken)
    }
}
