//! What a field should be, worked out without the engine.

use std::ops::Range;

/// A file as it was made, and what has happened to it.
pub(crate) struct FileModel {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) align: u64,
    /// Its length now.
    pub(crate) len: u64,
}

impl FileModel {
    pub(crate) fn is_changed(&self) -> bool {
        self.len != self.content.len() as u64
    }
}

/// How a field cuts a file into units.
pub(crate) struct FieldModel {
    pub(crate) file: usize,
    pub(crate) len: u64,
    pub(crate) page: u64,
    pub(crate) align: u64,
    /// Bytes of an extent, and where one begins.
    pub(crate) extent: Option<(u64, u64)>,
}

impl FieldModel {
    /// The units that bytes `range` lie in.
    pub(crate) fn units(&self, range: &Range<u64>) -> Range<u64> {
        if range.is_empty() {
            return 0..0;
        }
        self.unit(range.start)..self.unit(range.end - 1) + 1
    }

    fn unit(&self, at: u64) -> u64 {
        match self.extent {
            None => at / self.page,
            Some((bytes, base)) => (at + bytes - base % bytes) / bytes,
        }
    }

    /// The bytes of a unit.
    pub(crate) fn bytes(&self, unit: u64) -> Range<u64> {
        let (start, end) = match self.extent {
            None => (unit * self.page, (unit + 1) * self.page),
            Some((bytes, base)) => {
                let end = unit * bytes + base % bytes;
                (end.saturating_sub(bytes), end)
            }
        };
        start.min(self.len)..end.min(self.len)
    }

    /// What is read for a unit: its bytes, widened to the file's alignment.
    pub(crate) fn reads(&self, unit: u64) -> Range<u64> {
        let bytes = self.bytes(unit);
        let start = bytes.start - bytes.start % self.align;
        start..bytes.end.next_multiple_of(self.align)
    }

    /// Frames of a unit.
    pub(crate) fn span(&self) -> u64 {
        match self.extent {
            None => 1,
            Some((bytes, base)) => {
                // Bytes before the extent in the aligned block that it begins in.
                let before = if bytes % self.align == 0 {
                    base % self.align
                } else {
                    self.align - 1
                };
                (bytes + before)
                    .next_multiple_of(self.align)
                    .div_ceil(self.page)
            }
        }
    }
}
