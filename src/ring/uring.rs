//! The io_uring backend: registered buffers, registered files, one system call per batch.
//!
//! The ring is created, registered and entered by the loop's thread alone (`IORING_SETUP_SINGLE_ISSUER`). While it
//! sleeps in `io_uring_enter` it is woken by completions or by a futex wait armed on the loop's wake word
//! (`IORING_OP_FUTEX_WAIT`, Linux 6.7), before that by a read of an eventfd.

use crate::ring::backend::{Backend, Completion, Read, SEGMENTS_MAX, Segment, Wait};
use crate::ring::grant::Grant;
use crate::ring::sys;
use crate::ring::wake::{PARKED, WakeWord};
use io_uring::{EnterFlags, IoUring, Probe, opcode, squeue, types};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One registered buffer is at most this long (io_uring_register(2)).
const BUFFER_BYTES_MAX: usize = 1 << 30;
/// Registered files per ring; further files are read by descriptor.
const FILES_MAX: u32 = 1024;
const WAKE_TOKEN: u64 = u64::MAX;
const CANCEL_TOKEN: u64 = u64::MAX - 1;
/// Longer than any wait: a day, in nanoseconds.
const FAR_NS: u64 = 86_400_000_000_000;
/// futex2 flags: a 32-bit word, private to the process (`FUTEX2_SIZE_U32 | FUTEX2_PRIVATE`, `linux/futex.h`).
const FUTEX2_PRIVATE_U32: u32 = 0x02 | 0x80;

/// What to ask of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UringConfig {
    /// Reads in flight.
    pub(crate) depth: u32,
    /// A kernel thread submits; it sleeps after this many milliseconds without work.
    pub(crate) sqpoll_idle_ms: Option<u32>,
    /// Completions are polled from the device.
    pub(crate) iopoll: bool,
    /// The arena to register.
    pub(crate) arena: *mut u8,
    pub(crate) arena_bytes: usize,
}

/// The vectors of one read in flight.
type Vectors = [libc::iovec; SEGMENTS_MAX];

/// An io_uring and what the kernel granted it.
pub(crate) struct Uring {
    ring: IoUring,
    staged: u32,
    in_flight: u32,
    vectors: Box<[Vectors]>,
    files: Vec<FileRef>,
    registered_files: bool,
    arena: usize,
    arena_bytes: usize,
    fixed: bool,
    vectored_fixed: bool,
    wake_armed: bool,
    eventfd_value: Box<u64>,
    iopoll: bool,
    no_iowait: bool,
    min_batch: bool,
    ext_arg: bool,
    fixed_reads: u64,
}

#[derive(Debug, Clone, Copy)]
enum FileRef {
    None,
    Registered,
    Descriptor(RawFd),
}

