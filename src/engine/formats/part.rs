//! A file that lies in a field: all of it, or a file whose header a packed field holds.

use super::cursor::Source;
use crate::engine::Field;
use crate::error::Result;
use std::path::Path;

/// See the module. Positions are the file's.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) field: Field,
    /// Where the file's first byte lies in the field.
    pub(crate) base: u64,
    /// Bytes from there on that are the file's; what follows in the file lies elsewhere, and reads as zeros here.
    pub(crate) held: u64,
    /// Bytes of the file.
    pub(crate) len: u64,
}

impl Part {
    /// The whole field.
    pub(crate) fn whole(field: Field) -> Part {
        let len = field.len();
        Part {
            field,
            base: 0,
            held: len,
            len,
        }
    }
}

impl Source for Part {
    fn len(&self) -> u64 {
        self.len
    }

    fn header_room(&self) -> u64 {
        self.held
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let here = self.held.saturating_sub(at).min(into.len() as u64);
        let (here, elsewhere) = into.split_at_mut(here as usize);
        elsewhere.fill(0);
        Source::read(&self.field, self.base + at, here)
    }

    fn path(&self) -> &Path {
        self.field.path()
    }
}
