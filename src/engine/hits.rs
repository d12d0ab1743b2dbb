//! Counting hits without sharing a cache line: each thread adds to a counter of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, TryLockError};

/// Threads with a counter of their own; further ones share the last.
const OWN: usize = 127;

/// How often a thread tries to get or give one back. The lock is held for a moment only, but in a forked child it may be held for
/// ever, by a thread that is not there.
const LOOKS: u32 = 10_000;

/// Which counters are taken, in all engines of the process.
static TAKEN: Mutex<[bool; OWN]> = Mutex::new([false; OWN]);

struct Place(usize);

fn taken() -> Option<MutexGuard<'static, [bool; OWN]>> {
    for _ in 0..LOOKS {
        match TAKEN.try_lock() {
            Ok(taken) => return Some(taken),
            Err(TryLockError::Poisoned(taken)) => return Some(taken.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

impl Place {
    fn take() -> Place {
        let place = taken().and_then(|mut taken| {
            let place = taken.iter().position(|&t| !t)?;
            taken[place] = true;
            Some(place)
        });
        Place(place.unwrap_or(OWN))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0 < OWN
            && let Some(mut taken) = taken()
        {
            taken[self.0] = false;
        }
    }
}

thread_local! {
    static PLACE: Place = Place::take();
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

/// A sum that any thread adds to.
#[derive(Debug)]
pub(crate) struct ThreadCounter(Box<[Counter]>);

impl ThreadCounter {
    pub(crate) fn new() -> ThreadCounter {
        ThreadCounter((0..=OWN).map(|_| Counter::default()).collect())
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes() -> u64 {
        (OWN as u64 + 1) * 64
    }

    #[inline]
    pub(crate) fn add(&self, by: u64) {
        // After the thread's destructors ran there is no place of its own.
        let place = PLACE.try_with(|place| place.0).unwrap_or(OWN);
        let counter = &self.0[place].0;
        if place < OWN {
            // Nobody else writes here, so no atomic addition is needed.
            counter.store(counter.load(Relaxed) + by, Relaxed);
        } else {
            counter.fetch_add(by, Relaxed);
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|counter| counter.0.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::ThreadCounter;

    #[test]
    fn no_hit_is_lost_when_threads_come_and_go_and_outnumber_the_counters() {
        let counter = ThreadCounter::new();
        std::thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| (0..500).for_each(|_| counter.add(1)));
            }
        });
        assert_eq!(counter.sum(), 100_000);
    }
}