impl Uring {
    /// Sets up a ring for the calling thread, which must be the loop's, and reports what was granted.
    ///
    /// # Errors
    /// Where io_uring itself is refused (seccomp, `kernel.io_uring_disabled`, an old kernel).
    pub(crate) fn new(config: UringConfig, wake: &WakeWord) -> io::Result<(Uring, Vec<Grant>)> {
        let (ring, setup) = setup(config)?;
        let mut grants = vec![setup];

        let mut probe = Probe::new();
        let probed = ring.submitter().register_probe(&mut probe).is_ok();
        let supports = |code: u8| probed && probe.is_supported(code);

        let fixed = register_buffers(&ring, config, &mut grants);
        let registered_files = ring.submitter().register_files_sparse(FILES_MAX).is_ok();
        grants.push(if registered_files {
            Grant::full("registered files", "yes")
        } else {
            Grant::less(
                "registered files",
                "yes",
                "no",
                "the kernel refused the file table",
                "Linux 5.19 or newer, or a higher `ulimit -n`",
            )
        });
        // A read that the kernel cannot start without blocking must not cost more than two worker threads.
        let _ = ring.submitter().register_iowq_max_workers(&mut [2, 2]);

        let futex = supports(opcode::FutexWait::CODE) && !config.iopoll;
        if !futex && !config.iopoll {
            // SAFETY: eventfd takes no pointers; a negative result is checked below.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `fd` is a fresh descriptor that nothing else owns.
            wake.use_eventfd(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        grants.push(match (config.iopoll, futex) {
            (true, _) => Grant::full("wake-up", "futex while idle"),
            (_, true) => Grant::full("wake-up", "futex wait in the ring"),
            _ => Grant::less(
                "wake-up",
                "futex wait in the ring",
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
            registered_files,
            arena: config.arena as usize,
            arena_bytes: config.arena_bytes,
            fixed,
            vectored_fixed,
            wake_armed: false,
            eventfd_value: Box::new(0),
            iopoll: config.iopoll,
            no_iowait,
            min_batch,
            ext_arg,
            fixed_reads: 0,
        };
        Ok((uring, grants))
    }

    /// Bytes of this process's memory that a ring of `depth` holds beside the arena.
    pub(crate) fn memory_bytes(depth: u32) -> u64 {
        u64::from(depth) * (size_of::<Vectors>() as u64 + 64 + 2 * 16) + 16 * 1024
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
            self.stage(Read {
                token: 0,
                file: index,
                offset: 0,
                segments: &[scratch],
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

    /// Whether reads go through registered buffers, after [`Uring::probe_read`].
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed
    }

    fn buffer_of(&self, ptr: *mut u8) -> u16 {
        ((ptr as usize - self.arena) / BUFFER_BYTES_MAX) as u16
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: every pointer in the entry (arena frames, this ring's vectors, the wake word, the eventfd value)
            // stays valid until its completion: frames are not reused before it, and the rest lives as long as the
            // ring, which is leaked and never dropped while a read is in flight (`Step::Abandoned`).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.staged += 1;
                return;
            }
            // The queue has room for every read in flight and the wake-up, so this happens only after an
            // `io_uring_enter` that took nothing; handing over what is there makes room.
            let _ = self.ring.submit();
        }
    }

    fn arm_wake(&mut self, wake: &WakeWord) {
        if self.wake_armed || self.iopoll {
            return;
        }
        let entry = match wake.eventfd() {
            None => opcode::FutexWait::new(
                wake.as_ptr(),
                u64::from(PARKED),
                u64::from(u32::MAX),
                FUTEX2_PRIVATE_U32,
            )
            .build(),
            Some(fd) => {
                let value: *mut u64 = &mut *self.eventfd_value;
                opcode::Read::new(types::Fd(fd), value.cast(), 8).build()
            }
        };
        self.push(&entry.user_data(WAKE_TOKEN));
        self.wake_armed = true;
    }

    fn enter(&mut self, want: u32, batch_us: u32, until_ns: Option<u64>) -> io::Result<()> {
        let mut flags = EnterFlags::GETEVENTS;
        let timeout;
        let mut args = types::SubmitArgs::new();
        let extended = self.ext_arg;
        if extended {
            flags |= EnterFlags::EXT_ARG;
            let batched = want > 1 && self.min_batch;
            if batched {
                args = args.min_wait_usec(batch_us);
            }
            // Without a timeout of its own such a wait ends with ETIME whenever `batch_us` passes without a completion.
            let left = until_ns
                .map(|until| until.saturating_sub(sys::now_ns()))
                .or(batched.then_some(FAR_NS));
            if let Some(left) = left {
                timeout = types::Timespec::new()
                    .sec(left / 1_000_000_000)
                    .nsec((left % 1_000_000_000) as u32);
                args = args.timespec(&timeout);
            }
        }
        if self.no_iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        if self.ring.params().is_setup_sqpoll() && self.ring.submission().need_wakeup() {
            flags |= EnterFlags::SQ_WAKEUP;
        }
        let want = if self.min_batch { want } else { want.min(1) };
        let submitter = self.ring.submitter();
        let entered = if extended {
            // SAFETY: the arguments are those of io_uring_enter2(2) with EXT_ARG: `args` is an io_uring_getevents_arg
            // (`SubmitArgs` is a transparent wrapper), and the timespec it points at outlives the call.
            unsafe { submitter.enter(self.staged, want, flags.bits(), Some(&args)) }
        } else {
            // SAFETY: the arguments are those of io_uring_enter(2), without a signal mask.
            unsafe { submitter.enter::<libc::sigset_t>(self.staged, want, flags.bits(), None) }
        };
        match entered {
            Ok(taken) => {
                self.staged -= (taken as u32).min(self.staged);
                Ok(())
            }
            // EXT_ARG's timeout, a signal, or completions that must be reaped first: the loop goes round again.
            // Where entries were taken before the wait was interrupted the kernel reports them instead of the error.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY)
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(e),
        }
    }
}

impl Backend for Uring {
    fn add_file(&mut self, index: u32, file: BorrowedFd<'_>) -> io::Result<()> {
        if self.files.len() <= index as usize {
            self.files.resize(index as usize + 1, FileRef::None);
        }
        let fd = file.as_raw_fd();
        let registered = self.registered_files
            && index < FILES_MAX
            && self
                .ring
                .submitter()
                .register_files_update(index, &[fd])
                .is_ok();
        self.files[index as usize] = if registered {
            FileRef::Registered
        } else {
            FileRef::Descriptor(fd)
        };
        Ok(())
    }

    fn remove_file(&mut self, index: u32) {
        if let Some(FileRef::Registered) = self.files.get(index as usize) {
            let _ = self.ring.submitter().register_files_update(index, &[-1]);
        }
        if let Some(entry) = self.files.get_mut(index as usize) {
            *entry = FileRef::None;
        }
    }

    fn vectored(&self) -> bool {
        self.vectored_fixed || !self.fixed
    }

    fn same_buffer(&self, a: *mut u8, b: *mut u8) -> bool {
        !self.fixed || self.buffer_of(a) == self.buffer_of(b)
    }

    fn stage(&mut self, read: Read<'_>) {
        let file = self.files.get(read.file as usize).copied();
        let first = read.segments[0];
        debug_assert!(first.ptr as usize >= self.arena);
        debug_assert!(first.ptr as usize - self.arena + first.len as usize <= self.arena_bytes);
        let buffer = self.buffer_of(first.ptr);
        let vectors = &mut self.vectors[read.token as usize];
        for (vector, segment) in vectors.iter_mut().zip(read.segments) {
            vector.iov_base = segment.ptr.cast();
            vector.iov_len = segment.len as usize;
        }
        let count = read.segments.len() as u32;
        let vectors = vectors.as_ptr();
        let fixed = self.fixed;
        macro_rules! build {
            ($fd:expr) => {
                match (fixed, count) {
                    (true, 1) => opcode::ReadFixed::new($fd, first.ptr, first.len, buffer)
                        .offset(read.offset)
                        .build(),
                    (true, _) => opcode::ReadvFixed::new($fd, vectors, count, buffer)
                        .offset(read.offset)
                        .build(),
                    (false, 1) => opcode::Read::new($fd, first.ptr, first.len)
                        .offset(read.offset)
                        .build(),
                    (false, _) => opcode::Readv::new($fd, vectors, count)
                        .offset(read.offset)
                        .build(),
                }
            };
        }
        let entry = match file {
            Some(FileRef::Registered) => build!(types::Fixed(read.file)),
            Some(FileRef::Descriptor(fd)) => build!(types::Fd(fd)),
            // Not a file of this ring: the kernel answers EBADF, which reaches the reader as an error.
            Some(FileRef::None) | None => build!(types::Fd(-1)),
        };
        self.fixed_reads += u64::from(fixed);
        self.in_flight += 1;
        self.push(&entry.user_data(u64::from(read.token)));
    }

    fn submit(&mut self, wait: Wait, wake: &WakeWord) -> io::Result<()> {
        match wait {
            Wait::No if self.staged == 0 && self.in_flight == 0 => Ok(()),
            Wait::No => self.enter(0, 0, None),
            Wait::Until { until_ns, .. } if self.iopoll && self.in_flight == 0 => {
                let left = until_ns.map(|until| {
                    std::time::Duration::from_nanos(until.saturating_sub(sys::now_ns()))
                });
                wake.sleep(left);
                Ok(())
            }
            Wait::Until {
                count,
                batch_us,
                until_ns,
            } => {
                self.arm_wake(wake);
                self.enter(count.max(1), batch_us, until_ns)
            }
        }
    }

    fn reap(&mut self, each: &mut dyn FnMut(Completion)) {
        let (mut wake_armed, mut in_flight) = (self.wake_armed, self.in_flight);
        for cqe in self.ring.completion() {
            match cqe.user_data() {
                WAKE_TOKEN => wake_armed = false,
                CANCEL_TOKEN => {}
                token => {
                    in_flight -= 1;
                    each(Completion {
                        token: token as u32,
                        result: cqe.result(),
                    });
                }
            }
        }
        self.wake_armed = wake_armed;
        self.in_flight = in_flight;
    }

    fn now_ns(&self) -> u64 {
        sys::now_ns()
    }

    fn fixed_reads(&self) -> u64 {
        self.fixed_reads
    }

    fn cancel_all(&mut self) {
        let any = types::CancelBuilder::any().all();
        self.push(
            &opcode::AsyncCancel2::new(any)
                .build()
                .user_data(CANCEL_TOKEN),
        );
        self.wake_armed = true;
    }
}

impl Drop for Uring {
    /// Gives the locked memory back now: the kernel takes a closed ring down later, and an engine that is built meanwhile
    /// would meet the limit. Nothing is in flight; a ring where something is is leaked instead.
    fn drop(&mut self) {
        let _ = self.ring.submitter().unregister_buffers();
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
    let poll = match (config.sqpoll_idle_ms.is_some(), config.iopoll) {
        (true, true) => "+SQPOLL+IOPOLL",
        (true, false) => "+SQPOLL",
        (false, true) => "+IOPOLL",
        (false, false) => "",
    };
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
        if config.iopoll {
            builder.setup_iopoll();
        }
        match builder.build(entries) {
            Ok(ring) => {
                let grant = if name == best {
                    Grant::full("io_uring flags", format!("{name}{poll}"))
                } else {
                    Grant::less(
                        "io_uring flags",
                        format!("{best}{poll}"),
                        format!("{name}{poll}"),
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
            let limit = sys::memlock_limit()
                .map_or_else(|| "unlimited".into(), |b| format!("{} KiB", b / 1024));
            grants.push(Grant::less(
                "registered buffers",
                "the whole pool",
                "no",
                format!("{e}; locked-memory limit {limit}"),
                "raise `ulimit -l` (LimitMEMLOCK= in systemd) above the budget, or grant CAP_IPC_LOCK",
            ));
            false
        }
    }
}
