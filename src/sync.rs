//! The one door to atomics and locks, so that the same code runs under the model checker.
//!
//! Built with `--cfg loom`, every atomic and mutex of the page-state machine, the request lanes and the
//! wake-up protocol is loom's, and the tests named `loom_*` explore all interleavings of them.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

/// Locks `mutex`. A panic while it was held is no reason to lose data here: no critical section of this crate
/// leaves its data half-changed, so a poisoned lock is taken as it is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
