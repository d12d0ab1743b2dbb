//! The demo's workloads through the engine.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use ringfield::{Engine, Field, HugePages};

use super::EngineContext;
use crate::demo::tally::Tally;
use crate::demo::workload::Workload;
use crate::doctor::Item;
use crate::error::{Error, Result};
use crate::interrupt;

/// Runs a workload in an engine that may use `budget_bytes`, on a file or on a packed field with pages of `page_bytes`.
/// Returns the backend and the report.
pub(crate) fn demo(
    path: &Path,
    page_bytes: Option<u64>,
    budget_bytes: u64,
    tally: &mut Tally,
) -> Result<(String, Vec<Item>)> {
    let engine = Engine::builder()
        .dram_budget(budget_bytes)
        // As large as a read: what is needed together is one page.
        .page_size(page_bytes.unwrap_or(tally.workload.read_bytes()))
        .queue_depth(32)
        // Explicit ones are not charged to a memory limit: that would not be the same memory.
        .huge_pages(HugePages::Transparent)
        .build()
        .engine("the engine cannot be built")?;
    let field = match page_bytes {
        Some(_) => engine.open_array([path]),
        None => engine.open(path),
    };
    let field = field.engine("the engine cannot open the file")?;
    match tally.workload {
        Workload::Random | Workload::Sequential => window(&engine, &field, tally)?,
        Workload::Expert => bursts(&engine, &field, tally)?,
    }
    let items = super::items(&engine);
    Ok((super::backend(&items), items))
}

/// Some reads are always in flight while the results of others are looked at.
fn window(engine: &Engine, field: &Field, tally: &mut Tally) -> Result<()> {
    let workload = tally.workload;
    let in_flight = workload.in_flight();
    let mut batch = engine.batch(in_flight as usize).engine("no batch")?;
    // Taken back as they come, in groups large enough to be refilled with one submission.
    let together = (batch.capacity() / 8).max(1);
    let mut indices = 0..;
    // Of a read in flight, by its tag: which range, and when it was asked for.
    let mut asked = vec![(0..0, Duration::ZERO); batch.capacity()];
    let mut free: Vec<usize> = (0..batch.capacity()).collect();
    tally.begin();
    loop {
        interrupt::check()?;
        while tally.goes_on()
            && let Some(place) = free.pop()
        {
            let Some(range) =
                workload.range(indices.next().unwrap_or(u64::MAX), tally.region_bytes)
            else {
                free.push(place);
                break;
            };
            asked[place] = (range.clone(), tally.elapsed());
            batch
                .submit(field, range, place as u64)
                .engine("cannot read")?;
        }
        if batch.wait(together) == 0 {
            return Ok(());
        }
        while let Some(ready) = batch.next() {
            let place = usize::try_from(ready.tag()).map_err(Error::message)?;
            let (range, since) = asked[place].clone();
            tally.record(tally.elapsed().saturating_sub(since));
            let view = ready.view().engine("cannot read")?;
            tally.check(range.start, view.chunks());
            free.push(place);
        }
    }
}

/// Everything that is needed together is asked for in one call.
fn bursts(engine: &Engine, field: &Field, tally: &mut Tally) -> Result<()> {
    let workload = tally.workload;
    let burst = Workload::BURST as usize;
    let mut batch = engine.batch(burst).engine("no batch")?;
    let mut ranges: Vec<Range<u64>> = Vec::with_capacity(burst);
    let mut indices = 0..;
    tally.begin();
    while tally.goes_on() {
        interrupt::check()?;
        ranges.clear();
        let len = tally.region_bytes;
        ranges.extend(
            indices
                .by_ref()
                .take(burst)
                .map_while(|i| workload.range(i, len)),
        );
        let begin = Instant::now();
        field.read_many(&ranges, &mut batch).engine("cannot read")?;
        tally.record(begin.elapsed());
        for (index, range) in ranges.iter().enumerate() {
            let view = batch.view(index).engine("cannot read")?;
            tally.check(range.start, view.chunks());
        }
    }
    Ok(())
}
