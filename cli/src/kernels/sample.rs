//! One sample: a kernel, the checksum, or a loop that only reads, goes over a matrix for a while, in one thread or in several.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use ringfield::kernels::{Activations, Kernels, RowFormat, ShapeError};
use twox_hash::XxHash3_64;

use super::clock::thread_cpu_ns;
use super::read_loop::read;
use crate::error::{Context, Error, Result};
use crate::interrupt;

/// Elements of a row: what rows of models have, about, and whole blocks of every format.
pub(super) const COLUMNS: usize = 4096;

/// Bytes that a loop which only reads takes at a time.
const READ_BYTES: usize = 512;

/// What goes over a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Read {
        prefetched: bool,
    },
    /// The checksum of packed fields, page by page.
    Checksum {
        page_bytes: usize,
    },
    Kernel(Kernel, RowFormat),
}

/// What a kernel does with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Multiplies them with activations of 32 bits.
    Exact,
    /// Multiplies them with activations of eight bits.
    EightBit,
    /// Writes the floats that they stand for, a row at a time.
    Dequantize,
}

impl Kernel {
    pub(super) const ALL: [Kernel; 3] = [Kernel::Exact, Kernel::EightBit, Kernel::Dequantize];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kernel::Exact => "exact",
            Kernel::EightBit => "eight-bit",
            Kernel::Dequantize => "dequantize",
        }
    }

    /// Floats are not multiplied with eight bits.
    pub(super) fn has(self, format: RowFormat) -> bool {
        self != Kernel::EightBit || format.is_packed()
    }
}

impl Work {
    /// A piece of a matrix is a multiple of this.
    fn grain_bytes(self) -> usize {
        match self {
            Work::Read { .. } => READ_BYTES,
            Work::Checksum { page_bytes } => page_bytes,
            Work::Kernel(_, format) => format.row_bytes(COLUMNS).unwrap_or(usize::MAX),
        }
    }
}

/// What rows are multiplied with.
pub(super) struct Column<'m> {
    kernels: Kernels,
    floats: &'m [f32],
    quantized: Activations,
}

impl<'m> Column<'m> {
    /// Of [`COLUMNS`] floats, best at the beginning of a cache line: each row reads them again.
    ///
    /// # Errors
    /// Another number of floats.
    pub(super) fn new(kernels: Kernels, floats: &'m [f32]) -> Result<Column<'m>> {
        let mut quantized = Activations::new();
        kernels.quantize(floats, 1, &RowFormat::ALL, &mut quantized)?;
        Ok(Column {
            kernels,
            floats,
            quantized,
        })
    }
}

/// A thread's part of a matrix, and how far the last sample came: the next one goes on there, so that what does not get
/// through a big matrix meets no bytes that a cache still has.
pub(super) struct Part<'m> {
    bytes: &'m [u8],
    at: usize,
    out: Vec<f32>,
}

impl<'m> Part<'m> {
    pub(super) fn new(bytes: &'m [u8]) -> Part<'m> {
        Part {
            bytes,
            at: 0,
            out: Vec::new(),
        }
    }

    /// Goes over `piece_bytes` of it at a time for `time`; gives GB/s of processor time.
    fn sample(
        &mut self,
        work: Work,
        column: &Column<'_>,
        piece_bytes: usize,
        time: Duration,
    ) -> Result<f64> {
        // The second-level cache may be smaller than a page.
        let grain = work.grain_bytes().min(self.bytes.len());
        let rows = (piece_bytes.min(self.bytes.len()) / grain).max(1);
        self.out.resize(rows.max(COLUMNS), 0.0);
        self.at = self.at / grain * grain;
        // The first piece brings the instructions, and a small matrix, into the caches.
        self.step(work, column, rows, grain)?;
        let (start, begun, mut bytes) = (thread_cpu_ns(), Instant::now(), 0);
        while bytes == 0 || begun.elapsed() < time && !interrupt::requested() {
            self.step(work, column, rows, grain)?;
            bytes += rows * grain;
        }
        let took = thread_cpu_ns() - start;
        interrupt::check()?;
        Ok(bytes as f64 / took)
    }

    /// The next `rows`, or the first ones where as many do not follow.
    fn step(
        &mut self,
        work: Work,
        column: &Column<'_>,
        rows: usize,
        grain: usize,
    ) -> std::result::Result<(), ShapeError> {
        let len = rows * grain;
        if self.bytes.len() - self.at < len {
            self.at = 0;
        }
        let piece = self.bytes.get(self.at..self.at + len).unwrap_or_default();
        self.at += len;
        let (kernels, piece) = (column.kernels, black_box(piece));
        match work {
            Work::Read { prefetched: false } => {
                black_box(read::<false>(piece));
            }
            Work::Read { prefetched: true } => {
                black_box(read::<true>(piece));
            }
            Work::Checksum { .. } => {
                for page in piece.chunks_exact(grain) {
                    black_box(XxHash3_64::oneshot_with_seed(rows as u64, page));
                }
            }
            Work::Kernel(Kernel::Exact, format) => {
                let out = self.out.get_mut(..rows).unwrap_or_default();
                kernels.matvec(format, piece, column.floats, out)?;
            }
            Work::Kernel(Kernel::EightBit, format) => {
                let out = self.out.get_mut(..rows).unwrap_or_default();
                kernels.matvec_quantized(format, piece, &column.quantized, out)?;
            }
            Work::Kernel(Kernel::Dequantize, format) => {
                let out = self.out.get_mut(..COLUMNS).unwrap_or_default();
                for row in piece.chunks_exact(grain) {
                    kernels.dequantize(format, row, out)?;
                }
            }
        }
        black_box(&mut self.out);
        Ok(())
    }
}

/// All threads at once, each over its part; gives the sum of their GB/s.
///
/// # Errors
/// A thread that cannot be started; an interrupt.
pub(super) fn sample(
    parts: &mut [Part<'_>],
    work: Work,
    column: &Column<'_>,
    piece_bytes: usize,
    time: Duration,
) -> Result<f64> {
    let Some((first, others)) = parts.split_first_mut() else {
        return Ok(0.0);
    };
    thread::scope(|scope| {
        let mut running = Vec::new();
        for part in others {
            let run = move || part.sample(work, column, piece_bytes, time);
            let thread = thread::Builder::new().spawn_scoped(scope, run);
            running.push(thread.doing("cannot start a thread")?);
        }
        let mut sum = first.sample(work, column, piece_bytes, time)?;
        for thread in running {
            sum += thread
                .join()
                .map_err(|_| Error::message("a thread that measured has died"))??;
        }
        Ok(sum)
    })
}
