//! Threads that do one thing together, again and again, and sleep in between.

use crate::error::{Error, Result};
use crate::sync::lock;
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
    closing: bool,
}

/// A state, and threads that work on it; the caller is one of them.
pub(super) struct Crew<S: Send + Sync + 'static> {
    shared: Arc<Shared<S>>,
    threads: Vec<JoinHandle<()>>,
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
                closing: false,
            }),
            called: Condvar::new(),
            done: Condvar::new(),
        });
        let mut crew = Crew {
            shared,
            threads: Vec::new(),
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
    pub(super) fn run(&self, job: fn(&S, usize)) {
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
        drop(waited.unwrap_or_else(PoisonError::into_inner));
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
        // Counted down whatever happens: nobody may wait for a thread that is gone.
        let _done = Done(shared);
        if let Some(job) = job {
            job(&shared.state, index);
        }
    }
}

struct Done<'s, S>(&'s Shared<S>);

impl<S> Drop for Done<'_, S> {
    fn drop(&mut self) {
        lock(&self.0.call).busy -= 1;
        self.0.done.notify_one();
    }
}

impl<S: Send + Sync + 'static> Drop for Crew<S> {
    fn drop(&mut self) {
        lock(&self.shared.call).closing = true;
        self.shared.called.notify_all();
        for thread in self.threads.drain(..) {
            // A panic there was told by the panic itself.
            let _ = thread.join();
        }
    }
}
