//! Reading a header piece by piece: every length is checked against what is there before it is believed.

use crate::engine::Field;
use crate::error::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// Bytes that are read by offset: a field through the pool, or memory.
pub(crate) trait Source {
    /// Bytes there are.
    fn len(&self) -> u64;
    /// How many of the first ones a header can lie in.
    fn header_room(&self) -> u64 {
        self.len()
    }
    /// Fills `into` with the bytes from `at` on, which lie inside.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()>;
    /// What errors name.
    fn path(&self) -> &Path;
}

impl Source for Field {
    fn len(&self) -> u64 {
        Field::len(self)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        // Page by page: a long string need not fit the pool.
        let page = self.engine().page_size();
        let (mut at, mut into) = (at, into);
        while !into.is_empty() {
            let here = (page - at % page).min(into.len() as u64);
            let (now, later) = into.split_at_mut(here as usize);
            Field::read(self, at..at + here)?.copy_to(now);
            (at, into) = (at + here, later);
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        Field::path(self)
    }
}

/// A file in memory, for the parsers alone.
#[cfg(feature = "sim")]
pub(crate) struct Memory<'b>(pub(crate) &'b [u8]);

#[cfg(feature = "sim")]
impl Source for Memory<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let at = at as usize;
        // Outside is a bug of the parser, to be found.
        into.copy_from_slice(&self.0[at..at + into.len()]);
        Ok(())
    }

    fn path(&self) -> &Path {
        Path::new("memory")
    }
}

/// Bytes read at a time. A vocabulary has hundreds of thousands of short strings.
const WINDOW_BYTES: usize = 4096;

/// A position in a source, and the bytes around it.
pub(crate) struct Cursor<'s, S> {
    source: &'s S,
    format: &'static str,
    at: u64,
    /// No byte from here on belongs to the header.
    end: u64,
    window: [u8; WINDOW_BYTES],
    window_at: u64,
    window_len: usize,
}

impl<'s, S: Source> Cursor<'s, S> {
    /// A cursor at `at` that does not go beyond `end` of the source.
    pub(crate) fn new(source: &'s S, format: &'static str, at: u64, end: u64) -> Self {
        Cursor {
            source,
            format,
            at,
            end: end.min(source.len()),
            window: [0; WINDOW_BYTES],
            window_at: 0,
            window_len: 0,
        }
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// The error of what begins at `at`.
    pub(crate) fn malformed(&self, at: u64, what: impl Into<String>) -> Error {
        Error::Malformed {
            path: self.source.path().to_path_buf(),
            format: self.format,
            at,
            what: what.into(),
        }
    }

    fn truncated(&self, what: &str, need: u64) -> Error {
        self.malformed(
            self.at,
            format!("{what} needs {need} bytes and {} are left", self.left()),
        )
    }

    /// Steps over `bytes`.
    pub(crate) fn skip(&mut self, what: &str, bytes: u64) -> Result<Range<u64>> {
        if bytes > self.left() {
            return Err(self.truncated(what, bytes));
        }
        let start = self.at;
        self.at += bytes;
        Ok(start..self.at)
    }

    /// Makes the window hold the next `bytes`, which are there.
    fn fill(&mut self, bytes: usize) -> Result<usize> {
        let window_end = self.window_at + self.window_len as u64;
        if self.at < self.window_at || self.at + bytes as u64 > window_end {
            self.window_len = self.left().min(WINDOW_BYTES as u64) as usize;
            self.window_at = self.at;
            self.source
                .read(self.at, &mut self.window[..self.window_len])?;
        }
        Ok((self.at - self.window_at) as usize)
    }

    /// The next byte, which is not taken; `None` at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>> {
        if self.left() == 0 {
            return Ok(None);
        }
        let from = self.fill(1)?;
        Ok(self.window.get(from).copied())
    }

    /// Takes `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        if N as u64 > self.left() {
            return Err(self.truncated(what, N as u64));
        }
        let from = self.fill(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.window[from..from + N]);
        self.at += N as u64;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Steps over a string (its length in eight bytes, then its bytes); returns where its bytes are.
    pub(crate) fn string(&mut self, what: &str) -> Result<Range<u64>> {
        let len = self.u64(what)?;
        self.skip(what, len)
    }

    /// Steps over a name of 1 to `bytes_max` bytes of UTF-8, and copies it to `name`.
    pub(crate) fn name(&mut self, what: &str, bytes_max: u64, name: &mut Vec<u8>) -> Result<()> {
        let at = self.at;
        let range = self.string(what)?;
        let len = range.end - range.start;
        if len == 0 || len > bytes_max {
            return Err(self.malformed(at, format!("{what} has {len} bytes, not 1 to {bytes_max}")));
        }
        name.clear();
        name.resize(len as usize, 0);
        self.source.read(range.start, name)?;
        if std::str::from_utf8(name).is_err() {
            return Err(self.malformed(at, format!("{what} is not UTF-8")));
        }
        Ok(())
    }
}
