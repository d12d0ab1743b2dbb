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

/// Bytes of a segment, at least where the matrix has them and at most: large reads and few waits on one side, work for
/// every thread on the other.
const SEGMENT_BYTES_MIN: u64 = 256 << 10;
const SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// Bytes that are asked for together, where the window has this many times as much.
const READ_BYTES: u64 = 1 << 20;
const WINDOW_STEPS: u64 = 4;
/// Where all of a model stays in memory nothing is read, and every thread shall have its part of a small matrix.
const RESIDENT_BYTES_MIN: u64 = 32 << 10;

/// Rows of a matrix that are read together.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) matrix: usize,
    pub(super) rows: Range<usize>,
    pub(super) place: Place,
    /// Pages that it lies in.
    pub(super) pages: u64,
    /// Of these, pages that the one that is streamed before it does not lie in.
    pub(super) charge: u64,
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
    /// Pages of segments that may be asked for ahead of the arithmetic.
    pub(super) window_pages: u64,
    /// Pages of room in that window for which it is worth asking: what lies side by side is read together.
    pub(super) step_pages: u64,
}

/// What the cut depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) page_bytes: u64,
    /// Frames for weights.
    pub(super) frames: u64,
    /// Bytes to be ahead of the arithmetic.
    pub(super) ahead_bytes: u64,
    /// Threads that hold a segment each.
    pub(super) threads: u64,
}

impl Segments {
    /// Cuts `matrices`, which are multiplied in `groups`. Where not even a window of one segment fits beside those that the
    /// other threads hold, the error is how many frames would do.
    pub(super) fn cut(matrices: &[Matrix], groups: &[Group], room: Room) -> Result<Segments, u64> {
        let mut segments = Segments {
            all: Vec::new(),
            of_matrix: Vec::new(),
            resident: 0,
            streamed: Vec::new(),
            resident_bytes: 0,
            streamed_bytes: 0,
            window_pages: 0,
            step_pages: 0,
        };
        // What many threads hold must leave most of a small pool.
        let most = room.frames * room.page_bytes / (8 * room.threads.max(1));
        let most = most.min(SEGMENT_BYTES_MAX);
        let bytes = |matrix: &Matrix| matrix.rows as u64 * matrix.row_bytes as u64;
        let all: u64 = matrices.iter().map(bytes).sum();
        let least = match all < room.frames * room.page_bytes {
            true => RESIDENT_BYTES_MIN,
            false => SEGMENT_BYTES_MIN,
        };
        for group in groups {
            let total: u64 = matrices[group.clone()].iter().map(bytes).sum();
            let piece = total / (2 * room.threads.max(1));
            let piece = piece.clamp(least.min(most), most);
            for index in group.clone() {
                let matrix = &matrices[index];
                let from = segments.all.len();
                let rows = (piece / matrix.row_bytes.max(1) as u64).max(1) as usize;
                let mut start = 0;
                while start < matrix.rows {
                    let rows = start..matrix.segment_end(start, rows);
                    start = rows.end;
                    let pages = Span::of(matrix, &rows, room.page_bytes).pages();
                    segments.all.push(Segment {
                        pages,
                        charge: pages,
                        matrix: index,
                        rows,
                        place: Place::Streamed(0),
                    });
                }
                segments.of_matrix.push(from..segments.all.len());
            }
        }
        segments.place(matrices, room)?;
        Ok(segments)
    }

    /// Decides what stays.
    fn place(&mut self, matrices: &[Matrix], room: Room) -> Result<(), u64> {
        let span =
            |segment: &Segment| Span::of(&matrices[segment.matrix], &segment.rows, room.page_bytes);
        let most = self.all.iter().map(|s| s.pages).max().unwrap_or(0);
        let mut pinned = Ends::default();
        let total: u64 = self.all.iter().map(|s| pinned.add(&[span(s)])).sum();
        let fits = total <= room.frames;
        // At most half of the pool: the rest is worth more for what need not be read.
        let held = room.threads.saturating_sub(1) * most;
        let wanted = room.ahead_bytes.div_ceil(room.page_bytes);
        self.window_pages = wanted.min((room.frames / 2).saturating_sub(held)).max(most);
        let step = READ_BYTES.div_ceil(room.page_bytes);
        self.step_pages = step.min(self.window_pages / WINDOW_STEPS);
        let reserve = if fits { 0 } else { self.window_pages + held };
        if reserve > room.frames {
            return Err(reserve);
        }
        let mut left = room.frames - reserve;
        let share = left as f64 / total.max(1) as f64;
        let mut due = 0.0;
        let mut pinned = Ends::default();
        let runs = self.runs(matrices, span);
        let mut stays = vec![false; runs.len()];
        for round in 0..2 {
            for (stays, run) in stays.iter_mut().zip(&runs) {
                if *stays {
                    continue;
                }
                let spans: Vec<Span> = self.all[run.clone()].iter().map(span).collect();
                let need = pinned.more(&spans);
                due += need as f64 * share;
                // Evenly first; what is left then goes to whatever comes first.
                if (fits || round == 1 || due >= need as f64) && need <= left {
                    due -= need as f64;
                    left -= pinned.add(&spans);
                    *stays = true;
                }
            }
        }
        let spans: Vec<Span> = self.all.iter().map(span).collect();
        for (stays, run) in stays.into_iter().zip(runs) {
            for index in run {
                self.place_one(matrices, index, stays, &spans);
            }
        }
        Ok(())
    }

