//! Groups of matrices times the present columns, by all threads, row by row as the rows come.

use super::crew::Crew;
use super::options::Arithmetic;
use super::segments::Segment;
use super::stream::Stream;
use super::weights::{Group, Matrix};
use crate::engine::view::View;
use crate::error::{Error, Result};
use crate::kernels::{Activations, Kernels, ROWS_TOGETHER, RowFormat, ShapeError};
use crate::sync::lock;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// Columns that a thread takes at a time, of what is done with each by itself.
pub(super) const COLUMNS: usize = 8;

/// Bytes of rows that a thread gathers from several pages, where a row by itself is not longer.
const GATHERED: usize = 256 << 10;

/// What the threads share.
#[derive(Debug)]
pub(super) struct Multiplier {
    pub(super) stream: Stream,
    pub(super) kernels: Kernels,
    arithmetic: Arithmetic,
    task: RwLock<Task>,
    /// The next segment to be taken.
    next: AtomicUsize,
    /// Column by column, each of all rows of the group.
    out: Mutex<Vec<f32>>,
    failed: Mutex<Option<Error>>,
    scratch: Vec<Mutex<Scratch>>,
    /// Of each thread, for what is done in between.
    rooms: Vec<Mutex<Vec<f32>>>,
}

#[derive(Debug, Default)]
struct Task {
    segments: Range<usize>,
    /// The first matrix of the group.
    first: usize,
    /// Columns, one after the other.
    x: Vec<f32>,
    /// The same for packed weights, where these are multiplied with eight bits.
    quantized: Activations,
    /// Of the group's matrices.
    formats: Vec<RowFormat>,
    columns: usize,
    /// Of the group.
    rows: usize,
}

/// What a thread works with.
#[derive(Debug, Default)]
struct Scratch {
    /// Rows that pages share.
    gathered: Vec<u8>,
    /// What the rows of a segment give: column by column where it is of packed weights and eight bits, else row by row.
    out: Vec<f32>,
    /// Decoded rows.
    decoded: Vec<f32>,
}

/// Makes room for `count` numbers of anything, without filling what is there.
fn enough(room: &mut Vec<f32>, count: usize) {
    if room.len() < count {
        room.resize(count, 0.0);
    }
}

/// The first `len` numbers of a room, whatever they are.
pub(super) fn slice(room: &mut Vec<f32>, len: usize) -> &mut [f32] {
    enough(room, len);
    &mut room[..len]
}

