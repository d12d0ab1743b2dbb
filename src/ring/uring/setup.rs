//! Setting a ring up: asking for the best, seeing what the kernel grants, and saying so.

use super::{BUFFER_BYTES_MAX, FILES_MAX, Uring, hybrid};
use crate::ring::backend::{Backend, SEGMENTS_MAX, Segment, Transfer, Wait};
use crate::ring::grant::Grant;
use crate::ring::options::Poll;
use crate::ring::refusal;
use crate::ring::wake::WakeWord;
use io_uring::{IoUring, Probe, opcode};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

const REGISTER: &str = "io_uring_register";
const FUTEX: &str = "futex wait in the ring";

/// What to ask of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UringConfig {
    /// Reads in flight.
    pub(crate) depth: u32,
    /// A kernel thread submits; it sleeps after this many milliseconds without work.
    pub(crate) sqpoll_idle_ms: Option<u32>,
    /// How completions are noticed.
    pub(crate) poll: Poll,
    /// The arena to register.
    pub(crate) arena: *mut u8,
    pub(crate) arena_bytes: usize,
}

impl Uring {
    /// Sets up a ring for the calling thread, which must be the loop's, and reports what was granted.
    ///
    /// # Errors
    /// Where io_uring itself is refused (seccomp, `kernel.io_uring_disabled`, an old kernel).
    pub(crate) fn new(config: UringConfig, wake: &WakeWord) -> io::Result<(Uring, Vec<Grant>)> {
        let polled = config.poll != Poll::Interrupt;
        let (ring, setup) = setup(config)?;
        let mut grants = vec![setup];

        let mut probe = Probe::new();
        let probed = ring.submitter().register_probe(&mut probe);
        let supports = |code: u8| probed.is_ok() && probe.is_supported(code);

        let fixed = register_buffers(&ring, config, &mut grants);
        let registered = ring.submitter().register_files_sparse(FILES_MAX);
        grants.push(match &registered {
            Ok(()) => Grant::full("registered files", "yes"),
            Err(e) => {
                let (why, fix) = refusal::explain(REGISTER, e);
                Grant::less("registered files", "yes", "no", why, fix)
            }
        });
        // A read that the kernel cannot start without blocking must not cost more than two worker threads.
        let _ = ring.submitter().register_iowq_max_workers(&mut [2, 2]);

        let futex = supports(opcode::FutexWait::CODE) && !polled;
        if !futex && !polled {
            // SAFETY: eventfd takes no pointers; a negative result is checked below.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `fd` is a fresh descriptor that nothing else owns.
            wake.use_eventfd(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        grants.push(match (polled, futex, &probed) {
            (true, ..) => Grant::full("wake-up", "futex while idle"),
            (_, true, _) => Grant::full("wake-up", FUTEX),
            (.., Err(e)) => {
                let (why, fix) = refusal::explain(REGISTER, e);
                Grant::less("wake-up", FUTEX, "eventfd", why, fix)
            }
            (.., Ok(())) => Grant::less(
                "wake-up",
                FUTEX,
                "eventfd",
                "IORING_OP_FUTEX_WAIT needs Linux 6.7",
                "a newer kernel; costs about a microsecond a wake-up",
            ),
        });

        let params = ring.params();
        let (min_batch, no_iowait, ext_arg) = (
            params.is_feature_min_timeout(),
            params.is_feature_no_iowait(),
            params.is_feature_ext_arg(),
        );
        grants.push(if min_batch {
            Grant::full("minimum-batch waiting", "yes")
        } else {
            Grant::less(
                "minimum-batch waiting",
                "yes",
                "no",
                "needs Linux 6.12",
                "a newer kernel; costs CPU at high depth",
            )
        });
        grants.push(if no_iowait {
            Grant::full("no iowait accounting", "yes")
        } else {
            Grant::less(
                "no iowait accounting",
                "yes",
                "no",
                "needs Linux 6.15",
                "none needed: an idle engine shows as I/O wait in monitoring",
            )
        });
        // IORING_OP_WRITEV_FIXED came with the same kernel.
        let vectored_fixed = fixed && supports(opcode::ReadvFixed::CODE);
        grants.push(if vectored_fixed || !fixed {
            Grant::full("vectored reads", if fixed { "registered" } else { "plain" })
        } else {
            Grant::less(
                "vectored reads",
                "registered",
                "one read per page",
                "IORING_OP_READV_FIXED needs Linux 6.15",
                "a newer kernel, or a larger page size",
            )
        });
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let uring = Uring {
            ring,
            staged: 0,
            in_flight: 0,
            vectors: vec![[empty; SEGMENTS_MAX]; config.depth as usize].into_boxed_slice(),
            files: Vec::new(),
            registered_files: registered.is_ok(),
            arena: config.arena as usize,
            arena_bytes: config.arena_bytes,
            fixed,
            vectored_fixed,
            wake_armed: false,
            eventfd_value: Box::new(0),
            polled,
            no_iowait,
            min_batch,
            ext_arg,
            fixed_reads: 0,
        };
        Ok((uring, grants))
    }

    /// Reads the first `len` bytes of `file` into `scratch` to see that this ring really reads with what it was
    /// granted; steps down from registered buffers where they are refused.
    ///
    /// # Errors
    /// The errno of the read where no variant works (an IOPOLL ring on a device without polling: `EOPNOTSUPP`).
    pub(crate) fn probe_read(
        &mut self,
        index: u32,
        scratch: Segment,
        wake: &WakeWord,
    ) -> io::Result<()> {
        loop {
            self.stage(Transfer {
                token: 0,
                file: index,
                offset: 0,
                segments: &[scratch],
                write: false,
            });
            let mut result = None;
            while result.is_none() {
                self.submit(
                    Wait::Until {
                        count: 1,
                        batch_us: 0,
                        until_ns: None,
                    },
                    wake,
                )?;
                self.reap(&mut |done| result = Some(done.result));
            }
            match result {
                Some(n) if n >= 0 => {
                    // It is nobody's read.
                    self.fixed_reads = 0;
                    return Ok(());
                }
                Some(e) if self.fixed && (e == -libc::EINVAL || e == -libc::EFAULT) => {
                    self.fixed = false;
                    self.vectored_fixed = false;
                }
                Some(e) => return Err(io::Error::from_raw_os_error(-e)),
                None => {}
            }
        }
    }
}

/// Creates the ring with the best flags that the kernel takes.
fn setup(config: UringConfig) -> io::Result<(IoUring, Grant)> {
    // The reads in flight, the wake-up and a cancellation fit at any time.
    let entries = (config.depth + 2).next_power_of_two();
    let ladder: &[(&str, bool, bool, bool)] = &[
        ("SINGLE_ISSUER+DEFER_TASKRUN", true, true, false),
        ("SINGLE_ISSUER+COOP_TASKRUN", true, false, true),
        ("COOP_TASKRUN", false, false, true),
        ("plain", false, false, false),
    ];
    let sqpoll = if config.sqpoll_idle_ms.is_some() {
        "+SQPOLL"
    } else {
        ""
    };
    let poll = match config.poll {
        Poll::Interrupt => "",
        Poll::Hybrid => "+HYBRID_IOPOLL",
        Poll::IoPoll => "+IOPOLL",
    };
    let suffix = format!("{sqpoll}{poll}");
    // The kernel refuses DEFER_TASKRUN and COOP_TASKRUN beside SQPOLL: its thread runs the task work.
    let best = if config.sqpoll_idle_ms.is_some() {
        "SINGLE_ISSUER"
    } else {
        ladder[0].0
    };
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for &(name, single, defer, coop) in ladder {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(entries * 2);
        if single {
            builder.setup_single_issuer();
        }
        let name = match config.sqpoll_idle_ms {
            Some(idle) => {
                builder.setup_sqpoll(idle);
                if single { "SINGLE_ISSUER" } else { "plain" }
            }
            None => {
                if defer {
                    builder.setup_defer_taskrun();
                }
                if coop {
                    builder.setup_coop_taskrun();
                }
                name
            }
        };
        if config.poll == Poll::IoPoll {
            builder.setup_iopoll();
        }
        let built = if config.poll == Poll::Hybrid {
            hybrid::build(entries, single, defer, coop, config.sqpoll_idle_ms)
        } else {
            builder.build(entries)
        };
        match built {
            Ok(ring) => {
                let grant = if name == best {
                    Grant::full("io_uring flags", format!("{name}{suffix}"))
                } else {
                    Grant::less(
                        "io_uring flags",
                        format!("{best}{suffix}"),
                        format!("{name}{suffix}"),
                        format!("the kernel refused better ones: {refused}"),
                        "Linux 6.1 or newer",
                    )
                };
                return Ok((ring, grant));
            }
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => refused = e,
            Err(e) => return Err(e),
        }
    }
    Err(refused)
}

/// Registers the whole arena in buffers of 1 GiB. Returns whether it was granted.
fn register_buffers(ring: &IoUring, config: UringConfig, grants: &mut Vec<Grant>) -> bool {
    let vectors: Vec<libc::iovec> = (0..config.arena_bytes)
        .step_by(BUFFER_BYTES_MAX)
        .map(|start| libc::iovec {
            iov_base: config.arena.wrapping_add(start).cast(),
            iov_len: BUFFER_BYTES_MAX.min(config.arena_bytes - start),
        })
        .collect();
    // SAFETY: the vectors describe the arena, which is mapped and stays so until after this ring is gone (the loop
    // holds the arena's owner, and leaks it together with the ring where a read never returns).
    let registered = unsafe { ring.submitter().register_buffers(&vectors) };
    match registered {
        Ok(()) => {
            grants.push(Grant::full("registered buffers", "the whole pool"));
            true
        }
        Err(e) => {
            let (why, fix) = refusal::explain(REGISTER, &e);
            grants.push(Grant::less(
                "registered buffers",
                "the whole pool",
                "no",
                why,
                fix,
            ));
            false
        }
    }
}
