//! A job through the engine.

mod ahead;
mod host;
mod in_flight;

use ringfield::{Engine, Field};

use super::EngineContext;
use super::source::page_bytes_of;
use crate::args::{Backend, HugePages};
use crate::bench::load::Load;
use crate::bench::round::{Checked, Measured, Round};
use crate::doctor::Item;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::job::EngineSettings;
use crate::os;
use crate::size::Size;
use host::Host;

const BUDGET_BYTES_MIN: u64 = 16 << 20;
const PAGE_BYTES_MIN: u64 = 4 << 10;
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// One round of all sections in one engine, whose making is not timed.
pub(crate) fn bench_round(loads: &[Load], settings: &EngineSettings) -> Result<Vec<Round>> {
    let page_bytes = match own_page_bytes(loads, settings)? {
        Some(page_bytes) => page_bytes,
        None => settings.page_size.unwrap_or_else(|| page_bytes(loads)),
    };
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
            Host::new(&engine, load, fields, thread.number)
        },
        |_, host, tally| host.run(tally),
    )?;
    interrupt::check()?;
    let iowq_threads = os::iowq_threads("self");
    let stats = engine.stats();
    let (hits, misses) = (stats.hits - before.hits, stats.misses - before.misses);
    // What was read ahead is a hit that the device served.
    let ahead = |stats: &ringfield::Stats| stats.prefetch_useful + stats.prefetch_late;
    let served = ahead(&stats) - ahead(&before);
    let hit_share = hits.saturating_sub(served) as f64 / (hits + misses).max(1) as f64;
    let items = super::items(&engine);
    let rounds = measured.rounds(hit_share).into_iter();
    Ok(rounds
        .zip(loads)
        .map(|(round, load)| Round {
            backend: super::backend(&items),
            flags: flags(
                &items,
                page_bytes,
                budget,
                load.prefetch && stats.prefetch_ios > before.prefetch_ios,
                stats.inline_ios > before.inline_ios,
            ),
            fixed_buffer_share: Some(stats.fixed_share()),
            checked: checked(load, &stats),
            iowq_threads,
            ..round
        })
        .collect())
}

fn fields(engine: &Engine, load: &Load) -> Result<Vec<Field>> {
    let opened = load.files.iter().map(|file| match file.page_bytes {
        Some(_) => engine.open_array([&file.path]),
        None => engine.open(&file.path),
    });
    let fields: ringfield::Result<_> = opened.collect();
    fields.engine("the engine cannot open the file")
}

/// The size of the pages of the packed fields that are read, which the engine must have; `None` where there are none.
///
/// # Errors
/// Fields of several sizes; another size that was asked for.
fn own_page_bytes(loads: &[Load], settings: &EngineSettings) -> Result<Option<u64>> {
    let files = loads.iter().flat_map(|load| &load.files);
    let mut packed = files.filter_map(|file| Some((file, file.page_bytes?)));
    let Some((first, own)) = packed.next() else {
        return Ok(None);
    };
    if let Some((other, others)) = packed.find(|&(_, page_bytes)| page_bytes != own) {
        return Err(Error::message(format!(
            "{} has pages of {}, {} of {}: part the sections by stonewall",
            first.path.display(),
            Size(own),
            other.path.display(),
            Size(others)
        )));
    }
    page_bytes_of(&first.path, own, settings.page_size.map(Size)).map(Some)
}

fn checked(load: &Load, stats: &ringfield::Stats) -> Option<Checked> {
    let page_bytes = load.files.iter().find_map(|file| file.page_bytes)?;
    Some(Checked {
        pages: stats.checked_pages,
        gb_per_s: page_bytes as f64 / stats.verify_ns[0].max(1) as f64,
    })
}

/// The largest page that no read of the sections leaves partly unused.
fn page_bytes(loads: &[Load]) -> u64 {
    let granule = loads.iter().map(Load::granule).min();
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
        .backend(super::kind(settings.backend.unwrap_or(Backend::Auto)))
        .huge_pages(match settings.huge_pages.unwrap_or(HugePages::Auto) {
            HugePages::Auto => ringfield::HugePages::Auto,
            HugePages::Explicit => ringfield::HugePages::Explicit,
            HugePages::Transparent => ringfield::HugePages::Transparent,
            HugePages::Off => ringfield::HugePages::Off,
        });
    builder.build().engine("the engine cannot be built")
}

/// What decides the speed of the row, and everything that was refused.
fn flags(items: &[Item], page_bytes: u64, budget: u64, ahead: bool, inline: bool) -> Vec<String> {
    let mut flags = vec![
        format!("pages of {}", Size(page_bytes)),
        format!("budget {}", Size(budget)),
    ];
    for (used, name) in [(ahead, "prefetch lane"), (inline, "inline reads")] {
        flags.extend(used.then(|| name.to_owned()));
    }
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
