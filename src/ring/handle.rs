//! A running submission loop: starting its thread, degrading to what the machine grants, and stopping it in bounded time.

use crate::ring::backend::{Backend, Segment};
use crate::ring::device::Device;
use crate::ring::file::OpenFile;
use crate::ring::grant::Grant;
use crate::ring::lane::Slots;
use crate::ring::options::{BackendKind, Poll};
use crate::ring::refusal;
use crate::ring::shared::{Control, Shared};
#[cfg(feature = "sim")]
use crate::ring::sim::{Sim, SimConfig};
use crate::ring::spin::SpinGate;
use crate::ring::submission_loop::{Event, LoopConfig, Step, SubmissionLoop};
use crate::ring::sys;
use crate::ring::threads::{self, Method, Threads};
use crate::ring::uring::{Uring, UringConfig};
use std::borrow::Cow;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The report's row of a polling that is not granted.
const POLLED: &str = "polled completions";

/// What a ring is built from.
#[derive(Debug, Clone)]
pub(crate) struct RingConfig {
    pub(crate) kind: BackendKind,
    pub(crate) sqpoll_idle_ms: Option<u32>,
    pub(crate) poll: Poll,
    /// Whether the driver says that it can be polled.
    pub(crate) device_polls: Option<bool>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) nice: Option<i32>,
    pub(crate) arena_bytes: usize,
    /// Arena memory that belongs to no frame, for probing reads.
    pub(crate) scratch: *mut u8,
    pub(crate) scratch_bytes: u32,
    pub(crate) spin: Arc<SpinGate>,
    pub(crate) submission: LoopConfig,
}

// SAFETY: the pointers are addresses inside the arena, which is shared memory by nature; whoever dereferences them
// (the kernel, the threads of `Threads`) does so for frames that no one else uses at that time.
unsafe impl Send for RingConfig {}
// SAFETY: as above.
unsafe impl Sync for RingConfig {}

/// A running loop and how to talk to it.
pub(crate) struct Ring {
    pub(crate) shared: Arc<Shared>,
    pub(crate) device: Device,
    pub(crate) grants: Vec<Grant>,
    pub(crate) depth: u32,
    thread: Mutex<Option<Thread>>,
    shutdown: Duration,
}

/// The loop's thread, and how it says that it is about to end.
struct Thread {
    handle: JoinHandle<()>,
    finished: Receiver<()>,
}

impl Ring {
    /// Starts the loop of `device`. `first_file` is used to probe what works.
    ///
    /// # Errors
    /// Where `kind` is `Uring` and the kernel refuses, or no thread can be started.
    pub(crate) fn start<F>(
        config: RingConfig,
        device: Device,
        slots: Arc<Slots>,
        first_file: &Arc<OpenFile>,
        on_event: F,
    ) -> io::Result<Ring>
    where
        F: FnMut(Event) + Send + 'static,
    {
        let shared = Arc::new(Shared::new(slots));
        let file = first_file.clone();
        let submission = config.submission;
        Ring::spawn(submission, device, shared, move |shared, started| {
            let pinned = sys::set_affinity_if_any(&config.cpus);
            serve(config, shared, &file, started, pinned, on_event);
        })
    }

