//! A waker that only counts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// How often a task was woken since it was last polled, and in all.
#[derive(Default)]
pub(crate) struct Woken {
    pending: AtomicU64,
    total: AtomicU64,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.pending.fetch_add(1, SeqCst);
        self.total.fetch_add(1, SeqCst);
    }
}

/// A future and its waker.
pub(crate) struct Task<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
    waker: Waker,
}

impl<F: fmt::Debug> fmt::Debug for Task<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.future.fmt(f)
    }
}

impl<F: Future> Task<F> {
    pub(crate) fn new(future: F) -> Task<F> {
        let woken = Arc::new(Woken::default());
        Task {
            future: Box::pin(future),
            waker: Waker::from(woken.clone()),
            woken,
        }
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.woken.pending.store(0, SeqCst);
        let mut context = Context::from_waker(&self.waker);
        self.future.as_mut().poll(&mut context)
    }

    /// Gives the task another waker, as an executor does that moves tasks about.
    pub(crate) fn move_to_another_waker(&mut self) {
        let pending = self.is_woken();
        self.woken = Arc::new(Woken::default());
        if pending {
            self.woken.pending.store(1, SeqCst);
        }
        self.waker = Waker::from(self.woken.clone());
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.pending.load(SeqCst) > 0
    }

    pub(crate) fn wakes(&self) -> u64 {
        self.woken.total.load(SeqCst)
    }
}
