//! Numbers that begin where a cache line does: a load of a whole line then takes one access, not two.

use std::ops::Deref;

const LINE: usize = 64;

/// Numbers, one after the other. Only speed depends on where they begin.
#[derive(Debug, Clone)]
pub(super) struct Aligned<T> {
    all: Vec<T>,
    /// Where the first one is.
    start: usize,
}

impl<T: Copy + Default> Aligned<T> {
    pub(super) const fn new() -> Aligned<T> {
        Aligned {
            all: Vec::new(),
            start: 0,
        }
    }

    /// None, with room for so many.
    pub(super) fn begin(&mut self, len: usize) {
        self.all.clear();
        self.all.reserve(len + LINE / size_of::<T>());
        let start = self.all.as_ptr().align_offset(LINE);
        self.start = if start < LINE { start } else { 0 };
        self.all.resize(self.start, T::default());
    }

    pub(super) fn push(&mut self, x: T) {
        self.all.push(x);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.all.capacity() * size_of::<T>()
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.all[self.start..]
    }
}
