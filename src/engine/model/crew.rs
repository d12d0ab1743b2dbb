//! Threads that do one thing together, again and again, and sleep in between.

use crate::engine::fork;
use crate::error::{Error, Result};
use crate::sync::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the threads share, and how they call each other.
struct Shared<S> {
    state: S,
    call: Mutex<Call<S>>,
    called: Condvar,
    done: Condvar,
}

struct Call<S> {
    job: Option<fn(&S, usize)>,
    /// Counts the jobs.
    number: u64,
    /// Threads that have not finished it.
    busy: usize,
    /// One of them panicked: what it should have done is not done.
    panicked: bool,
    closing: bool,
}

/// A state, and threads that work on it; the caller is one of them.
pub(super) struct Crew<S: Send + Sync + 'static> {
    shared: Arc<Shared<S>>,
    threads: Vec<JoinHandle<()>>,
    fork_generation: u32,
}

impl<S: Send + Sync + 'static> std::fmt::Debug for Crew<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew")
            .field("threads", &(self.threads.len() + 1))
            .finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> Crew<S> {
    /// A crew of `size`, the caller included.
    pub(super) fn new(size: usize, state: S) -> Result<Crew<S>> {
        let shared = Arc::new(Shared {
            state,
            call: Mutex::new(Call {
                job: None,
                number: 0,
                busy: 0,
                panicked: false,
                closing: false,
            }),
            called: Condvar::new(),
            done: Condvar::new(),
        });
        let mut crew = Crew {
            shared,
            threads: Vec::new(),
            fork_generation: fork::watch(),
        };
        for index in 1..size {
            let shared = crew.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("ringfield-cpu{index}"))
                .spawn(move || work(&shared, index))
                .map_err(|e| Error::os("starting a thread for arithmetic", &e))?;
            crew.threads.push(thread);
        }
        Ok(crew)
    }

    pub(super) fn state(&self) -> &S {
        &self.shared.state
    }

    /// Runs `job` on every thread, and returns when all have done it.
    ///
    /// # Errors
    /// [`Error::Os`] where it panicked in one of them.
    pub(super) fn run(&self, job: fn(&S, usize)) -> Result<()> {
        {
            let mut call = lock(&self.shared.call);
            call.job = Some(job);
            call.number += 1;
            call.busy = self.threads.len();
        }
        self.shared.called.notify_all();
        job(&self.shared.state, 0);
        let call = lock(&self.shared.call);
        let still = |call: &mut Call<S>| call.busy > 0;
        let waited = self.shared.done.wait_while(call, still);
        let mut call = waited.unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut call.panicked) {
            false => Ok(()),
            true => Err(Error::Os {
                what: "a thread of the model panicked".into(),
                errno: libc::ECANCELED,
            }),
        }
    }
}

fn work<S>(shared: &Shared<S>, index: usize) {
    let mut seen = 0;
    loop {
        let job = {
            let call = lock(&shared.call);
            let idle = |call: &mut Call<S>| !call.closing && call.number == seen;
            let call = shared.called.wait_while(call, idle);
            let call = call.unwrap_or_else(PoisonError::into_inner);
            if call.closing {
                return;
            }
            seen = call.number;
            call.job
        };
        // Whatever happens, nobody may wait for a thread that is gone.
        let done = job.map(|job| catch_unwind(AssertUnwindSafe(|| job(&shared.state, index))));
        let mut call = lock(&shared.call);
        call.busy -= 1;
        call.panicked |= matches!(done, Some(Err(_)));
        shared.done.notify_one();
    }
}

impl<S: Send + Sync + 'static> Drop for Crew<S> {
    fn drop(&mut self) {
        if fork::generation() != self.fork_generation {
            // The threads stayed with the parent, and perhaps one of them with the lock.
            std::mem::forget(std::mem::take(&mut self.threads));
            std::mem::forget(self.shared.clone());
            return;
        }
        lock(&self.shared.call).closing = true;
        self.shared.called.notify_all();
        for thread in self.threads.drain(..) {
            // A panic there was told by the panic itself.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Crew;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn every_thread_does_every_job_once() {
        for size in [1, 2, 5] {
            let crew = Crew::new(size, AtomicUsize::new(0)).unwrap();
            for round in 1..200 {
                crew.run(|sum, index| {
                    sum.fetch_add(index + 1, Relaxed);
                })
                .unwrap();
                assert_eq!(crew.state().load(Relaxed), round * size * (size + 1) / 2);
            }
        }
    }

    #[test]
    fn a_panic_in_a_thread_is_an_error_and_the_next_job_is_done() {
        let crew = Crew::new(3, AtomicUsize::new(0)).unwrap();
        let panics = |_: &AtomicUsize, index: usize| assert!(index != 2, "as it is meant to");
        assert!(crew.run(panics).is_err());
        crew.run(|sum, _| {
            sum.fetch_add(1, Relaxed);
        })
        .unwrap();
        assert_eq!(crew.state().load(Relaxed), 3);
    }
}
