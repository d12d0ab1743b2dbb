//! Threads that do one thing together, again and again, and sleep in between.
//!
//! A thread that sleeps takes tens of microseconds to wake, longer than a small matrix takes to be multiplied. So nobody
//! waits for one: the caller begins at once, whoever is awake in time helps, and who comes late finds the job closed. And
//! where nobody else needs the processors, a thread looks for the next job for a moment before it sleeps.

use crate::engine::fork;
use crate::error::{Error, Result};
use crate::sync::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread looks before it sleeps: what is done between two multiplications takes about as long.
const LOOK: Duration = Duration::from_micros(50);
/// How often it looks before it looks at the time.
const LOOKS: usize = 32;

/// What the threads do: given the state and the number of the thread.
type Job<'j, S> = dyn Fn(&S, usize) + Sync + 'j;

/// What the threads share, and how they call each other.
struct Shared<S: 'static> {
    state: S,
    call: Mutex<Call<S>>,
    called: Condvar,
    done: Condvar,
    /// Threads look before they sleep.
    looks: bool,
    /// The number of the last job.
    announced: AtomicU64,
    /// Threads that are doing it, without the caller. Changed under the lock.
    busy: AtomicUsize,
}

struct Call<S: 'static> {
    /// What is being done; `None` when the caller has found nothing more to do.
    job: Option<&'static Job<'static, S>>,
    /// Counts the jobs.
    number: u64,
    /// Threads that must be woken.
    asleep: usize,
    /// The caller must be woken.
    waits: bool,
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
    /// A crew of `size`, the caller included, whose threads look before they sleep, or do not.
    pub(super) fn new(size: usize, looks: bool, state: S) -> Result<Crew<S>> {
        let shared = Arc::new(Shared {
            state,
            call: Mutex::new(Call {
                job: None,
                number: 0,
                asleep: 0,
                waits: false,
                panicked: false,
                closing: false,
            }),
            called: Condvar::new(),
            done: Condvar::new(),
            looks,
            announced: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
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

    /// Runs `job` in the caller, and in each other thread that is awake before the caller is done; returns when all who
    /// began have done it. A `job` takes pieces of work until there are none.
    ///
    /// # Errors
    /// [`Error::Os`] where it panicked in one of them.
    pub(super) fn run(&self, job: &Job<'_, S>) -> Result<()> {
        if self.threads.is_empty() {
            job(&self.shared.state, 0);
            return Ok(());
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. A thread takes the reference out of `call.job` under the lock and is counted
        // as busy before it lets go of it. `Open` takes it out of `call.job` for good, under the same lock, and waits until
        // nobody is busy, before this function returns or unwinds: nobody has it any longer when `job` ends.
        let lasting = unsafe { std::mem::transmute::<&Job<'_, S>, &'static Job<'static, S>>(job) };
        let open = Open(shared);
        let asleep = {
            let mut call = lock(&shared.call);
            call.job = Some(lasting);
            call.panicked = false;
            call.number += 1;
            shared.announced.store(call.number, Ordering::Release);
            call.asleep
        };
        if asleep > 0 {
            shared.called.notify_all();
        }
        job(&shared.state, 0);
        drop(open);
        match std::mem::take(&mut lock(&shared.call).panicked) {
            false => Ok(()),
            true => Err(Error::Os {
                what: "a thread of the model panicked".into(),
                errno: libc::ECANCELED,
            }),
        }
    }
}

/// A job that threads may begin. Nobody can once it is dropped, and all who did have done it.
struct Open<'c, S: 'static>(&'c Shared<S>);

impl<S: 'static> Drop for Open<'_, S> {
    fn drop(&mut self) {
        let shared = self.0;
        lock(&shared.call).job = None;
        let busy = || shared.busy.load(Ordering::Acquire) > 0;
        shared.look(|| !busy());
        let mut call = lock(&shared.call);
        call.waits = true;
        let waited = shared.done.wait_while(call, |_| busy());
        waited.unwrap_or_else(PoisonError::into_inner).waits = false;
    }
}

impl<S: 'static> Shared<S> {
    /// Looks for a moment whether something `is_there`.
    fn look(&self, is_there: impl Fn() -> bool) {
        if !self.looks {
            return;
        }
        let started = Instant::now();
        while !(0..LOOKS).any(|_| {
            std::hint::spin_loop();
            is_there()
        }) {
            if started.elapsed() >= LOOK {
                return;
            }
        }
    }
}

fn work<S: 'static>(shared: &Shared<S>, index: usize) {
    let mut seen = 0;
    loop {
        let job = {
            let idle =
                |call: &mut Call<S>| !call.closing && (call.number == seen || call.job.is_none());
            let mut call = lock(&shared.call);
            if idle(&mut call) {
                let last = call.number;
                drop(call);
                shared.look(|| shared.announced.load(Ordering::Acquire) != last);
                call = lock(&shared.call);
            }
            call.asleep += 1;
            let call = shared.called.wait_while(call, idle);
            let mut call = call.unwrap_or_else(PoisonError::into_inner);
            call.asleep -= 1;
            let Some(job) = call.job.filter(|_| !call.closing) else {
                return;
            };
            seen = call.number;
            shared.busy.fetch_add(1, Ordering::Relaxed);
            job
        };
        // Whatever happens, nobody may wait for a thread that is gone.
        let done = catch_unwind(AssertUnwindSafe(|| job(&shared.state, index)));
        let mut call = lock(&shared.call);
        call.panicked |= done.is_err();
        // What it did is there for whoever sees this.
        if shared.busy.fetch_sub(1, Ordering::Release) == 1 && call.waits {
            shared.done.notify_one();
        }
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
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    /// Pieces of work, and how often each thread came.
    struct Work {
        left: AtomicUsize,
        done: AtomicUsize,
        came: [AtomicUsize; 5],
        piece: Duration,
    }

    fn crew(size: usize, looks: bool, piece: Duration) -> Crew<Work> {
        let work = Work {
            left: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            came: Default::default(),
            piece,
        };
        Crew::new(size, looks, work).unwrap()
    }

    fn job(work: &Work, index: usize) {
        work.came[index].fetch_add(1, Relaxed);
        while work
            .left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            std::thread::sleep(work.piece);
            work.done.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn all_of_a_job_is_done_when_it_returns_whoever_came() {
        for (size, looks) in [(1, false), (2, false), (5, false), (2, true), (5, true)] {
            let crew = crew(size, looks, Duration::ZERO);
            for round in 1..2000 {
                crew.state().left.store(7, Relaxed);
                crew.run(&job).unwrap();
                assert_eq!(crew.state().done.load(Relaxed), 7 * round);
            }
        }
    }

    #[test]
    fn every_thread_helps_with_a_job_that_takes_long() {
        let crew = crew(5, false, Duration::from_millis(2));
        crew.state().left.store(100, Relaxed);
        crew.run(&job).unwrap();
        for came in &crew.state().came {
            assert_eq!(came.load(Relaxed), 1);
        }
    }

    #[test]
    fn a_panic_in_a_thread_is_an_error_and_the_next_job_is_done() {
        let crew = crew(3, true, Duration::from_millis(2));
        crew.state().left.store(50, Relaxed);
        let panics = |work: &Work, index: usize| {
            assert!(index != 2, "as it is meant to");
            job(work, index);
        };
        assert!(crew.run(&panics).is_err());
        crew.state().left.store(50, Relaxed);
        let before = crew.state().done.load(Relaxed);
        crew.run(&job).unwrap();
        assert_eq!(crew.state().done.load(Relaxed), before + 50);
    }

    #[test]
    fn what_a_job_borrows_is_free_when_it_returns_or_panics() {
        for looks in [false, true] {
            let crew = crew(4, looks, Duration::from_micros(20));
            for round in 0..40 {
                let done = AtomicUsize::new(0);
                crew.state().left.store(9, Relaxed);
                let counts = |work: &Work, index: usize| {
                    job(work, index);
                    done.fetch_add(1, Relaxed);
                    assert!(round % 3 != 0 || index != 0, "as it is meant to");
                };
                let ran = catch_unwind(AssertUnwindSafe(|| crew.run(&counts)));
                assert_eq!(ran.is_err(), round % 3 == 0);
                // Whoever began has ended: nobody counts any more.
                let counted = done.load(Relaxed);
                std::thread::yield_now();
                assert_eq!(done.into_inner(), counted);
            }
        }
    }
}
