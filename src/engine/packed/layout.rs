//! Where everything of a model goes in its packed field: headers, tensors as a token needs them, the parts of an expert
//! side by side, what else is not zero, and the index.

use super::index::{Entry, FileRecord, IndexContent, PLACES_MAX};
use super::roles;
use super::rows::Rows;
use super::source::SourceFile;
use crate::engine::Field;
use crate::error::{Error, Result};
use std::ops::Range;

/// What headers, small experts and the index begin at a multiple of, in bytes: a cache line.
const ALIGN: u64 = 64;
/// Bytes looked at in one read, between the tensors.
const LOOK_BYTES: u64 = 4096;

/// See the module.
pub(super) struct Layout {
    pub(super) index: IndexContent,
    /// Where the index lies.
    pub(super) index_at: u64,
    /// Bytes of the field.
    pub(super) len: u64,
    /// What is copied, in the order of the field.
    pieces: Vec<Piece>,
    page_bytes: u64,
}

/// Rows of one entry, or a header, that are copied together.
struct Piece {
    start: u64,
    what: What,
}

enum What {
    Header { file: u32 },
    Rows { entry: u32, rows: Range<u64> },
}

/// Bytes that lie side by side in a file and in one page of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) file: u32,
    /// Where in the file.
    pub(super) from: u64,
    /// Where in the field.
    pub(super) to: u64,
    pub(super) len: u64,
}

impl Layout {
    /// Lays out `files` in pages of `page_bytes`. `order` says in which order the experts of a layer lie, where that is
    /// known.
    pub(super) fn of(
        files: &mut [SourceFile],
        page_bytes: u64,
        order: &dyn Fn(u32, u64) -> Option<Vec<u32>>,
    ) -> Result<Layout> {
        let mut layout = Layout {
            index: IndexContent::default(),
            index_at: 0,
            len: 0,
            pieces: Vec::new(),
            page_bytes,
        };
        let mut at = 0;
        for (number, file) in files.iter_mut().enumerate() {
            let others = other_bytes(file)?;
            layout.pieces.push(Piece {
                start: at,
                what: What::Header {
                    file: number as u32,
                },
            });
            layout.index.files.push(FileRecord {
                name: file.name.clone(),
                format: file.format,
                len: file.field.len(),
                header: at..at + file.header_bytes,
                first_entry: layout.index.entries.len() as u32,
                tensors: file.tensors.len() as u32,
                others: others.len() as u32,
            });
            at = (at + file.header_bytes).next_multiple_of(ALIGN);
            for tensor in &mut file.tensors {
                tensor.file = number as u32;
            }
            layout.index.entries.append(&mut file.tensors);
            layout
                .index
                .entries
                .extend(others.into_iter().map(|range| Entry {
                    name: String::new(),
                    file: number as u32,
                    role: None,
                    kind: 0,
                    dims: Vec::new(),
                    layer: None,
                    expert: None,
                    source_at: range.start,
                    rows: Rows::contiguous(0, range.end - range.start, 1),
                    places_at: None,
                }));
        }
        let at = layout.place_tensors(at, order)?;
        layout.index_at = at.next_multiple_of(ALIGN);
        layout.len = layout.index_at + layout.index.encoded_len();
        layout.pieces.sort_by_key(|piece| piece.start);
        Ok(layout)
    }

    /// Gives every entry its place; returns where the last one ends.
    fn place_tensors(
        &mut self,
        mut at: u64,
        order: &dyn Fn(u32, u64) -> Option<Vec<u32>>,
    ) -> Result<u64> {
        let mut sorted: Vec<u32> = (0..self.index.entries.len() as u32).collect();
        sorted.sort_by_key(|&entry| {
            let entry = &self.index.entries[entry as usize];
            let named = roles::Named {
                role: entry.role.unwrap_or(super::roles::TensorRole::Other),
                layer: entry.layer,
                expert: entry.expert,
            };
            // The parts of one expert side by side, whatever their roles; behind them what holds all experts in one piece.
            let (class, layer, role) = named.order();
            let expert = entry.expert.map_or(0, |expert| u64::from(expert) + 1);
            let cut = expert > 0 || entry.rows.pieces() > 1;
            let role = if cut {
                roles::TensorRole::ExpertGate
            } else {
                role
            };
            let whole = role.is_expert() && !cut;
            (
                entry.role.is_none(),
                class,
                layer,
                role,
                whole,
                expert,
                named.role,
            )
        });
        let mut rest = sorted.as_slice();
        while let Some((&first, _)) = rest.split_first() {
            let together = self.together(rest);
            let (now, later) = rest.split_at(together);
            rest = later;
            let pieces = self.index.entries[first as usize].rows.pieces();
            at = match () {
                () if pieces > 1 => self.place_pieces(at, now, pieces, order)?,
                () if together > 1 => self.place_bundle(at, now),
                () => self.place_alone(at, first),
            };
        }
        Ok(at)
    }

