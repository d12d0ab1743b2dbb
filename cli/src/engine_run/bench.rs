//! A job through the engine: a window of reads that slides, or lone reads at depth one.

use std::thread;
use std::time::{Duration, Instant};

use ringfield::{BackendKind, Batch, Engine, Field};

use super::EngineContext;
use crate::args::{Backend, HugePages};
use crate::bench::load::{Load, Region};
use crate::bench::order::{Order, Read};
use crate::bench::reads::{Reads, wait_until};
use crate::bench::round::{Measured, Round, Tally};
use crate::doctor::Item;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::job::EngineSettings;
use crate::os;
use crate::size::Size;

const BUDGET_BYTES_MIN: u64 = 16 << 20;
const PAGE_BYTES_MIN: u64 = 4 << 10;
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// One round of all sections in one engine, whose making is not timed.
pub(crate) fn bench_round(loads: &[Load], settings: &EngineSettings) -> Result<Vec<Round>> {
    let page_bytes = settings.page_size.unwrap_or_else(|| page_bytes(loads));
    let budget = settings
        .dram_budget
        .unwrap_or_else(|| budget(loads, page_bytes));
    let engine = build(loads, settings, page_bytes, budget)?;
    let fields = loads
        .iter()
        .map(|load| fields(&engine, load))
        .collect::<Result<Vec<_>>>()?;
    let sections: Vec<_> = loads.iter().zip(&fields).collect();
    let threads: Vec<u32> = loads.iter().map(|load| load.numjobs).collect();
    let before = engine.stats();
    let measured = Measured::run(
        &threads,
        |thread| {
            let (load, fields) = *sections
                .get(thread.section)
                .ok_or_else(|| Error::message("a thread without a section"))?;
            let batch = engine.batch(load.iodepth as usize).engine("no batch")?;
            Ok(Job {
                load,
                fields,
                reads: Reads::new(load, Order::new(load, thread.number), 1),
                batch,
            })
        },
        |_, job, tally| job.run(tally),
    )?;
    interrupt::check()?;
    let iowq_threads = os::iowq_threads("self");
    let stats = engine.stats();
    let (hits, misses) = (stats.hits - before.hits, stats.misses - before.misses);
    let hit_share = hits as f64 / (hits + misses).max(1) as f64;
    let items = super::items(&engine);
    let rounds = measured.rounds(hit_share).into_iter();
    Ok(rounds
        .map(|round| Round {
            backend: super::backend(&items),
            flags: flags(
                &items,
                page_bytes,
                budget,
                stats.inline_ios > before.inline_ios,
            ),
            fixed_buffer_share: Some(stats.fixed_share()),
            iowq_threads,
            ..round
        })
        .collect())
}

fn fields(engine: &Engine, load: &Load) -> Result<Vec<Field>> {
    let open = |file: &Region| engine.open(&file.path);
    let fields: ringfield::Result<_> = load.files.iter().map(open).collect();
    fields.engine("the engine cannot open the file")
}

/// The largest page that no read of the sections leaves partly unused.
fn page_bytes(loads: &[Load]) -> u64 {
    let granule = loads.iter().map(|load| load.sizes.granule()).min();
    granule
        .unwrap_or(PAGE_BYTES_MIN)
        .clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX)
}

fn reads_in_flight(load: &Load) -> u64 {
    u64::from(load.iodepth) * u64::from(load.numjobs)
}

/// Room for what is in flight, for what is being looked at, and for metadata.
fn budget(loads: &[Load], page_bytes: u64) -> u64 {
    let in_flight_bytes: u64 = loads
        .iter()
        .map(|load| reads_in_flight(load) * load.sizes.max().next_multiple_of(page_bytes.max(1)))
        .sum();
    (4 * in_flight_bytes + (4 << 20)).max(BUDGET_BYTES_MIN)
}

fn build(
    loads: &[Load],
    settings: &EngineSettings,
    page_bytes: u64,
    budget: u64,
) -> Result<Engine> {
    let depth = settings.queue_depth.unwrap_or_else(|| {
        let all: u64 = loads.iter().map(reads_in_flight).sum();
        u32::try_from(all).unwrap_or(u32::MAX).min(4096)
    });
    let builder = Engine::builder()
        .page_size(page_bytes)
        .dram_budget(budget)
        .queue_depth(depth)
        .inline_reads(settings.inline_reads.unwrap_or(true))
        .backend(match settings.backend.unwrap_or(Backend::Auto) {
            Backend::Auto => BackendKind::Auto,
            Backend::Uring => BackendKind::Uring,
            Backend::Pread => BackendKind::Pread,
            Backend::Mmap => BackendKind::Mmap,
        })
        .huge_pages(match settings.huge_pages.unwrap_or(HugePages::Auto) {
            HugePages::Auto => ringfield::HugePages::Auto,
            HugePages::Explicit => ringfield::HugePages::Explicit,
            HugePages::Transparent => ringfield::HugePages::Transparent,
            HugePages::Off => ringfield::HugePages::Off,
        });
    builder.build().engine("the engine cannot be built")
}

