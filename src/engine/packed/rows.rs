//! Where the rows of a tensor lie.
//!
//! In a foreign file they follow each other. In a packed field no row of at most a page lies in two of them, and a longer
//! one begins on a page, so there are gaps at the ends of pages. An expert tensor is cut into pieces, one for each expert,
//! so that the pieces of one expert lie together.

use std::ops::Range;

/// See the module. Places are bytes of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    /// First byte of the first row of piece 0.
    pub(crate) start: u64,
    pub(crate) row_bytes: u64,
    /// Rows in all.
    pub(crate) count: u64,
    /// Bytes of a page that no row straddles; 0 where rows follow each other whatever the pages.
    pub(crate) page_bytes: u64,
    /// Rows of a piece.
    pub(crate) piece_rows: u64,
    /// Pieces that lie in one group, and bytes from one to the next.
    pub(crate) group: u64,
    pub(crate) piece_stride: u64,
    /// Bytes from one group to the next.
    pub(crate) group_stride: u64,
}

impl Rows {
    /// Rows that follow each other.
    pub(crate) fn contiguous(start: u64, row_bytes: u64, count: u64) -> Rows {
        Rows {
            start,
            row_bytes,
            count,
            page_bytes: 0,
            piece_rows: count,
            group: 1,
            piece_stride: 0,
            group_stride: 0,
        }
    }

    /// Rows in pages, of one piece, that begin at or behind `at`.
    pub(crate) fn in_pages(at: u64, row_bytes: u64, count: u64, page_bytes: u64) -> Rows {
        Rows {
            start: fit(at, row_bytes, page_bytes),
            page_bytes,
            ..Rows::contiguous(at, row_bytes, count)
        }
    }

    pub(crate) fn pieces(&self) -> u64 {
        self.count.checked_div(self.piece_rows).unwrap_or(1)
    }

    /// Bytes of the rows themselves.
    pub(crate) fn bytes(&self) -> u64 {
        self.row_bytes * self.count
    }

    /// True where a page can end with bytes that belong to no row.
    pub(crate) fn is_padded(&self) -> bool {
        self.page_bytes != 0
    }

    /// Rows that a page has room for, from `start` on; 0 where a row is longer.
    fn room(&self, start: u64) -> u64 {
        (self.page_bytes - start % self.page_bytes) / self.row_bytes.max(1)
    }

    /// First byte of piece `place`, in the order in which pieces lie.
    fn piece_at(&self, place: u64) -> u64 {
        let (group, within) = (place / self.group.max(1), place % self.group.max(1));
        self.start + group * self.group_stride + within * self.piece_stride
    }

    /// First byte of row `row` of a piece that begins at `start`.
    fn within(&self, start: u64, row: u64) -> u64 {
        if self.page_bytes == 0 {
            return start + row * self.row_bytes;
        }
        if self.row_bytes > self.page_bytes {
            return start + row * self.row_bytes.next_multiple_of(self.page_bytes);
        }
        let first = self.room(start);
        if row < first {
            return start + row * self.row_bytes;
        }
        let page = start - start % self.page_bytes + self.page_bytes;
        let each = self.page_bytes / self.row_bytes.max(1);
        let row = row - first;
        page + row / each * self.page_bytes + row % each * self.row_bytes
    }

    /// Where rows of one piece lie, from the first byte of the first to the last byte of the last; `places` says where
    /// each piece lies among all, where it is not its own number.
    pub(crate) fn range(&self, rows: Range<u64>, places: Option<&[u32]>) -> Range<u64> {
        if rows.is_empty() {
            let start = self.offset(rows.start.min(self.count.saturating_sub(1)), places);
            return start..start;
        }
        let last = self.offset(rows.end - 1, places);
        self.offset(rows.start, places)..last + self.row_bytes
    }

    /// First byte of a row.
    pub(crate) fn offset(&self, row: u64, places: Option<&[u32]>) -> u64 {
        let piece = row.checked_div(self.piece_rows).unwrap_or(0);
        let place = match places {
            Some(places) => places.get(piece as usize).map_or(piece, |&p| u64::from(p)),
            None => piece,
        };
        self.within(self.piece_at(place), row - piece * self.piece_rows)
    }

    /// How many of the rows from `row` on lie without a gap, at most `most`.
    pub(crate) fn run(&self, row: u64, most: u64, places: Option<&[u32]>) -> u64 {
        let in_piece = self.piece_rows - row % self.piece_rows.max(1);
        let most = most.min(in_piece).min(self.count - row);
        if self.page_bytes == 0 {
            return most;
        }
        let room = self.room(self.offset(row, places));
        most.min(room.max(1))
    }

