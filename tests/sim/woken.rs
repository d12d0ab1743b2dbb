//! A waker that only remembers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// Whether a task was woken since it was last polled.
#[derive(Default)]
pub(crate) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
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
        self.woken.0.store(false, SeqCst);
        let mut context = Context::from_waker(&self.waker);
        self.future.as_mut().poll(&mut context)
    }

    /// Gives the task another waker, as an executor does that moves tasks about.
    pub(crate) fn move_to_another_waker(&mut self) {
        let woken = self.is_woken();
        self.woken = Arc::new(Woken(AtomicBool::new(woken)));
        self.waker = Waker::from(self.woken.clone());
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(SeqCst)
    }
}
