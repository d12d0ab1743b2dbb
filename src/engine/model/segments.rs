//! The weights cut into reads: runs of whole rows, in the order in which a token needs them.
//!
//! A model is read in a cycle, once for every token (or batch of tokens of a prompt). On a cycle larger than the pool any
//! policy that keeps what was used last hits nothing, so a fixed prefix of it stays in memory, pinned, and the rest passes
//! through a window that is a few MiB ahead of the arithmetic.

use super::weights::{Group, Matrix};
use std::ops::Range;

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

/// A page of a file: what frames hold.
type Page = (usize, u64);

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
        let pages = |segment: &Segment| {
            let matrix = &matrices[segment.matrix];
            let bytes = matrix.bytes_of(segment.rows.clone());
            let file = std::ptr::from_ref(&*matrix.tensor.field().shared).addr();
            let page = |at: u64| (file, at / room.page_bytes);
            page(bytes.start)..=page(bytes.end.max(1) - 1)
        };
        let count = |pages: &std::ops::RangeInclusive<Page>| pages.end().1 - pages.start().1 + 1;
        let most = self.all.iter().map(|s| count(&pages(s))).max().unwrap_or(0);
        let total = distinct(self.all.iter().map(pages));
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
        let mut last: Option<Page> = None;
        for (index, segment) in self.all.iter_mut().enumerate() {
            let pages = pages(segment);
            let shared = u64::from(last == Some(*pages.start()));
            let need = count(&pages) - shared;
            let bytes = matrices[segment.matrix].bytes_of(segment.rows.clone());
            let bytes = bytes.end - bytes.start;
            // A prefix: what follows the first that does not fit is streamed.
            if self.streamed.is_empty() && need <= left {
                left -= need;
                last = Some(*pages.end());
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

/// Pages in all, where neighbours may share one.
fn distinct(pages: impl Iterator<Item = std::ops::RangeInclusive<Page>>) -> u64 {
    let mut last = None;
    let mut total = 0;
    for pages in pages {
        total += pages.end().1 - pages.start().1 + 1 - u64::from(last == Some(*pages.start()));
        last = Some(*pages.end());
    }
    total
}