impl Multiplier {
    pub(super) fn new(
        stream: Stream,
        kernels: Kernels,
        arithmetic: Arithmetic,
        threads: usize,
    ) -> Multiplier {
        Multiplier {
            stream,
            kernels,
            arithmetic,
            task: RwLock::default(),
            next: AtomicUsize::new(0),
            out: Mutex::default(),
            failed: Mutex::default(),
            scratch: (0..threads).map(|_| Mutex::default()).collect(),
            rooms: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Crew<Multiplier> {
    /// Multiplies the matrices of `group` by `columns` columns of `len` elements; `fill` is given the number of a column,
    /// and writes those from it on. Into `sums` go the columns of what comes out, one after the other; returns how many
    /// elements these are.
    pub(super) fn multiply(
        &self,
        group: &Group,
        (columns, len): (usize, usize),
        fill: impl Fn(usize, &mut [f32]) -> std::result::Result<(), ShapeError> + Sync,
        sums: &mut Vec<f32>,
    ) -> Result<usize> {
        let state = self.state();
        let matrices = &state.stream.matrices;
        let rows: usize = matrices[group.clone()].iter().map(|m| m.rows).sum();
        {
            let mut task = state.task.write().unwrap_or_else(PoisonError::into_inner);
            let task = &mut *task;
            task.segments = state.stream.segments.of_group(group);
            task.first = group.start;
            (task.columns, task.rows) = (columns, rows);
            task.x.resize(columns * len, 0.0);
            task.formats.clear();
            let formats = matrices[group.clone()].iter().map(|m| m.format);
            task.formats.extend(formats);
            let formats = match state.arithmetic {
                Arithmetic::EightBit => &task.formats[..],
                Arithmetic::Exact => &[],
            };
            task.quantized.begin(columns, len, formats)?;
            let pieces = task.quantized.pieces(COLUMNS);
            let pieces = task.x.chunks_mut(COLUMNS * len).zip(pieces).enumerate();
            self.share(pieces, |state, _, (number, (x, piece))| {
                fill(number * COLUMNS, x)?;
                state.kernels.quantize_piece(x, formats, piece)
            })?;
            state.next.store(task.segments.start, Relaxed);
            *lock(&state.failed) = None;
            enough(&mut lock(&state.out), rows * columns);
        }
        self.run(&Multiplier::work)?;
        if let Some(error) = lock(&state.failed).take() {
            return Err(error);
        }
        std::mem::swap(&mut *lock(&state.out), sums);
        Ok(rows * columns)
    }
}

impl Multiplier {
    /// Room of one thread, for what it needs between two multiplications.
    pub(super) fn room(&self, thread: usize) -> MutexGuard<'_, Vec<f32>> {
        lock(&self.rooms[thread])
    }

    /// Takes segments until there are none.
    fn work(&self, thread: usize) {
        let task = self.task.read().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = lock(&self.scratch[thread]);
        loop {
            let at = self.next.fetch_add(1, Relaxed);
            if at >= task.segments.end || lock(&self.failed).is_some() {
                return;
            }
            if let Err(error) = self.segment(&task, at, &mut scratch) {
                lock(&self.failed).get_or_insert(error);
                return;
            }
        }
    }

    fn segment(&self, task: &Task, at: usize, scratch: &mut Scratch) -> Result<()> {
        let segment = &self.stream.segments.all[at];
        let matrices = &self.stream.matrices;
        let matrix = &matrices[segment.matrix];
        let count = segment.rows.len() * task.columns;
        enough(&mut scratch.out, count);
        self.stream.with(segment, |view| {
            self.rows(task, matrix, segment, view, scratch)
        })??;
        let before: usize = matrices[task.first..segment.matrix]
            .iter()
            .map(|m| m.rows)
            .sum();
        let (from, rows) = (before + segment.rows.start, segment.rows.len());
        let sums = &scratch.out[..count];
        let mut out = lock(&self.out);
        let columns = out.chunks_exact_mut(task.rows).take(task.columns);
        for (column, out) in columns.enumerate() {
            let out = &mut out[from..from + rows];
            if self.is_eight_bit(matrix) {
                out.copy_from_slice(&sums[column * rows..][..rows]);
            } else {
                let sums = sums[column..].iter().step_by(task.columns);
                for (out, &sum) in out.iter_mut().zip(sums) {
                    *out = sum;
                }
            }
        }
        Ok(())
    }

    fn is_eight_bit(&self, matrix: &Matrix) -> bool {
        self.arithmetic == Arithmetic::EightBit && matrix.format.is_packed()
    }

    /// The rows of a segment, page by page. A row that does not end with its page is put together first; and of rows that
    /// are multiplied with several columns as many as the kernels take at once.
    fn rows(
        &self,
        task: &Task,
        matrix: &Matrix,
        segment: &Segment,
        view: &View<'_>,
        scratch: &mut Scratch,
    ) -> std::result::Result<(), ShapeError> {
        let Scratch {
            gathered,
            out,
            decoded,
        } = scratch;
        let (mut first, all) = (0, segment.rows.len());
        let mut rows = |bytes: &[u8]| {
            let count = bytes.len() / matrix.row_bytes;
            let done = first;
            first += count;
            if self.is_eight_bit(matrix) {
                let (x, out) = (&task.quantized, (&mut out[done..], all));
                let format = matrix.format;
                return self
                    .kernels
                    .matvec_quantized_by_column(format, bytes, count, x, out);
            }
            let sums = &mut out[done * task.columns..(done + count) * task.columns];
            if task.columns == 1 {
                return self.kernels.matvec(matrix.format, bytes, &task.x, sums);
            }
            enough(decoded, Kernels::scratch_len(matrix.len));
            self.kernels
                .matvec_columns(matrix.format, bytes, &task.x, task.columns, sums, decoded)
        };
        let together = match task.columns > 1 && self.is_eight_bit(matrix) {
            true => matrix.row_bytes * (GATHERED / matrix.row_bytes).clamp(1, ROWS_TOGETHER),
            false => matrix.row_bytes,
        };
        gathered.clear();
        gathered.reserve_exact(together);
        let mut begun = 0;
        for mut page in view.chunks() {
            page = matrix.rows_in(page, &mut begun);
            if !gathered.is_empty() {
                let missing = (together - gathered.len()).min(page.len());
                gathered.extend_from_slice(&page[..missing]);
                page = &page[missing..];
                if gathered.len() == together {
                    rows(gathered)?;
                    gathered.clear();
                }
            }
            let whole = page.len() - page.len() % together;
            rows(&page[..whole])?;
            gathered.extend_from_slice(&page[whole..]);
        }
        rows(gathered)
    }

    /// Gives back the memory of what was multiplied last.
    pub(super) fn forget_sums(&self) {
        *lock(&self.out) = Vec::new();
    }

    /// Bytes that the threads and the present columns take.
    pub(super) fn memory_bytes(&self) -> u64 {
        let task = self.task.read().unwrap_or_else(PoisonError::into_inner);
        let floats = task.x.capacity() + lock(&self.out).capacity();
        let scratch = self.scratch.iter().map(|scratch| {
            let scratch = lock(scratch);
            scratch.gathered.capacity() + 4 * (scratch.out.capacity() + scratch.decoded.capacity())
        });
        let rooms = self.rooms.iter().map(|room| lock(room).capacity());
        (4 * (floats + rooms.sum::<usize>()) + scratch.sum::<usize>()) as u64
            + task.quantized.memory_bytes()
    }
}