    /// Starts a thread for `body`, which says when its loop has started and returns when it has ended.
    fn spawn(
        config: LoopConfig,
        device: Device,
        shared: Arc<Shared>,
        body: impl FnOnce(&Arc<Shared>, &SyncSender<io::Result<Vec<Grant>>>) + Send + 'static,
    ) -> io::Result<Ring> {
        let (started_tx, started) = sync_channel(1);
        let (finished_tx, finished) = sync_channel(1);
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("ringfield-{}", device.name))
                .spawn(move || {
                    body(&shared, &started_tx);
                    let _ = finished_tx.send(());
                })?
        };
        let outcome = started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the submission loop ended while starting")));
        match outcome {
            Ok(grants) => Ok(Ring {
                shared,
                device,
                grants,
                depth: config.depth,
                thread: Mutex::new(Some(Thread {
                    handle: thread,
                    finished,
                })),
                shutdown: Duration::from_nanos(config.shutdown_ns),
            }),
            Err(e) => {
                let _ = thread.join();
                Err(e)
            }
        }
    }

    /// A ring whose loop has no thread: somebody steps it.
    #[cfg(feature = "sim")]
    pub(crate) fn stepped(config: LoopConfig, device: Device, shared: Arc<Shared>) -> Ring {
        Ring {
            shared,
            device,
            grants: vec![Grant::full("backend", "sim")],
            depth: config.depth,
            thread: Mutex::new(None),
            shutdown: Duration::from_nanos(config.shutdown_ns),
        }
    }

    /// A ring with a thread that reads from a simulated disk.
    ///
    /// # Errors
    /// Where no thread can be started.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated<F>(
        config: SimConfig,
        device: Device,
        shared: Arc<Shared>,
        backend: Sim,
        on_event: F,
    ) -> io::Result<Ring>
    where
        F: FnMut(Event) + Send + 'static,
    {
        Ring::spawn(config.submission, device, shared, move |shared, started| {
            // All of it, not the one field: only the whole may be sent.
            let config = config;
            let grants = vec![Grant::full("backend", "sim")];
            if started.send(Ok(grants)).is_ok() {
                let shared = shared.clone();
                run(SubmissionLoop::new(
                    shared,
                    backend,
                    config.submission,
                    Arc::new(SpinGate::new(false)),
                    on_event,
                ));
            }
        })
    }

    /// Makes a file known to the loop; returns its index there.
    pub(crate) fn add_file(&self, file: &Arc<OpenFile>) -> io::Result<u32> {
        let (index, answer) = self.send_file(file);
        self.added(index, &answer)
    }

    /// Tells the loop of a file: its index, and where the loop's answer comes in.
    pub(crate) fn send_file(&self, file: &Arc<OpenFile>) -> (u32, Receiver<Result<(), i32>>) {
        let index = self.shared.reserve_file();
        let (reply, answer) = sync_channel(1);
        self.shared.control(Control::AddFile {
            index,
            file: file.clone(),
            reply,
        });
        (index, answer)
    }

    /// Waits for the loop's answer.
    pub(crate) fn added(&self, index: u32, answer: &Receiver<Result<(), i32>>) -> io::Result<u32> {
        match answer.recv() {
            Ok(Ok(())) => Ok(index),
            Ok(Err(errno)) => {
                self.shared.control(Control::RemoveFile { index });
                Err(io::Error::from_raw_os_error(errno))
            }
            Err(_) => Err(io::Error::other(
                "the submission loop of this device has ended",
            )),
        }
    }

    /// In a forked child: the thread is the parent's, there is nothing to stop.
    pub(crate) fn abandon(&self) {
        std::mem::forget(self.take_thread());
    }

    fn take_thread(&self) -> Option<Thread> {
        self.thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Ring {
    /// Stops the loop. Waits for reads in flight as long as the engine's shutdown bound says; a loop that the kernel
    /// does not let go after that is left behind with the memory its reads point at.
    fn drop(&mut self) {
        let Some(Thread { handle, finished }) = self.take_thread() else {
            return;
        };
        self.shared.control(Control::Stop);
        // The last handle can be dropped by a waker that runs on the loop's own thread: it cannot wait for itself.
        if handle.thread().id() == std::thread::current().id() {
            return;
        }
        let patience = self.shutdown + Duration::from_millis(500);
        if finished.recv_timeout(patience).is_ok() {
            let _ = handle.join();
        }
    }
}

/// The loop's thread.
fn serve<F: FnMut(Event)>(
    config: RingConfig,
    shared: &Arc<Shared>,
    file: &Arc<OpenFile>,
    started: &SyncSender<io::Result<Vec<Grant>>>,
    pinned: io::Result<()>,
    on_event: F,
) {
    let mut grants = Vec::new();
    if let Err(e) = pinned {
        grants.push(Grant::less(
            "cpu affinity",
            format!("{:?}", config.cpus),
            "none",
            e.to_string(),
            "name processors that exist and that the cpuset allows",
        ));
    }
    if let Some(level) = config.nice {
        grants.push(match sys::set_nice(level) {
            Ok(()) => Grant::full("nice level", level.to_string()),
            Err(e) => Grant::less(
                "nice level",
                level.to_string(),
                "the host's",
                e.to_string(),
                "raise `ulimit -e` (LimitNICE= in systemd), or grant CAP_SYS_NICE",
            ),
        });
    }
    let method = if config.kind == BackendKind::Mmap {
        Method::Mmap
    } else {
        Method::Pread
    };
    let refused = if matches!(config.kind, BackendKind::Pread | BackendKind::Mmap) {
        None
    } else {
        match open_uring(&config, shared, file) {
            Ok((uring, more)) => {
                grants.insert(0, Grant::full("backend", "io_uring"));
                grants.extend(more);
                if started.send(Ok(grants)).is_ok() {
                    run(SubmissionLoop::new(
                        shared.clone(),
                        uring,
                        config.submission,
                        config.spin.clone(),
                        on_event,
                    ));
                }
                return;
            }
            Err((_, e)) if config.kind == BackendKind::Uring => {
                let _ = started.send(Err(e));
                return;
            }
            Err(refused) => Some(refused),
        }
    };
    grants.insert(
        0,
        match refused {
            None if method == Method::Mmap => Grant::full("backend", "mmap"),
            None => Grant::full("backend", "pread"),
            Some((step, e)) => {
                let (why, fix) = refusal::explain(step, &e);
                Grant::less("backend", "io_uring", "pread", why, fix)
            }
        },
    );
    let waker = shared.clone();
    match Threads::new(
        method,
        config.submission.depth,
        Arc::new(move || {
            waker.wake.wake();
        }),
    ) {
        Ok(backend) => {
            let threads = threads::THREADS.min(config.submission.depth);
            grants.push(Grant::full("reading threads", threads.to_string()));
            if started.send(Ok(grants)).is_ok() {
                run(SubmissionLoop::new(
                    shared.clone(),
                    backend,
                    config.submission,
                    config.spin.clone(),
                    on_event,
                ));
            }
        }
        Err(e) => {
            let _ = started.send(Err(e));
        }
    }
}

/// Runs a loop to its end, whatever that is.
fn run<B: Backend, F: FnMut(Event)>(mut submission: SubmissionLoop<B, F>) {
    match catch_unwind(AssertUnwindSafe(|| submission.run())) {
        Ok(Step::Stopped) => {}
        // The kernel may still write to the arena through this ring: both are leaked, never freed.
        Ok(Step::Abandoned | Step::Running) => std::mem::forget(submission),
        Err(_) => {
            // Whatever panicked again has no one left to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| submission.serve_failed()));
            std::mem::forget(submission);
        }
    }
}

/// The report's row where a device interrupts that was to be polled.
fn not_polled(wanted: Poll, why: impl Into<Cow<'static, str>>) -> Grant {
    let wanted = if wanted == Poll::Hybrid {
        "HYBRID_IOPOLL"
    } else {
        "IOPOLL"
    };
    Grant::less(
        POLLED,
        wanted,
        "interrupts",
        why,
        "an NVMe device with `nvme.poll_queues` > 0",
    )
}

/// Sets up a ring and reads with it; steps down where a granted flag does not hold.
///
/// # Errors
/// The step that was refused, and the answer to it.
fn open_uring(
    config: &RingConfig,
    shared: &Arc<Shared>,
    file: &OpenFile,
) -> Result<(Uring, Vec<Grant>), (&'static str, io::Error)> {
    let mut asked = UringConfig {
        depth: config.submission.depth,
        sqpoll_idle_ms: config.sqpoll_idle_ms,
        poll: config.poll,
        arena: config.submission.arena,
        arena_bytes: config.arena_bytes,
    };
    let mut lost = Vec::new();
    if config.device_polls == Some(false) && asked.poll != Poll::Interrupt {
        // Some kernels would take the flag, spin, and be interrupted all the same.
        asked.poll = Poll::Interrupt;
        lost.push(not_polled(config.poll, "the driver has no queues to poll"));
    }
    loop {
        let set_up = Uring::new(asked, &shared.wake).map_err(|e| ("io_uring_setup", e));
        let attempt = set_up.and_then(|(mut uring, grants)| {
            let failed = |e| ("a probing read", e);
            let probe = file.identity.len.min(u64::from(config.scratch_bytes)) as u32;
            let probe = probe - probe % file.align.max(1);
            if probe > 0 {
                uring.add_file(0, file.fd()).map_err(failed)?;
                let scratch = Segment {
                    ptr: config.scratch,
                    len: probe.min(file.align.max(4096)),
                };
                let read = uring.probe_read(0, scratch, &shared.wake);
                uring.remove_file(0);
                read.map_err(failed)?;
            }
            Ok((uring, grants))
        });
        match attempt {
            Ok((uring, mut grants)) => {
                if !uring.is_fixed()
                    && let Some(grant) = grants.iter_mut().find(|g| g.item == "registered buffers")
                    && !grant.is_degraded()
                {
                    *grant = Grant::less(
                        "registered buffers",
                        "the whole pool",
                        "no",
                        "the file system refused a read into one",
                        "none: plain buffers cost CPU, not correctness",
                    );
                }
                grants.append(&mut lost);
                return Ok((uring, grants));
            }
            // Refused as a flag: the kernel may know the older one.
            Err((_, e)) if asked.poll == Poll::Hybrid && e.raw_os_error() == Some(libc::EINVAL) => {
                asked.poll = Poll::IoPoll;
                lost.push(Grant::less(
                    POLLED,
                    "HYBRID_IOPOLL",
                    "IOPOLL",
                    format!("the kernel refused the flag: {e}"),
                    "Linux 6.13 or newer",
                ));
            }
            Err((_, e)) if asked.poll != Poll::Interrupt => {
                asked.poll = Poll::Interrupt;
                lost.retain(|row| row.item != POLLED);
                lost.push(not_polled(
                    config.poll,
                    format!("a probing read failed: {e}"),
                ));
            }
            Err((_, e)) if asked.sqpoll_idle_ms.is_some() => {
                asked.sqpoll_idle_ms = None;
                lost.push(Grant::less(
                    "submission thread",
                    "SQPOLL",
                    "no",
                    format!("a probing read failed: {e}"),
                    "Linux 5.13 or newer, or CAP_SYS_NICE before that",
                ));
            }
            Err(refused) => return Err(refused),
        }
    }
}