    /// How many of the first entries are parts of the same experts.
    fn together(&self, entries: &[u32]) -> usize {
        let entry = |k: &u32| &self.index.entries[*k as usize];
        let Some(first) = entries.first().map(entry) else {
            return 0;
        };
        let is_part = |e: &Entry| {
            e.role.is_some_and(roles::TensorRole::is_expert)
                && e.layer == first.layer
                && e.expert == first.expert
                && e.rows.pieces() == first.rows.pieces()
        };
        let same = entries.iter().take_while(|k| is_part(entry(k))).count();
        match first.expert.is_some() || first.rows.pieces() > 1 {
            true => same.max(1),
            false => 1,
        }
    }

    fn place_alone(&mut self, at: u64, entry: u32) -> u64 {
        let page = self.page_bytes;
        let e = &mut self.index.entries[entry as usize];
        e.rows = match e.role {
            Some(_) => Rows::in_pages(at, e.rows.row_bytes, e.rows.count, page),
            None => Rows::contiguous(at, e.rows.row_bytes, e.rows.count),
        };
        self.note(entry);
        self.index.entries[entry as usize].rows.piece_end(0)
    }

    /// Tensors of one expert, side by side; on a page of their own where they do not fit what is left of this one.
    fn place_bundle(&mut self, at: u64, entries: &[u32]) -> u64 {
        let end = self.end_of_bundle(0, entries);
        let room = at.next_multiple_of(self.page_bytes) - at;
        let mut at = match end <= room {
            true => at,
            false => at.next_multiple_of(self.page_bytes),
        };
        for &entry in entries {
            at = self.place_alone(at, entry);
        }
        at
    }

    /// Where the pieces of one expert end that begin at `at`.
    fn end_of_bundle(&self, at: u64, entries: &[u32]) -> u64 {
        entries.iter().fold(at, |at, &entry| {
            let rows = &self.index.entries[entry as usize].rows;
            Rows::in_pages(at, rows.row_bytes, rows.piece_rows, self.page_bytes).piece_end(0)
        })
    }

    /// Tensors that hold all experts of a layer: cut into experts, and the pieces of each side by side. Experts of less
    /// than half a page share pages.
    fn place_pieces(
        &mut self,
        at: u64,
        entries: &[u32],
        pieces: u64,
        order: &dyn Fn(u32, u64) -> Option<Vec<u32>>,
    ) -> Result<u64> {
        let page = self.page_bytes;
        let base = at.next_multiple_of(page);
        let bytes = self.end_of_bundle(0, entries).next_multiple_of(ALIGN);
        let (group, piece_stride, group_stride) = match bytes <= page / 2 {
            true => (page / bytes.max(1), bytes, page),
            false => (1, 0, bytes.next_multiple_of(page)),
        };
        let layer = self.index.entries[entries[0] as usize].layer;
        let places = match layer.and_then(|layer| order(layer, pieces)) {
            Some(places) => Some(self.note_places(entries[0], pieces, places)?),
            None => None,
        };
        let mut at = base;
        for &entry in entries {
            let e = &mut self.index.entries[entry as usize];
            let first = Rows::in_pages(at, e.rows.row_bytes, e.rows.piece_rows, page);
            at = first.piece_end(0);
            e.rows = Rows {
                count: e.rows.count,
                group,
                piece_stride,
                group_stride,
                ..first
            };
            e.places_at = places;
            self.note(entry);
        }
        Ok(base + pieces.div_ceil(group) * group_stride)
    }

