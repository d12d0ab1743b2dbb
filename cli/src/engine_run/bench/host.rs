//! One host thread of a job: a window of reads that slides, or lone reads at depth one.

use std::time::{Duration, Instant};

use ringfield::{Batch, Engine, Field};

use super::ahead::Ahead;
use super::in_flight::InFlight;
use crate::bench::load::Load;
use crate::bench::order::{Order, Read};
use crate::bench::reads::{Reads, wait_until};
use crate::bench::round::Tally;
use crate::bench::thinktime::{Thinker, think};
use crate::engine_run::EngineContext;
use crate::error::{Error, Result};
use crate::interrupt;

pub(super) struct Host<'a> {
    job: Job<'a>,
    way: Way,
}

/// How it has its reads.
enum Way {
    OneByOne,
    Window(Batch),
    Ahead(Ahead),
}

impl<'a> Host<'a> {
    /// The host thread with this `number` of its section.
    pub(super) fn new(
        engine: &Engine,
        load: &'a Load,
        fields: &'a [Field],
        number: u32,
    ) -> Result<Host<'a>> {
        let way = match load.iodepth {
            depth if load.prefetch => Way::Ahead(Ahead::new(depth)),
            1 => Way::OneByOne,
            depth => Way::Window(engine.batch(depth as usize).engine("no batch")?),
        };
        let job = Job {
            load,
            fields,
            reads: Reads::new(load, Order::new(load, number), 1),
            thinker: Thinker::new(load.thinktime),
            completed: 0,
        };
        Ok(Host { job, way })
    }

    pub(super) fn run(self, tally: &mut Tally) -> Result<()> {
        let Host { mut job, way } = self;
        match way {
            Way::OneByOne => job.one_by_one(tally),
            Way::Window(mut batch) => job.window(&mut batch, tally),
            Way::Ahead(mut ahead) => job.window(&mut ahead, tally),
        }
    }
}

struct Job<'a> {
    load: &'a Load,
    fields: &'a [Field],
    reads: Reads<'a>,
    thinker: Thinker,
    /// Reads taken.
    completed: u64,
}

/// Why no more reads are begun for now.
enum Stop {
    Full,
    /// The rate allows the next one later.
    Early,
    Think(Duration),
    Over,
}

impl<'a> Job<'a> {
    /// One read at a time.
    fn one_by_one(&mut self, tally: &mut Tally) -> Result<()> {
        let start = Instant::now();
        while self.reads.go_on(start.elapsed()) && !interrupt::requested() {
            wait_until(self.load, self.reads.due(), start);
            if !self.reads.go_on(start.elapsed()) {
                break;
            }
            let Some(read) = self.reads.next() else {
                break;
            };
            let (field, read) = self.of_field(read)?;
            let begin = Instant::now();
            let view = field
                .read(read.offset..read.offset + read.bytes)
                .engine("cannot read")?;
            tally.record(begin.elapsed(), read.bytes);
            std::hint::black_box(view.chunks().next());
            self.completed += 1;
            self.thought().into_iter().for_each(think);
        }
        Ok(())
    }

    /// A read of a file as one of its field: the pages of a packed field do not begin where the file does.
    fn of_field(&self, read: Read) -> Result<(&'a Field, Read)> {
        let file = self
            .fields
            .get(read.file)
            .zip(self.load.files.get(read.file));
        let (field, region) = file.ok_or_else(|| Error::message("a read of no file"))?;
        let offset = read.offset - region.begin;
        Ok((field, Read { offset, ..read }))
    }

    fn thought(&mut self) -> Option<Duration> {
        self.thinker.due(self.reads.begun(), self.completed)
    }

    /// `iodepth` reads in flight: handed over in batches, taken in batches, refilled at once.
    fn window(&mut self, in_flight: &mut impl InFlight, tally: &mut Tally) -> Result<()> {
        let start = Instant::now();
        loop {
            let stop = self.refill(in_flight, start)?;
            in_flight.flush();
            let thought = match stop {
                Stop::Full => {
                    self.reap(in_flight, start, tally)?;
                    self.thought()
                }
                Stop::Early => {
                    self.reap(in_flight, start, tally)?;
                    None
                }
                Stop::Think(time) => Some(time),
                Stop::Over => return self.drain(in_flight, start, tally),
            };
            if let Some(time) = thought {
                self.drain(in_flight, start, tally)?;
                think(time);
            }
        }
    }

    /// Takes as many reads as the job takes before it begins others.
    fn reap(
        &mut self,
        in_flight: &mut impl InFlight,
        start: Instant,
        tally: &mut Tally,
    ) -> Result<()> {
        let load = self.load;
        let (min, max) = (load.batch_complete_min.max(1), load.batch_complete_max);
        loop {
            self.completed += in_flight.take(min as usize, max as usize, start, tally)?;
            if in_flight.pending() <= load.iodepth_low as usize {
                return Ok(());
            }
        }
    }

    /// Takes all reads that are in flight.
    fn drain(
        &mut self,
        in_flight: &mut impl InFlight,
        start: Instant,
        tally: &mut Tally,
    ) -> Result<()> {
        while in_flight.pending() > 0 {
            let all = in_flight.pending();
            self.completed += in_flight.take(all, all, start, tally)?;
        }
        Ok(())
    }

    /// Begins reads until the queue is full or something else stops it.
    fn refill(&mut self, in_flight: &mut impl InFlight, start: Instant) -> Result<Stop> {
        let load = self.load;
        let mut staged = 0;
        loop {
            let mut elapsed = start.elapsed();
            if !self.reads.go_on(elapsed) || interrupt::requested() {
                return Ok(Stop::Over);
            }
            if in_flight.pending() == 0 {
                wait_until(load, self.reads.due(), start);
                elapsed = start.elapsed();
                if !self.reads.go_on(elapsed) {
                    return Ok(Stop::Over);
                }
            } else if self.reads.due() > elapsed {
                return Ok(Stop::Early);
            }
            let Some(read) = self.reads.next() else {
                return Ok(Stop::Over);
            };
            let (field, read) = self.of_field(read)?;
            in_flight.submit(field, read, elapsed)?;
            if in_flight.pending() >= load.iodepth as usize {
                return Ok(Stop::Full);
            }
            if let Some(time) = self.thought() {
                return Ok(Stop::Think(time));
            }
            staged += 1;
            if staged == load.batch_submit {
                in_flight.flush();
                staged = 0;
            }
        }
    }
}
