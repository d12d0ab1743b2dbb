//! Pinned bytes of a field.

use super::claim::Pinned;
use super::field::FieldShared;
use super::fork;
use std::fmt;

/// Bytes of a field, read in place from the pool's pages. They stay where they are, unchanged, until the view is
/// dropped; the pages cannot be evicted before that.
///
/// A view borrows its [`crate::Field`] (or its [`crate::Batch`]), so that making one costs no reference count.
pub struct View<'f> {
    field: &'f FieldShared,
    start: u64,
    len: usize,
    pinned: Pinned,
    /// False in a batch, which gives its pins back itself.
    owns_pins: bool,
}

impl<'f> View<'f> {
    #[inline]
    pub(crate) fn new(
        field: &'f FieldShared,
        start: u64,
        len: usize,
        pinned: Pinned,
        owns_pins: bool,
    ) -> View<'f> {
        View {
            field,
            start,
            len,
            pinned,
            owns_pins,
        }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a view of no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Offset of the first byte in the field.
    #[inline]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// All bytes as one slice, where they lie inside one page or one extent; `None` otherwise.
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self.pinned.count {
            0 => Some(&[]),
            1 => {
                let within = self.start - self.field.geometry.origin(self.pinned.first);
                self.bytes_of(self.pinned.frame, within, self.len)
            }
            _ => None,
        }
    }

    /// The bytes page by page (extent by extent), in order. In a forked child there are none.
    #[inline]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks {
            view: self,
            at: self.start,
        }
    }

    /// Copies the first bytes to `into`, as many as both have; returns how many those are.
    pub fn copy_to(&self, into: &mut [u8]) -> usize {
        let mut done = 0;
        for chunk in self.chunks() {
            let n = chunk.len().min(into.len() - done);
            into[done..done + n].copy_from_slice(&chunk[..n]);
            done += n;
        }
        done
    }

    /// All bytes in a new vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        for chunk in self.chunks() {
            bytes.extend_from_slice(chunk);
        }
        bytes
    }

    /// `len` bytes of a pinned frame, from `within` on. `None` in a forked child, where the arena is not mapped.
    #[inline]
    fn bytes_of(&self, frame: u32, within: u64, len: usize) -> Option<&[u8]> {
        if fork::generation() != self.field.core.fork_generation {
            return None;
        }
        let first = self
            .field
            .pool()
            .address(frame)
            .wrapping_add(within as usize);
        // SAFETY: the frame is resident and pinned for as long as this view lives (`pinned`), so nothing writes to it or
        // reuses it; `within + len` lies inside the unit's frames because the range was checked against the field's
        // length and cut at the unit's end; the arena is mapped while the field holds the engine's core, in this process.
        Some(unsafe { std::slice::from_raw_parts(first, len) })
    }
}

impl Drop for View<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.owns_pins && self.pinned.count > 0 {
            self.field.unpin(&self.pinned);
        }
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Iterator over the pages of a [`View`].
#[derive(Debug)]
pub struct Chunks<'v> {
    view: &'v View<'v>,
    at: u64,
}

impl<'v> Iterator for Chunks<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let view = self.view;
        let end = view.start + view.len as u64;
        if self.at >= end {
            return None;
        }
        let field = view.field;
        let unit = field.geometry.unit(self.at);
        let upto = field.geometry.bytes(unit).end.min(end);
        let frame = field.frame_of(&view.pinned, unit)?;
        let within = self.at - field.geometry.origin(unit);
        let len = (upto - self.at) as usize;
        self.at = upto;
        view.bytes_of(frame, within, len)
    }
}
