//! Room on the stack that is not written before it is needed.

use std::mem::MaybeUninit;

/// Up to `N` values, the first of which are there.
pub(in crate::kernels) struct Slots<V, const N: usize> {
    slots: [MaybeUninit<V>; N],
    /// How many are there.
    filled: usize,
}

impl<V: Copy, const N: usize> Slots<V, N> {
    #[inline(always)]
    pub(in crate::kernels) fn new() -> Slots<V, N> {
        Slots {
            slots: [const { MaybeUninit::uninit() }; N],
            filled: 0,
        }
    }

    /// Number `at`; `nothing`, and all before it too, where it was not there.
    #[inline(always)]
    pub(in crate::kernels) fn slot(&mut self, at: usize, nothing: &V) -> &mut V {
        while self.filled <= at {
            self.slots[self.filled].write(*nothing);
            self.filled += 1;
        }
        // SAFETY: those below `filled` have been written, and `at` is.
        unsafe { self.slots[at].assume_init_mut() }
    }

    /// Number `at`, if it is there.
    #[inline(always)]
    pub(in crate::kernels) fn get(&self, at: usize) -> Option<&V> {
        if at >= self.filled {
            return None;
        }
        // SAFETY: as above.
        Some(unsafe { self.slots[at].assume_init_ref() })
    }
}
