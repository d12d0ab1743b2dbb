//! `ringfield kernels`: how fast the library's arithmetic is on this machine, beside what a loop that only reads gets.
//!
//! Every kernel goes over rows of every type of weights, and the checksum of packed fields over pages, in a matrix of the second-level cache's size and in one that is
//! larger than all caches. Rounds are interleaved, each number is a median of theirs, and time is the threads' own, so
//! that what else runs here counts little.

mod caches;
mod clock;
mod measure;
mod memory;
mod read_loop;
mod report;
mod sample;
mod sizes;
mod table;

use std::num::NonZero;
use std::thread;

use ringfield::kernels::{Isa, Kernels, RowFormat};

use crate::args::KernelsArgs;
use crate::console;
use crate::error::{Error, Result};
use caches::Caches;
use measure::{Series, measure};
use report::{Available, Checksum, InBoth, Read, Report, Row};
use sample::{Kernel, Work};
use sizes::Sizes;

/// Runs the command.
///
/// # Errors
/// An instruction set or more threads than this machine has, too little memory, an interrupt.
pub(crate) fn run(args: &KernelsArgs) -> Result<()> {
    let kernels = chosen(args.isa)?;
    check_threads(args.threads)?;
    let threads = usize::from(args.threads);
    let caches = Caches::of_this_machine();
    let sizes = Sizes::beside(caches, threads);
    sizes.check(threads)?;
    let of = |format: &RowFormat| args.types.is_empty() || args.types.contains(format);
    let types: Vec<RowFormat> = RowFormat::ALL.into_iter().filter(of).collect();

    let mut series = Series::all(&types);
    let huge_pages = measure(&mut series, kernels, threads, sizes, args.seconds)?;
    let reads = reads(&series);
    let read_gb_per_s = best(&reads);
    let report = Report {
        isa: kernels.isa().name(),
        integers: kernels.integers(),
        isas: Available::all(),
        threads: args.threads,
        l2_cache_bytes: caches.l2_bytes,
        last_cache_bytes: caches.last_bytes,
        matrix_bytes: InBoth {
            l2: sizes.l2_bytes,
            dram: sizes.dram_bytes,
        },
        huge_pages,
        read_gb_per_s,
        reads,
        checksums: checksums(&series, read_gb_per_s),
        kernels: rows(&series, read_gb_per_s),
    };
    if args.json {
        return console::print_json(&report);
    }
    console::print(table::show(&report))
}

fn chosen(isa: Option<Isa>) -> Result<Kernels> {
    let Some(isa) = isa else {
        return Ok(Kernels::new());
    };
    Kernels::with(isa).ok_or_else(|| {
        let all = Isa::ALL.into_iter().filter(|isa| isa.is_available());
        let names: Vec<&str> = all.map(Isa::name).collect();
        Error::message(format!(
            "--isa {isa}: this processor does not have it; name one that it has: {}",
            names.join(", ")
        ))
    })
}

/// Threads that take turns on a processor would each count as if they had it alone.
fn check_threads(threads: u16) -> Result<()> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    if usize::from(threads) <= processors {
        return Ok(());
    }
    Err(Error::message(format!(
        "--threads {threads}: each must have a processor to itself, and there are {processors}; give at most as many"
    )))
}

fn reads(series: &[Series]) -> Vec<Read> {
    let read = |series: &Series| match series.work {
        Work::Kernel(..) | Work::Checksum { .. } => None,
        Work::Read { prefetched } => Some(Read {
            pages: if series.huge { "huge" } else { "4 KiB" },
            prefetched,
            gb_per_s: series.medians(),
        }),
    };
    series.iter().filter_map(read).collect()
}

fn best(reads: &[Read]) -> InBoth<f64> {
    let most = |of: fn(&Read) -> f64| reads.iter().map(of).fold(0.0, f64::max);
    InBoth {
        l2: most(|read| read.gb_per_s.l2),
        dram: most(|read| read.gb_per_s.dram),
    }
}

fn checksums(series: &[Series], read_gb_per_s: InBoth<f64>) -> Vec<Checksum> {
    let checksum = |series: &Series| match series.work {
        Work::Checksum { page_bytes } => Some(Checksum {
            page_bytes,
            gb_per_s: series.medians(),
            share: series.medians().of(read_gb_per_s),
        }),
        Work::Read { .. } | Work::Kernel(..) => None,
    };
    series.iter().filter_map(checksum).collect()
}

fn rows(series: &[Series], read_gb_per_s: InBoth<f64>) -> Vec<Row> {
    let row = |series: &Series| match series.work {
        Work::Read { .. } | Work::Checksum { .. } => None,
        Work::Kernel(kernel, format) => {
            let gb_per_s = series.medians();
            let per_byte = 2.0 * format.block_elements() as f64 / format.block_bytes() as f64;
            Some(Row {
                r#type: format.name(),
                kernel: kernel.name(),
                gb_per_s,
                gflop_per_s: (kernel != Kernel::Dequantize).then(|| gb_per_s.times(per_byte)),
                share: gb_per_s.of(read_gb_per_s),
            })
        }
    };
    series.iter().filter_map(row).collect()
}