    /// Notes where the pieces of an entry lie; returns where that is among the places of the index.
    fn note_places(&mut self, entry: u32, pieces: u64, places: Vec<u32>) -> Result<u64> {
        let mut seen: Vec<u64> = places.iter().map(|&place| place.into()).collect();
        seen.sort_unstable();
        if pieces > PLACES_MAX || !seen.into_iter().eq(0..pieces) {
            return Err(Error::InvalidOption {
                option: "expert_order",
                value: format!("that of {}", self.index.entries[entry as usize].name),
                why: format!("not a place of its own for each of {pieces} experts"),
            });
        }
        let at = self.index.places.len() as u64;
        self.index.places.extend(places);
        Ok(at)
    }

    /// Notes what of an entry is copied.
    fn note(&mut self, entry: u32) {
        let e = &self.index.entries[entry as usize];
        let places = places_of(&self.index, e);
        for piece in 0..e.rows.pieces() {
            let rows = piece * e.rows.piece_rows..(piece + 1) * e.rows.piece_rows;
            if rows.is_empty() || e.rows.row_bytes == 0 {
                continue;
            }
            self.pieces.push(Piece {
                start: e.rows.offset(rows.start, places),
                what: What::Rows { entry, rows },
            });
        }
    }

    /// What is to be copied, in the order of the field.
    pub(super) fn copies(&self) -> impl Iterator<Item = Copy> {
        self.pieces
            .iter()
            .flat_map(|piece| runs(&self.index, &piece.what))
            .flat_map(|copy| in_pages(copy, self.page_bytes))
    }
}

/// Where the pieces of an entry lie, where they do not lie in order.
pub(super) fn places_of<'i>(index: &'i IndexContent, entry: &Entry) -> Option<&'i [u32]> {
    index.places.get(entry.places_at? as usize..)
}

/// The runs of a piece: bytes that lie side by side in the file and in the field.
fn runs<'i>(index: &'i IndexContent, what: &'i What) -> Box<dyn Iterator<Item = Copy> + 'i> {
    match what {
        What::Header { file } => {
            let header = &index.files[*file as usize].header;
            Box::new(std::iter::once(Copy {
                file: *file,
                from: 0,
                to: header.start,
                len: header.end - header.start,
            }))
        }
        What::Rows { entry, rows } => Box::new(runs_of(
            index,
            &index.entries[*entry as usize],
            rows.clone(),
        )),
    }
}

/// The runs of rows of an entry.
pub(super) fn runs_of<'i>(
    index: &'i IndexContent,
    entry: &'i Entry,
    rows: Range<u64>,
) -> impl Iterator<Item = Copy> + 'i {
    let runs = entry.rows.runs(rows, places_of(index, entry));
    runs.map(|(row, range)| Copy {
        file: entry.file,
        from: entry.source_at + row * entry.rows.row_bytes,
        to: range.start,
        len: range.end - range.start,
    })
}

/// A run cut at the ends of pages.
pub(super) fn in_pages(run: Copy, page_bytes: u64) -> impl Iterator<Item = Copy> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let to = run.to + done;
        let len = (page_bytes - to % page_bytes).min(run.len - done);
        let copy = Copy {
            from: run.from + done,
            to,
            len,
            ..run
        };
        done += len;
        (len > 0).then_some(copy)
    })
}

/// What of a file is neither header nor tensor and not zero.
fn other_bytes(file: &SourceFile) -> Result<Vec<Range<u64>>> {
    let mut places: Vec<Range<u64>> = file
        .tensors
        .iter()
        .map(|tensor| tensor.source_at..tensor.source_at + tensor.rows.bytes())
        .filter(|range| !range.is_empty())
        .collect();
    places.sort_by_key(|range| range.start);
    places.push(file.field.len()..file.field.len());
    let mut others = Vec::new();
    let mut at = file.header_bytes;
    for place in places {
        others.extend(not_zero(&file.field, at..place.start)?);
        at = at.max(place.end);
    }
    Ok(others)
}

/// The first to the last byte of a range that is not zero.
fn not_zero(field: &Field, range: Range<u64>) -> Result<Option<Range<u64>>> {
    let mut found: Option<Range<u64>> = None;
    let mut at = range.start;
    while at < range.end {
        let end = (at + LOOK_BYTES).min(range.end);
        let bytes = field.read(at..end)?.to_vec();
        let first = bytes.iter().position(|&byte| byte != 0);
        let last = bytes.iter().rposition(|&byte| byte != 0);
        if let (Some(first), Some(last)) = (first, last) {
            let start = found.map_or(at + first as u64, |found| found.start);
            found = Some(start..at + last as u64 + 1);
        }
        at = end;
    }
    Ok(found)
}
