//! How a field's bytes are cut into units: pages, or extents of adjacent frames.

use std::ops::Range;

/// A unit is what is read, found, pinned and evicted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Bytes of the file.
    pub(crate) len: u64,
    /// log2 of the page size.
    shift: u32,
    /// Alignment of direct reads, in bytes; 1 for buffered ones.
    align: u64,
    /// Bytes of an extent; 0 in a field of pages.
    extent: u64,
    /// Where the first whole extent begins.
    phase: u64,
    /// Frames of a unit.
    pub(crate) span: u32,
}

impl Geometry {
    pub(crate) fn pages(len: u64, page_bytes: u64, align: u32) -> Geometry {
        Geometry {
            len,
            shift: page_bytes.trailing_zeros(),
            align: u64::from(align),
            extent: 0,
            phase: 0,
            span: 1,
        }
    }

    /// Extents of `extent` bytes, one of which begins at byte `base`. `None` where one would not fit a read.
    pub(crate) fn extents(
        len: u64,
        page_bytes: u64,
        align: u32,
        extent: u64,
        base: u64,
    ) -> Option<Geometry> {
        let align = u64::from(align);
        // How far behind an aligned block an extent begins at most: what lies before it is read too.
        let before = match extent % align {
            0 => base % align,
            _ => align - 1,
        };
        let widest = extent
            .checked_add(before)?
            .checked_next_multiple_of(align)?;
        let span = u32::try_from(widest.div_ceil(page_bytes)).ok()?;
        if extent == 0 || widest > u64::from(u32::MAX) / 2 {
            return None;
        }
        Some(Geometry {
            len,
            shift: page_bytes.trailing_zeros(),
            align,
            extent,
            phase: base % extent,
            span,
        })
    }

    /// The unit that holds byte `offset`.
    #[inline]
    pub(crate) fn unit(&self, offset: u64) -> u64 {
        if self.extent == 0 {
            offset >> self.shift
        } else if offset < self.phase {
            0
        } else {
            // Unit 0 is what lies before the first whole extent; it is empty where extents begin at byte 0.
            (offset - self.phase) / self.extent + 1
        }
    }

    /// The bytes of the file that belong to a unit.
    pub(crate) fn bytes(&self, unit: u64) -> Range<u64> {
        let (start, end) = if self.extent == 0 {
            (unit << self.shift, (unit + 1) << self.shift)
        } else if unit == 0 {
            (0, self.phase)
        } else {
            let start = self.phase + (unit - 1) * self.extent;
            (start, start.saturating_add(self.extent))
        };
        start.min(self.len)..end.min(self.len)
    }

    /// Where in the file a unit's frames begin: at or before its first byte.
    #[inline]
    pub(crate) fn origin(&self, unit: u64) -> u64 {
        if self.extent == 0 {
            unit << self.shift
        } else {
            let start = self.bytes(unit).start;
            start - start % self.align
        }
    }

    /// What to read for a unit: (offset, bytes to ask for, bytes that the file has there).
    pub(crate) fn read(&self, unit: u64) -> (u64, u32, u32) {
        let origin = self.origin(unit);
        let end = self.bytes(unit).end;
        let ask = (end - origin).next_multiple_of(self.align);
        let there = ask.min(self.len - origin);
        // Both are below the page size, or the check in `extents`.
        (origin, ask as u32, there as u32)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Geometry;

    #[test]
    fn pages_cover_the_file_and_the_last_one_is_what_is_left() {
        let g = Geometry::pages(10_000, 4096, 512);
        assert_eq!(g.read(0), (0, 4096, 4096));
        assert_eq!(g.read(2), (8192, 2048, 1808));
        assert_eq!(g.unit(9_999), 2);
    }

    #[test]
    fn extents_at_odd_offsets_are_widened_to_the_alignment_and_cover_every_byte_once() {
        for (len, extent, base) in [
            (100_000u64, 7_001, 513),
            (4096 * 9, 4096, 0),
            (1, 5, 3),
            (70_000, 70_000, 0),
        ] {
            let Some(g) = Geometry::extents(len, 4096, 512, extent, base) else {
                panic!("{extent} fits");
            };
            let mut at = 0;
            for unit in 0..=g.unit(len - 1) {
                let bytes = g.bytes(unit);
                if bytes.is_empty() {
                    continue;
                }
                assert_eq!(bytes.start, at);
                assert_eq!((g.unit(bytes.start), g.unit(bytes.end - 1)), (unit, unit));
                let (origin, ask, there) = g.read(unit);
                assert!(origin % 512 == 0 && ask % 512 == 0 && origin <= bytes.start);
                assert!(origin + u64::from(there) >= bytes.end && origin + u64::from(there) <= len);
                assert!(u64::from(ask) <= u64::from(g.span) * 4096);
                at = bytes.end;
            }
            assert_eq!(at, len);
        }
    }

    #[test]
    fn an_aligned_extent_takes_no_more_frames_than_it_fills() {
        let span =
            |extent, base| Geometry::extents(1 << 30, 4096, 512, extent, base).map(|g| g.span);
        assert_eq!(span(8192, 0), Some(2));
        assert_eq!(span(8192, 512 * 7), Some(2));
        assert_eq!(span(8192, 1), Some(3));
        assert_eq!(span(8191, 0), Some(3));
    }

    #[test]
    fn an_extent_that_no_read_can_hold_is_refused() {
        assert_eq!(Geometry::extents(1 << 40, 4096, 512, 1 << 33, 0), None);
        assert_eq!(Geometry::extents(1 << 40, 4096, 512, u64::MAX, 0), None);
        assert_eq!(Geometry::extents(1 << 40, 4096, 512, 0, 0), None);
    }
}
