//! Groups of matrices times the present columns, by all threads, row by row as the rows come.

use super::crew::Crew;
use super::options::Arithmetic;
use super::segments::Segment;
use super::stream::Stream;
use super::weights::{Group, Matrix};
use crate::engine::view::View;
use crate::error::{Error, Result};
use crate::kernels::{Activations, Kernels, RowFormat, ShapeError};
use crate::sync::lock;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// What the threads share.
#[derive(Debug)]
pub(super) struct Multiplier {
    pub(super) stream: Stream,
    pub(super) kernels: Kernels,
    arithmetic: Arithmetic,
    task: RwLock<Task>,
    /// The next segment to be taken.
    next: AtomicUsize,
    /// Row by row, each of all columns.
    out: Mutex<Vec<f32>>,
    failed: Mutex<Option<Error>>,
    scratch: Vec<Mutex<Scratch>>,
    /// Of each thread, for attention.
    scores: Vec<Mutex<Vec<f32>>>,
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
}

/// What a thread works with.
#[derive(Debug, Default)]
struct Scratch {
    /// A row that two pages share.
    row: Vec<u8>,
    /// What the rows of a segment give.
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
            scores: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Crew<Multiplier> {
    /// Multiplies the matrices of `group` by the columns that `fill` puts in the place of others, and gives `take` the sums: row by row (the
    /// rows of the first matrix, then those of the next), each of all columns.
    pub(super) fn multiply(
        &self,
        group: &Group,
        columns: usize,
        fill: impl FnOnce(&mut Vec<f32>) -> Result<()>,
        take: impl FnOnce(&[f32]),
    ) -> Result<()> {
        let state = self.state();
        let matrices = &state.stream.matrices;
        let rows: usize = matrices[group.clone()].iter().map(|m| m.rows).sum();
        {
            let mut task = state.task.write().unwrap_or_else(PoisonError::into_inner);
            task.segments = state.stream.segments.of_group(group);
            task.first = group.start;
            task.columns = columns;
            fill(&mut task.x)?;
            if state.arithmetic == Arithmetic::EightBit {
                let task = &mut *task;
                task.formats.clear();
                let formats = matrices[group.clone()].iter().map(|m| m.format);
                task.formats.extend(formats);
                let to = &mut task.quantized;
                state
                    .kernels
                    .quantize(&task.x, columns, &task.formats, to)?;
            }
            state.next.store(task.segments.start, Relaxed);
            *lock(&state.failed) = None;
            enough(&mut lock(&state.out), rows * columns);
        }
        self.run(&Multiplier::work)?;
        if let Some(error) = lock(&state.failed).take() {
            return Err(error);
        }
        take(&lock(&state.out)[..rows * columns]);
        Ok(())
    }
}

impl Multiplier {
    /// Room for the scores of a query, of one thread.
    pub(super) fn scores(&self, thread: usize) -> MutexGuard<'_, Vec<f32>> {
        lock(&self.scores[thread])
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
        let from = (before + segment.rows.start) * task.columns;
        lock(&self.out)[from..from + count].copy_from_slice(&scratch.out[..count]);
        Ok(())
    }

    /// The rows of a segment, page by page. A row that does not end with its page is put together first.
    fn rows(
        &self,
        task: &Task,
        matrix: &Matrix,
        segment: &Segment,
        view: &View<'_>,
        scratch: &mut Scratch,
    ) -> std::result::Result<(), ShapeError> {
        let Scratch { row, out, decoded } = scratch;
        let mut out = &mut out[..segment.rows.len() * task.columns];
        let mut rows = |bytes: &[u8]| {
            let sums;
            let count = bytes.len() / matrix.row_bytes * task.columns;
            (sums, out) = std::mem::take(&mut out).split_at_mut(count);
            if self.arithmetic == Arithmetic::EightBit && matrix.format.is_packed() {
                return self
                    .kernels
                    .matvec_quantized(matrix.format, bytes, &task.quantized, sums);
            }
            if task.columns == 1 {
                return self.kernels.matvec(matrix.format, bytes, &task.x, sums);
            }
            enough(decoded, Kernels::scratch_len(matrix.len));
            self.kernels
                .matvec_columns(matrix.format, bytes, &task.x, task.columns, sums, decoded)
        };
        row.clear();
        row.reserve_exact(matrix.row_bytes);
        for mut page in view.chunks() {
            if !row.is_empty() {
                let missing = (matrix.row_bytes - row.len()).min(page.len());
                row.extend_from_slice(&page[..missing]);
                page = &page[missing..];
                if row.len() == matrix.row_bytes {
                    rows(row)?;
                    row.clear();
                }
            }
            let whole = page.len() - page.len() % matrix.row_bytes;
            rows(&page[..whole])?;
            row.extend_from_slice(&page[whole..]);
        }
        Ok(())
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
            scratch.row.capacity() + 4 * (scratch.out.capacity() + scratch.decoded.capacity())
        });
        let scores = self.scores.iter().map(|scores| lock(scores).capacity());
        (4 * (floats + scores.sum::<usize>()) + scratch.sum::<usize>()) as u64
            + task.quantized.memory_bytes()
    }
}