/// What decides the speed of the row, and everything that was refused.
fn flags(items: &[Item], page_bytes: u64, budget: u64, inline: bool) -> Vec<String> {
    let mut flags = vec![
        format!("pages of {}", Size(page_bytes)),
        format!("budget {}", Size(budget)),
    ];
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
    fields: &'a [Field],
    reads: Reads<'a>,
    batch: Batch,
}

impl Job<'_> {
    fn run(mut self, tally: &mut Tally) -> Result<()> {
        if self.load.iodepth == 1 {
            self.lone(tally)
        } else {
            self.window(tally)
        }
    }

    /// One read at a time.
    fn lone(&mut self, tally: &mut Tally) -> Result<()> {
        let start = Instant::now();
        while self.reads.go_on(start.elapsed()) && !interrupt::requested() {
            self.reads.pause().into_iter().for_each(thread::sleep);
            wait_until(self.reads.due(), start);
            if !self.reads.go_on(start.elapsed()) {
                break;
            }
            let Some((field, read)) = self.next() else {
                break;
            };
            let begin = Instant::now();
            let view = field
                .read(read.offset..read.offset + read.bytes)
                .engine("cannot read")?;
            tally.record(begin.elapsed(), read.bytes);
            std::hint::black_box(view.chunks().next());
        }
        Ok(())
    }

    fn next(&mut self) -> Option<(&Field, Read)> {
        let read = self.reads.next()?;
        Some((self.fields.get(read.file)?, read))
    }

    /// `iodepth` reads in flight: handed over in batches, taken in batches, refilled at once.
    fn window(&mut self, tally: &mut Tally) -> Result<()> {
        let load = self.load;
        let start = Instant::now();
        while self.refill(start)? || self.batch.pending() > 0 {
            // At the end of a burst or of the job everything is waited for.
            let drain = self.reads.pause().is_some() || !self.reads.go_on(start.elapsed());
            let (min, keep) = match drain {
                true => (load.iodepth, 0),
                false => (load.batch_complete_min.max(1), load.iodepth_low),
            };
            loop {
                self.batch.wait((min as usize).min(self.batch.pending()));
                self.take(start, tally)?;
                if self.batch.pending() <= keep as usize {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Submits until the window is full, a burst is complete or the job is over (then: false).
    fn refill(&mut self, start: Instant) -> Result<bool> {
        let load = self.load;
        let mut staged = 0;
        while self.batch.pending() < load.iodepth as usize {
            let mut elapsed = start.elapsed();
            if !self.reads.go_on(elapsed) || interrupt::requested() {
                self.batch.flush();
                return Ok(false);
            }
            if self.batch.pending() == 0 {
                self.reads.pause().into_iter().for_each(thread::sleep);
                wait_until(self.reads.due(), start);
                elapsed = start.elapsed();
                if !self.reads.go_on(elapsed) {
                    return Ok(false);
                }
            } else if self.reads.pause().is_some() || self.reads.due() > elapsed {
                break;
            }
            let Some(read) = self.reads.next() else {
                continue;
            };
            let field = self
                .fields
                .get(read.file)
                .ok_or_else(|| Error::message("a read of no file"))?;
            let tag = u64::try_from(elapsed.as_nanos()).map_err(Error::message)?;
            self.batch
                .submit(field, read.offset..read.offset + read.bytes, tag)
                .engine("cannot read")?;
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
    fn take(&mut self, start: Instant, tally: &mut Tally) -> Result<()> {
        for _ in 0..self.load.batch_complete_max {
            let Some(ready) = self.batch.next() else {
                break;
            };
            let view = ready.view().engine("cannot read")?;
            let submitted = Duration::from_nanos(ready.tag());
            tally.record(start.elapsed().saturating_sub(submitted), view.len() as u64);
            std::hint::black_box(view.chunks().next());
        }
        Ok(())
    }
}
