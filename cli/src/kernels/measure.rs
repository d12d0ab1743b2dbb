//! All measurements, in interleaved rounds.

use std::time::Duration;

use ringfield::kernels::{Kernels, RowFormat};

use super::memory::Memory;
use super::report::InBoth;
use super::sample::{COLUMNS, Column, Kernel, Part, Work, sample};
use super::sizes::Sizes;
use crate::console;
use crate::error::{Context, Result};
use crate::interrupt;

/// Odd, so that a median is a measurement.
const ROUNDS: u32 = 5;
/// The smallest pages of packed fields, and those that they have if nobody says otherwise.
const CHECKSUM_PAGES: [usize; 2] = [4 << 10, 256 << 10];
/// Of a call. The kernels take a large matrix for one that is in no cache, and ask for its bytes ahead.
const L2_PIECE_BYTES: usize = 512 << 10;
const DRAM_PIECE_BYTES: usize = 4 << 20;

/// What is measured: loops that only read, on pages of both kinds; the checksum and kernels, on huge ones, as the engine's pool has
/// them where they are granted.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) work: Work,
    pub(super) huge: bool,
    /// GB/s, round by round.
    l2: Vec<f64>,
    dram: Vec<f64>,
}

impl Series {
    fn new(work: Work, huge: bool) -> Series {
        let (l2, dram) = (Vec::new(), Vec::new());
        Series {
            work,
            huge,
            l2,
            dram,
        }
    }

    /// The loops that only read, the checksum, then every kernel for each of `types`.
    pub(super) fn all(types: &[RowFormat]) -> Vec<Series> {
        let reads = [false, true].into_iter().flat_map(|huge| {
            [false, true].map(|prefetched| Series::new(Work::Read { prefetched }, huge))
        });
        let kernels = types.iter().flat_map(|&format| {
            let kernels = Kernel::ALL.into_iter().filter(move |k| k.has(format));
            kernels.map(move |kernel| Series::new(Work::Kernel(kernel, format), true))
        });
        let checksums =
            CHECKSUM_PAGES.map(|page_bytes| Series::new(Work::Checksum { page_bytes }, true));
        reads.chain(checksums).chain(kernels).collect()
    }

    fn name(&self) -> String {
        match self.work {
            Work::Read { .. } => "reading".to_owned(),
            Work::Checksum { .. } => "XXH3 checksum".to_owned(),
            Work::Kernel(kernel, format) => format!("{format} {}", kernel.name()),
        }
    }

    pub(super) fn medians(&self) -> InBoth<f64> {
        InBoth {
            l2: median(&self.l2),
            dram: median(&self.dram),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The threads' parts of two matrices in pages of one kind.
struct Matrices<'m> {
    l2: Vec<Part<'m>>,
    dram: Vec<Part<'m>>,
}

impl<'m> Matrices<'m> {
    fn new(memory: &'m Memory, sizes: Sizes) -> Matrices<'m> {
        let parts = || memory.bytes().chunks_exact(sizes.dram_bytes);
        let small = |part: &'m [u8]| part.get(..sizes.l2_bytes).map(Part::new);
        Matrices {
            l2: parts().filter_map(small).collect(),
            dram: parts().map(Part::new).collect(),
        }
    }
}

/// Measures all of `series`, `time` each; says whether the kernels' large matrix was granted huge pages.
///
/// # Errors
/// No memory, no threads, an interrupt.
pub(super) fn measure(
    series: &mut [Series],
    kernels: Kernels,
    threads: usize,
    sizes: Sizes,
    time: Duration,
) -> Result<bool> {
    let bytes = sizes.dram_bytes * threads;
    let memory = |huge| Memory::new(bytes, huge).doing("no memory for a matrix");
    let (in_small_pages, in_huge_pages) = (memory(false)?, memory(true)?);
    let mut small = Matrices::new(&in_small_pages, sizes);
    let mut huge = Matrices::new(&in_huge_pages, sizes);
    // Memory begins with a page, hence with a cache line.
    let floats = Memory::new(COLUMNS * 4, false).doing("no memory for activations")?;
    let column = Column::new(kernels, floats.floats())?;

    let bar = console::steps_bar(u64::from(ROUNDS) * series.len() as u64, "");
    for round in 0..ROUNDS {
        let mut order: Vec<&mut Series> = series.iter_mut().collect();
        // Who comes after whom matters to what the caches hold.
        if round % 2 == 1 {
            order.reverse();
        }
        for one in order {
            interrupt::check()?;
            bar.set_message(format!("round {} of {ROUNDS}: {}", round + 1, one.name()));
            bar.inc(1);
            let matrices = if one.huge { &mut huge } else { &mut small };
            let run = |parts: &mut [Part<'_>], piece_bytes| {
                sample(parts, one.work, &column, piece_bytes, time / ROUNDS)
            };
            one.l2
                .push(run(&mut matrices.l2, sizes.l2_bytes.min(L2_PIECE_BYTES))?);
            one.dram.push(run(
                &mut matrices.dram,
                sizes.l2_bytes.max(DRAM_PIECE_BYTES),
            )?);
        }
    }
    bar.finish_and_clear();
    Ok(in_huge_pages.huge_bytes() >= bytes / 2)
}
