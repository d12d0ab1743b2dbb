//! Room on the stack that is not written before it is needed.

use std::mem::MaybeUninit;

/// Up to `N` values, the first of which are there. Nothing but [`Slots::slot`] changes how many.
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

    /// Number `at`, which is below `N`; `nothing`, and all before it too, where it was not there.
    #[inline(always)]
    pub(in crate::kernels) fn slot(&mut self, at: usize, nothing: &V) -> &mut V {
        while self.filled <= at {
            self.slots[self.filled].write(*nothing);
            self.filled += 1;
        }
        // SAFETY: the loop writes a slot before it counts it, and nothing takes one out, so those below `filled` have
        // been written; it ends with `at` below `filled`.
        unsafe { self.slots[at].assume_init_mut() }
    }

    /// Number `at`, if it is there.
    #[inline(always)]
    pub(in crate::kernels) fn get(&self, at: usize) -> Option<&V> {
        if at >= self.filled {
            return None;
        }
        // SAFETY: `at` is below `filled`, and those have been written, as above.
        Some(unsafe { self.slots[at].assume_init_ref() })
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn what_was_not_asked_for_is_not_there_and_what_is_before_it_is_nothing() {
        let mut slots = Slots::<u64, 4>::new();
        assert_eq!(slots.get(0), None);
        *slots.slot(2, &7) = 1;
        let all = [0, 1, 2, 3].map(|at| slots.get(at).copied());
        assert_eq!(all, [Some(7), Some(7), Some(1), None]);
        // What is there stays, and nothing is beyond the last.
        assert_eq!(*slots.slot(2, &9), 1);
        assert_eq!(*slots.slot(3, &9), 9);
        assert_eq!(slots.get(4), None);
    }
}
