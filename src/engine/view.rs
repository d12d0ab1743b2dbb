//! Pinned bytes of a field.

use super::claim::Pinned;
use super::field::FieldShared;
use std::fmt;

/// Bytes of a field, read in place from the pool's pages. They stay where they are, unchanged, until the view is
/// dropped; the pages cannot be evicted before that.
///
/// A view borrows its [`crate::Field`] (or its [`crate::Batch`]), so that making one costs no reference count.
pub struct View<'f> {
    field: &'f FieldShared,
    /// The first byte where all lie in one unit; null where they do not.
    bytes: *const u8,
    start: u64,
    len: usize,
    /// The frame of the only unit.
    frame: u32,
    /// Units whose pins are given back on drop; 0 in a batch, which does so itself.
    pins: u32,
}

// SAFETY: a view is a shared borrow of pinned bytes that nothing writes to while it lives; its pins are atomics.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}

impl<'f> View<'f> {
    /// A view that gives its pins back itself.
    #[inline]
    pub(crate) fn new(field: &'f FieldShared, start: u64, len: usize, pinned: Pinned) -> View<'f> {
        let bytes = match pinned.count {
            1 => {
                let within = start - field.geometry.origin(pinned.first);
                let frame = field.pool().address(pinned.frame);
                frame.wrapping_add(within as usize).cast_const()
            }
            _ => std::ptr::null(),
        };
        View {
            field,
            bytes,
            start,
            len,
            frame: pinned.frame,
            pins: pinned.count,
        }
    }

    /// A view whose pins somebody else holds, for at least as long as the borrow.
    pub(crate) fn borrowed(
        field: &'f FieldShared,
        start: u64,
        len: usize,
        pinned: Pinned,
    ) -> View<'f> {
        let mut view = View::new(field, start, len, pinned);
        view.pins = 0;
        view
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

    /// All bytes as one slice, where they lie inside one page or one extent; `None` otherwise, and in a forked child.
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        if self.bytes.is_null() {
            return (self.len == 0).then_some(&[]);
        }
        self.slice(self.bytes, self.len)
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

    /// `len` bytes of a pinned frame. `None` in a forked child, where the arena is not mapped.
    #[inline]
    fn slice(&self, first: *const u8, len: usize) -> Option<&[u8]> {
        if self.field.core.is_forked() {
            return None;
        }
        // SAFETY: the frame is resident and pinned for as long as this view lives, so nothing writes to it or reuses it;
        // `first..first + len` lies inside the unit's frames because the range was checked against the field's length
        // and cut at the unit's end; the arena is mapped while the field holds the engine's core, in this process.
        Some(unsafe { std::slice::from_raw_parts(first, len) })
    }

    /// The pins of several units.
    fn pinned(&self) -> Pinned {
        let first = self.field.geometry.unit(self.start);
        Pinned {
            first,
            count: self.pins,
            frame: self.frame,
            loading: 0,
            nodes: 0,
        }
    }

    #[cold]
    #[inline(never)]
    fn unpin_many(&self) {
        self.field.unpin(&self.pinned());
    }
}

impl Drop for View<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        match self.pins {
            0 => {}
            1 => self.field.pool().unpin(self.frame),
            _ => self.unpin_many(),
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
        if !view.bytes.is_null() {
            self.at = end;
            return view.slice(view.bytes, view.len);
        }
        let field = view.field;
        if field.core.is_forked() {
            return None;
        }
        let unit = field.geometry.unit(self.at);
        let upto = field.geometry.bytes(unit).end.min(end);
        // Pinned pages stay in the table.
        let frame = field.pool().pinned(field.key(unit))?;
        let within = (self.at - field.geometry.origin(unit)) as usize;
        let len = (upto - self.at) as usize;
        self.at = upto;
        view.slice(field.pool().address(frame).wrapping_add(within), len)
    }
}