    /// Rows cut into runs without a gap: the first row of each, and its bytes.
    pub(crate) fn runs<'p>(
        &self,
        rows: Range<u64>,
        places: Option<&'p [u32]>,
    ) -> impl Iterator<Item = (u64, Range<u64>)> + use<'p> {
        let (lie, mut row) = (*self, rows.start);
        std::iter::from_fn(move || {
            if row >= rows.end {
                return None;
            }
            let first = row;
            row += lie.run(row, rows.end - row, places);
            Some((first, lie.range(first..row, places)))
        })
    }

    /// First byte behind all of piece `place`.
    pub(crate) fn piece_end(&self, place: u64) -> u64 {
        match self.piece_rows.checked_sub(1) {
            Some(last) => self.within(self.piece_at(place), last) + self.row_bytes,
            None => self.piece_at(place),
        }
    }

    /// Whether all of it lies below `len`, without a number that overflows.
    pub(crate) fn fits(&self, len: u64) -> bool {
        let whole = self.page_bytes == 0 || self.page_bytes.is_power_of_two();
        let cut = self.piece_rows.checked_mul(self.pieces()) == Some(self.count);
        let aligned = self.row_bytes <= self.page_bytes
            || self.page_bytes == 0
            || self.start.is_multiple_of(self.page_bytes)
                && self.group_stride.is_multiple_of(self.page_bytes)
                && self.group <= 1;
        let no_row_straddles = self.page_bytes == 0
            || self.row_bytes > self.page_bytes
            || self.start % self.page_bytes + self.row_bytes <= self.page_bytes;
        // Everything below is at most the last byte, which is computed wide.
        let wide = |n: u64| u128::from(n);
        let row = match self.page_bytes {
            0 => wide(self.row_bytes),
            page => wide(self.row_bytes)
                .max(wide(page))
                .next_multiple_of(wide(page)),
        };
        let groups = wide(self.pieces().div_ceil(self.group.max(1)));
        let last = wide(self.start)
            + wide(self.group_stride) * groups
            + wide(self.piece_stride) * wide(self.group);
        let small = last < 1 << 62 && wide(self.row_bytes) * wide(self.count) < 1 << 62;
        let end = || {
            let last = self.pieces().saturating_sub(1);
            self.piece_end(last)
                .max(self.piece_end(self.group.min(last + 1) - 1))
        };
        // Rows of nothing could be without end.
        let some = self.row_bytes > 0 || self.count == 0;
        whole
            && some
            && cut
            && aligned
            && no_row_straddles
            && small
            && self.group >= 1
            && row * wide(self.piece_rows.max(1)) < 1 << 63
            && (self.count == 0 || end() <= len)
    }
}

/// Where a row that begins at or behind `at` may begin: 64 bytes are a cache line.
fn fit(at: u64, row_bytes: u64, page_bytes: u64) -> u64 {
    let start = at.next_multiple_of(LINE_BYTES);
    let room = page_bytes - start % page_bytes;
    if row_bytes <= room {
        start
    } else {
        start.next_multiple_of(page_bytes)
    }
}

/// What the first row of a tensor is aligned to, in bytes.
const LINE_BYTES: u64 = 64;

#[cfg(test)]
mod tests {
    use super::Rows;

    fn check(rows: &Rows, places: Option<&[u32]>) {
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let mut row = 0;
        while row < rows.count {
            let run = rows.run(row, u64::MAX, places);
            assert!(run >= 1 && row + run <= rows.count);
            let range = rows.range(row..row + run, places);
            assert_eq!(
                range.end - range.start,
                run * rows.row_bytes,
                "a run has no gap"
            );
            for k in row..row + run {
                let at = rows.offset(k, places);
                assert_eq!(at, range.start + (k - row) * rows.row_bytes);
                if rows.page_bytes > 0 {
                    let page = rows.page_bytes;
                    match rows.row_bytes <= page {
                        true => assert_eq!(at / page, (at + rows.row_bytes - 1) / page, "row {k}"),
                        false => assert_eq!(at % page, 0),
                    }
                }
            }
            taken.push((range.start, range.end));
            row += run;
        }
        taken.sort_unstable();
        for pair in taken.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "no two rows share a byte");
        }
    }

    #[test]
    fn no_row_of_at_most_a_page_lies_in_two_and_a_longer_one_begins_on_a_page() {
        for (at, row, count) in [
            (0u64, 100u64, 1000u64),
            (4000, 97, 50),
            (1, 4096, 7),
            (100, 4097, 5),
            (8191, 1, 3),
            (64, 3000, 4),
        ] {
            let rows = Rows::in_pages(at, row, count, 4096);
            assert!(rows.start >= at && rows.fits(u64::MAX / 4));
            check(&rows, None);
        }
        check(&Rows::contiguous(77, 1000, 20), None);
    }

    #[test]
    fn the_pieces_of_experts_lie_where_their_order_says() {
        // Two experts in a page, and each in two pages.
        for (row, piece_rows, group, piece_stride, group_stride) in
            [(100, 5, 2, 2048, 4096), (1000, 6, 1, 0, 8192)]
        {
            let rows = Rows {
                start: 8192 + 64,
                row_bytes: row,
                count: piece_rows * 4,
                page_bytes: 4096,
                piece_rows,
                group,
                piece_stride,
                group_stride,
            };
            assert!(rows.fits(1 << 20) && !rows.fits(8192 + 64));
            check(&rows, None);
            check(&rows, Some(&[2, 0, 3, 1]));
            assert_eq!(rows.offset(piece_rows, Some(&[2, 0, 3, 1])), rows.start);
        }
    }

    #[test]
    fn rows_that_cannot_be_are_refused() {
        let good = Rows::in_pages(0, 100, 1000, 4096);
        assert!(good.fits(1 << 20));
        for bad in [
            Rows {
                start: u64::MAX - 5,
                ..good
            },
            Rows {
                row_bytes: u64::MAX,
                ..good
            },
            Rows {
                count: u64::MAX,
                ..good
            },
            Rows {
                piece_rows: 7,
                ..good
            },
            Rows { group: 0, ..good },
            Rows {
                row_bytes: 0,
                ..good
            },
            Rows {
                page_bytes: 100,
                ..good
            },
            Rows {
                start: 4000,
                ..good
            },
            Rows {
                group_stride: u64::MAX,
                piece_rows: 10,
                ..good
            },
            Rows {
                row_bytes: 5000,
                start: 64,
                ..good
            },
            Rows {
                piece_stride: u64::MAX,
                piece_rows: 10,
                group: 100,
                ..good
            },
        ] {
            assert!(!bad.fits(1 << 20), "{bad:?}");
        }
    }
}
