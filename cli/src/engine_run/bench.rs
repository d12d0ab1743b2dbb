//! A job through the engine: a window of reads that slides, or lone reads at depth one.

use std::thread;
use std::time::{Duration, Instant};

use ringfield::{BackendKind, Batch, Engine, Field};

use super::EngineContext;
use crate::args::{Backend, BenchArgs};
use crate::bench::load::Load;
use crate::bench::order::Order;
use crate::bench::round::{Latencies, Measured, Round};
use crate::bench::wait_until_due;
use crate::doctor::Item;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::os;
use crate::size::Size;

const BUDGET_BYTES_MIN: u64 = 16 << 20;
const PAGE_BYTES_MIN: u64 = 4 << 10;
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// One round of a job, in an engine of its own whose making is not timed.
pub(crate) fn bench_round(load: &Load, args: &BenchArgs) -> Result<Round> {
    let page_bytes = args
        .page_size
        .map_or_else(|| page_bytes(load), |size| size.0);
    let engine = build(load, args, page_bytes)?;
    let field = engine
        .open(&load.path)
        .engine("the engine cannot open the file")?;
    let before = engine.stats();
    let measured = Measured::run(
        load.numjobs,
        |job| {
            let batch = engine.batch(load.iodepth as usize).engine("no batch")?;
            Ok(Job {
                load,
                field: field.clone(),
                order: Order::new(load, job),
                batch,
            })
        },
        |_, job, latencies| job.run(latencies),
    )?;
    interrupt::check()?;
    let iowq_threads = os::iowq_threads("self");
    let stats = engine.stats();
    let (hits, misses) = (stats.hits - before.hits, stats.misses - before.misses);
    let hit_share = hits as f64 / (hits + misses).max(1) as f64;
    let items = super::items(&engine);
    Ok(Round {
        backend: super::backend(&items),
        flags: flags(&items, page_bytes, stats.inline_ios > before.inline_ios),
        fixed_buffer_share: Some(stats.fixed_share()),
        iowq_threads,
        ..measured.round(load, hit_share)
    })
}

/// The largest page that no read of the job leaves partly unused.
fn page_bytes(load: &Load) -> u64 {
    let power_of_two = 1 << load.block_bytes.trailing_zeros();
    u64::clamp(power_of_two, PAGE_BYTES_MIN, PAGE_BYTES_MAX)
}

fn build(load: &Load, args: &BenchArgs, page_bytes: u64) -> Result<Engine> {
    let reads = u64::from(load.iodepth) * u64::from(load.numjobs);
    let in_flight_bytes = reads * load.block_bytes.next_multiple_of(page_bytes);
    // Room for what is in flight, for what is being looked at, and for metadata.
    let budget = (4 * in_flight_bytes + (4 << 20)).max(BUDGET_BYTES_MIN);
    let depth = args
        .queue_depth
        .unwrap_or_else(|| u32::try_from(reads).unwrap_or(u32::MAX).min(4096));
    let builder = Engine::builder()
        .page_size(page_bytes)
        .dram_budget(args.budget.map_or(budget, |size| size.0))
        .queue_depth(depth)
        .inline_reads(!args.no_inline)
        .backend(match args.backend {
            Backend::Auto => BackendKind::Auto,
            Backend::Uring => BackendKind::Uring,
            Backend::Pread => BackendKind::Pread,
            Backend::Mmap => BackendKind::Mmap,
        });
    builder.build().engine("the engine cannot be built")
}

/// What decides the speed of the row, and everything that was refused.
fn flags(items: &[Item], page_bytes: u64, inline: bool) -> Vec<String> {
    let mut flags = vec![format!("pages of {}", Size(page_bytes))];
    flags.extend(inline.then(|| "inline reads".to_owned()));
    for row in items {
        let name = row.name();
        if !row.why.is_empty() {
            flags.push(format!("no {name}: {}", row.why));
        } else if matches!(
            name,
            "io_uring flags" | "huge pages" | "queue depth" | "direct I/O"
        ) {
            flags.push(format!("{name} {}", row.granted));
        }
    }
    flags
}

/// One host thread.
struct Job<'a> {
    load: &'a Load,
    field: Field,
    order: Order,
    batch: Batch,
}

impl Job<'_> {
    fn run(mut self, latencies: &mut Latencies) -> Result<()> {
        if self.load.iodepth == 1 {
            self.lone(latencies)
        } else {
            self.window(latencies)
        }
    }

    /// One read at a time.
    fn lone(&mut self, latencies: &mut Latencies) -> Result<()> {
        let start = Instant::now();
        for index in 0.. {
            if !self.load.goes_on(index, start.elapsed()) || interrupt::requested() {
                break;
            }
            wait_until_due(self.load, start, index);
            let offset = self.order.offset(index);
            let begin = Instant::now();
            let view = self
                .field
                .read(offset..offset + self.load.block_bytes)
                .engine("cannot read")?;
            latencies.record(begin.elapsed());
            std::hint::black_box(view.chunks().next());
        }
        Ok(())
    }

    /// `iodepth` reads in flight: handed over in batches, taken in batches, refilled at once.
    fn window(&mut self, latencies: &mut Latencies) -> Result<()> {
        let load = self.load;
        let start = Instant::now();
        let mut next = 0;
        while self.refill(start, &mut next)? || self.batch.pending() > 0 {
            // At the end of a burst or of the job everything is waited for.
            let drain = load.pause_before(next).is_some() || !load.goes_on(next, start.elapsed());
            let (min, keep) = match drain {
                true => (load.iodepth, 0),
                false => (load.batch_complete_min.max(1), load.iodepth_low),
            };
            loop {
                self.batch.wait((min as usize).min(self.batch.pending()));
                self.take(start, latencies)?;
                if self.batch.pending() <= keep as usize {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Submits until the window is full, a burst is complete or the job is over (then: false).
    fn refill(&mut self, start: Instant, next: &mut u64) -> Result<bool> {
        let load = self.load;
        let mut staged = 0;
        while self.batch.pending() < load.iodepth as usize {
            let mut elapsed = start.elapsed();
            if !load.goes_on(*next, elapsed) || interrupt::requested() {
                self.batch.flush();
                return Ok(false);
            }
            if self.batch.pending() == 0 {
                load.pause_before(*next).into_iter().for_each(thread::sleep);
                wait_until_due(load, start, *next);
                elapsed = start.elapsed();
            } else if load.pause_before(*next).is_some() || load.due(*next) > elapsed {
                break;
            }
            let offset = self.order.offset(*next);
            let tag = u64::try_from(elapsed.as_nanos()).map_err(Error::message)?;
            self.batch
                .submit(&self.field, offset..offset + load.block_bytes, tag)
                .engine("cannot read")?;
            *next += 1;
            staged += 1;
            if staged == load.batch_submit {
                self.batch.flush();
                staged = 0;
            }
        }
        self.batch.flush();
        Ok(true)
    }

    /// Takes results, at most as many as the job takes at once.
    fn take(&mut self, start: Instant, latencies: &mut Latencies) -> Result<()> {
        for _ in 0..self.load.batch_complete_max {
            let Some(ready) = self.batch.next() else {
                break;
            };
            let view = ready.view().engine("cannot read")?;
            latencies.record(
                start
                    .elapsed()
                    .saturating_sub(Duration::from_nanos(ready.tag())),
            );
            std::hint::black_box(view.chunks().next());
        }
        Ok(())
    }
}
