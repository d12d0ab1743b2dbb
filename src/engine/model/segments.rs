//! The weights cut into reads: runs of whole rows, in the order in which a token needs them.
//!
//! A model is read in a cycle, once for every token (or batch of tokens of a prompt). On a cycle larger than the pool any
//! policy that keeps what was used last hits nothing, so what stays in memory is fixed, and pinned; the rest passes through
//! a window that is a few MiB ahead of the arithmetic. What stays is spread evenly over the cycle, so that the device has
//! something to read all the time: while a prefix is multiplied, it would rest.

use super::weights::{Group, Matrix};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a segment at most: a read that keeps a device busy, and a piece of work for one thread.
pub(super) const SEGMENT_BYTES: u64 = 256 << 10;

/// Rows of a matrix that are read together.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) matrix: usize,
    pub(super) rows: Range<usize>,
    pub(super) place: Place,
}

/// How a segment is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Always: by its place among those that are.
    Resident(usize),
    /// When its turn comes: by its place in the cycle of those that are not.
    Streamed(usize),
}

/// All segments of a model.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) all: Vec<Segment>,
    /// Segments of each matrix.
    of_matrix: Vec<Range<usize>>,
    pub(super) resident: usize,
    /// Indices into `all`.
    pub(super) streamed: Vec<usize>,
    pub(super) resident_bytes: u64,
    pub(super) streamed_bytes: u64,
    /// Segments that may be on their way or in use at once.
    pub(super) window: usize,
}

/// What the cut depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) page_bytes: u64,
    /// Frames for weights.
    pub(super) frames: u64,
    /// Bytes to be ahead of the arithmetic.
    pub(super) ahead_bytes: u64,
}

impl Segments {
    /// Cuts `matrices`. `None` where not even a window of two fits; then with how many frames it would.
    pub(super) fn cut(matrices: &[Matrix], room: Room) -> Result<Segments, u64> {
        let mut all = Vec::new();
        let mut of_matrix = Vec::new();
        for (index, matrix) in matrices.iter().enumerate() {
            let from = all.len();
            let rows = (SEGMENT_BYTES / matrix.row_bytes.max(1) as u64).max(1) as usize;
            for start in (0..matrix.rows).step_by(rows) {
                all.push(Segment {
                    matrix: index,
                    rows: start..(start + rows).min(matrix.rows),
                    place: Place::Streamed(0),
                });
            }
            of_matrix.push(from..all.len());
        }
        let mut segments = Segments {
            all,
            of_matrix,
            resident: 0,
            streamed: Vec::new(),
            resident_bytes: 0,
            streamed_bytes: 0,
            window: 0,
        };
        segments.place(matrices, room)?;
        Ok(segments)
    }

    /// Decides what stays.
    fn place(&mut self, matrices: &[Matrix], room: Room) -> Result<(), u64> {
        let span = |segment: &Segment| Span::of(matrices, segment, room.page_bytes);
        let most = self.all.iter().map(|s| span(s).pages()).max().unwrap_or(0);
        let mut pinned = Ends::default();
        let total: u64 = self.all.iter().map(|s| pinned.add(&span(s))).sum();
        let window = if total <= room.frames {
            0
        } else {
            let wanted = room.ahead_bytes.div_ceil(SEGMENT_BYTES).max(2);
            // At most half of the pool: the rest is worth more as a prefix that need not be read.
            let fits = room.frames / 2 / most.max(1);
            wanted.min(fits.max(2))
        };
        if window * most > room.frames {
            return Err(window * most);
        }
        let mut left = room.frames - window * most;
        let share = left as f64 / total.max(1) as f64;
        let mut due = 0.0;
        let mut pinned = Ends::default();
        for (index, segment) in self.all.iter_mut().enumerate() {
            let span = Span::of(matrices, segment, room.page_bytes);
            let need = pinned.more(&span);
            let bytes = matrices[segment.matrix].bytes_of(segment.rows.clone());
            let bytes = bytes.end - bytes.start;
            due += need as f64 * share;
            if (total <= room.frames || due >= need as f64) && need <= left {
                due -= need as f64;
                left -= pinned.add(&span);
                segment.place = Place::Resident(self.resident);
                self.resident += 1;
                self.resident_bytes += bytes;
            } else {
                segment.place = Place::Streamed(self.streamed.len());
                self.streamed.push(index);
                self.streamed_bytes += bytes;
            }
        }
        self.window = (window as usize).min(self.streamed.len());
        Ok(())
    }

    /// The segments of a group.
    pub(super) fn of_group(&self, group: &Group) -> Range<usize> {
        let ends = |matrix: usize| self.of_matrix.get(matrix).cloned().unwrap_or(0..0);
        ends(group.start).start..ends(group.end - 1).end
    }
}

/// The pages of a segment.
#[derive(Debug)]
struct Span {
    file: usize,
    first: u64,
    last: u64,
}

impl Span {
    fn of(matrices: &[Matrix], segment: &Segment, page_bytes: u64) -> Span {
        let matrix = &matrices[segment.matrix];
        let bytes = matrix.bytes_of(segment.rows.clone());
        Span {
            file: Arc::as_ptr(&matrix.tensor.field().shared).addr(),
            first: bytes.start / page_bytes,
            last: (bytes.end.max(1) - 1) / page_bytes,
        }
    }

    fn pages(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// The first and the last pages of segments: only those can be another's too, as no two tensors overlap.
#[derive(Debug, Default)]
struct Ends(HashSet<(usize, u64)>);

impl Ends {
    /// Pages that a segment has and those before it have not.
    fn more(&self, span: &Span) -> u64 {
        let there = |page: u64| u64::from(self.0.contains(&(span.file, page)));
        match span.first == span.last {
            true => 1 - there(span.first),
            false => span.pages() - there(span.first) - there(span.last),
        }
    }

    /// Adds a segment; returns how many pages more there are.
    fn add(&mut self, span: &Span) -> u64 {
        let more = self.more(span);
        self.0.insert((span.file, span.first));
        self.0.insert((span.file, span.last));
        more
    }
}
