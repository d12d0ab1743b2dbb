//! The wake-up protocol between callers and a parked submission loop.
//!
//! The loop announces that it is about to sleep (`PARKED`), looks at its queues once more, and sleeps only while the
//! word still says so. A caller publishes its request first and looks at the word second. Both sides put a
//! sequentially consistent fence between the two steps, so at least one of them sees the other: either the loop finds
//! the request in its second look, or the caller finds `PARKED` and wakes it (store-buffering pattern; modelled by
//! `loom_no_wakeup_is_lost`). A caller makes a system call only when the loop really sleeps.

use crate::ring::sys;
use crate::sync::{AtomicU32, Ordering, fence};
#[cfg(not(loom))]
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(not(loom))]
use std::sync::OnceLock;

const AWAKE: u32 = 0;
/// The value on which a parked loop sleeps.
pub(crate) const PARKED: u32 = 1;

/// The futex word of one loop.
#[derive(Debug)]
pub(crate) struct WakeWord {
    word: AtomicU32,
    /// Where the ring cannot wait on a futex (before Linux 6.7) it reads this eventfd instead.
    #[cfg(not(loom))]
    eventfd: OnceLock<OwnedFd>,
}

impl WakeWord {
    pub(crate) fn new() -> WakeWord {
        WakeWord {
            word: AtomicU32::new(AWAKE),
            #[cfg(not(loom))]
            eventfd: OnceLock::new(),
        }
    }

    /// The loop is about to sleep. It must look at its queues after this and before sleeping.
    pub(crate) fn announce_park(&self) {
        self.word.store(PARKED, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The loop is awake again, or found work in its second look.
    pub(crate) fn unpark(&self) {
        self.word.store(AWAKE, Ordering::Relaxed);
    }

    /// Wakes the loop if it sleeps; call after publishing a request. True where a system call was made.
    pub(crate) fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        let parked = self.word.load(Ordering::Relaxed) == PARKED
            && self.word.swap(AWAKE, Ordering::AcqRel) == PARKED;
        if parked {
            self.notify();
        }
        parked
    }

    #[cfg(not(loom))]
    fn notify(&self) {
        if let Some(fd) = self.eventfd.get() {
            let one = 1u64;
            // SAFETY: the buffer is eight readable bytes and the descriptor is owned by `self`.
            unsafe { libc::write(fd.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
        }
        // Also where there is an eventfd: the ring that asked for it may have been refused since, and what took its place
        // sleeps on the word.
        sys::futex_wake(&self.word, 1);
    }

    #[cfg(loom)]
    fn notify(&self) {
        sys::futex_wake(&self.word, 1);
    }

    /// Sleeps on the word itself, for backends without a ring.
    pub(crate) fn sleep(&self, timeout: Option<std::time::Duration>) {
        sys::futex_wait(&self.word, PARKED, timeout);
    }

    /// The address a ring's futex wait sleeps on.
    #[cfg(not(loom))]
    pub(crate) fn as_ptr(&self) -> *const u32 {
        self.word.as_ptr()
    }

    /// Switches wake-ups to an eventfd. To be called before the loop first parks.
    #[cfg(not(loom))]
    pub(crate) fn use_eventfd(&self, fd: OwnedFd) {
        // A second call would find the first descriptor in place and drop its own.
        let _ = self.eventfd.set(fd);
    }

    /// The eventfd, where one is in use.
    #[cfg(not(loom))]
    pub(crate) fn eventfd(&self) -> Option<i32> {
        self.eventfd.get().map(AsRawFd::as_raw_fd)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::{PARKED, WakeWord};
    use crate::sync::{AtomicU32, Ordering};
    use loom::sync::Arc;

    /// One caller publishes a request and wakes; the loop parks. If the loop would go to sleep, the caller must have
    /// seen it parked: sleeping with work queued and nobody waking is the failure.
    #[test]
    fn loom_no_wakeup_is_lost() {
        loom::model(|| {
            let shared = Arc::new((WakeWord::new(), AtomicU32::new(0)));
            let caller = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    shared.1.store(1, Ordering::Relaxed);
                    shared.0.wake()
                })
            };
            shared.0.announce_park();
            let slept = shared.1.load(Ordering::Relaxed) == 0;
            if !slept {
                shared.0.unpark();
            }
            let woke = caller.join().unwrap_or(false);
            if slept {
                assert!(
                    woke || shared.0.word.load(Ordering::Relaxed) != PARKED,
                    "the loop sleeps on a queued request"
                );
            }
        });
    }
}