    /// Segments that stay together or not at all: what lies side by side, up to a large read; and in a packed field, where
    /// not every segment shares a page with the next, whole pages.
    fn runs(&self, matrices: &[Matrix], span: impl Fn(&Segment) -> Span) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut before: Option<(Span, u64)> = None;
        for (index, segment) in self.all.iter().enumerate() {
            let span = span(segment);
            let packed = matrices[segment.matrix].tensor.is_packed();
            let joins = before.as_ref().filter(|(last, pages)| {
                span.follows(last) && pages + segment.pages <= self.step_pages
                    || packed && span.shares(last)
            });
            let pages = segment.pages + joins.map_or(0, |&(_, pages)| pages);
            match runs.last_mut().filter(|_| joins.is_some()) {
                Some(run) => run.end = index + 1,
                None => runs.push(index..index + 1),
            }
            before = Some((span, pages));
        }
        runs
    }

    fn place_one(&mut self, matrices: &[Matrix], index: usize, stays: bool, spans: &[Span]) {
        let segment = &mut self.all[index];
        if let Some(&before) = self.streamed.last() {
            segment.charge -= spans[index].common(&spans[before]);
        }
        let row_bytes = matrices[segment.matrix].row_bytes;
        let bytes = (segment.rows.len() * row_bytes) as u64;
        if stays {
            segment.place = Place::Resident(self.resident);
            self.resident += 1;
            self.resident_bytes += bytes;
        } else {
            segment.place = Place::Streamed(self.streamed.len());
            self.streamed.push(index);
            self.streamed_bytes += bytes;
        }
    }

    /// Bytes that they take themselves.
    pub(super) fn memory_bytes(&self) -> u64 {
        let segments = self.all.capacity() * size_of::<Segment>();
        let indices = self.streamed.capacity() * size_of::<usize>();
        (segments + indices) as u64
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
    fn of(matrix: &Matrix, rows: &Range<usize>, page_bytes: u64) -> Span {
        let bytes = matrix.bytes_of(rows.clone());
        Span {
            file: Arc::as_ptr(&matrix.tensor.field().shared).addr(),
            first: bytes.start / page_bytes,
            last: (bytes.end.max(1) - 1) / page_bytes,
        }
    }

    fn pages(&self) -> u64 {
        self.last - self.first + 1
    }

    /// True where it begins in the last page of the other, or in the next.
    fn follows(&self, other: &Span) -> bool {
        self.file == other.file && (other.last..=other.last + 1).contains(&self.first)
    }

    /// Pages that the two have in common.
    fn common(&self, other: &Span) -> u64 {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        match self.file == other.file && first <= last {
            true => last - first + 1,
            false => 0,
        }
    }

    /// True where the two have a page in common, if that is an end of both.
    fn shares(&self, other: &Span) -> bool {
        let ends = |span: &Span| [span.first, span.last];
        self.file == other.file && ends(self).iter().any(|page| ends(other).contains(page))
    }
}

/// The first and the last pages of segments: only those can be another's too, as no two tensors overlap.
#[derive(Debug, Default)]
struct Ends(HashSet<(usize, u64)>);

impl Ends {
    /// Pages that segments have and those before them have not.
    fn more(&self, spans: &[Span]) -> u64 {
        let mut new = Vec::new();
        let mut within = 0;
        for span in spans {
            new.push((span.file, span.first));
            new.push((span.file, span.last));
            within += span.pages().saturating_sub(2);
        }
        new.sort_unstable();
        new.dedup();
        new.retain(|page| !self.0.contains(page));
        within + new.len() as u64
    }

    /// Adds segments; returns how many pages more there are.
    fn add(&mut self, spans: &[Span]) -> u64 {
        let more = self.more(spans);
        let ends = spans
            .iter()
            .flat_map(|s| [(s.file, s.first), (s.file, s.last)]);
        self.0.extend(ends);
        more
    }
}
