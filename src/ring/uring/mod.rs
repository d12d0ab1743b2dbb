//! The io_uring backend: registered buffers, registered files, one system call per batch.
//!
//! The ring is created, registered and entered by the loop's thread alone (`IORING_SETUP_SINGLE_ISSUER`). While it
//! sleeps in `io_uring_enter` it is woken by completions or by a futex wait armed on the loop's wake word
//! (`IORING_OP_FUTEX_WAIT`, Linux 6.7), before that by a read of an eventfd.

mod hybrid;
mod setup;

use crate::ring::backend::{Backend, Completion, SEGMENTS_MAX, Transfer, Wait};
use crate::ring::sys;
use crate::ring::wake::{PARKED, WakeWord};
use io_uring::{EnterFlags, IoUring, opcode, squeue, types};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

pub(crate) use setup::UringConfig;

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

/// The vectors of one transfer in flight.
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
    polled: bool,
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
    /// Bytes of this process's memory that a ring of `depth` holds beside the arena.
    pub(crate) fn memory_bytes(depth: u32) -> u64 {
        u64::from(depth) * (size_of::<Vectors>() as u64 + 64 + 2 * 16) + 16 * 1024
    }

    /// Whether transfers go through registered buffers, after [`Uring::probe_read`].
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
            // ring, which is leaked and never dropped while a transfer is in flight (`Step::Abandoned`).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.staged += 1;
                return;
            }
            // The queue has room for every transfer in flight and the wake-up, so this happens only after an
            // `io_uring_enter` that took nothing; handing over what is there makes room.
            let _ = self.ring.submit();
        }
    }

    fn arm_wake(&mut self, wake: &WakeWord) {
        if self.wake_armed || self.polled {
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

    fn stage(&mut self, transfer: Transfer<'_>) {
        let Transfer {
            token,
            file,
            offset,
            segments,
            write,
        } = transfer;
        let first = segments[0];
        debug_assert!(first.ptr as usize >= self.arena);
        debug_assert!(first.ptr as usize - self.arena + first.len as usize <= self.arena_bytes);
        let buffer = self.buffer_of(first.ptr);
        let vectors = &mut self.vectors[token as usize];
        for (vector, segment) in vectors.iter_mut().zip(segments) {
            vector.iov_base = segment.ptr.cast();
            vector.iov_len = segment.len as usize;
        }
        let count = segments.len() as u32;
        let vectors = vectors.as_ptr();
        let fixed = self.fixed;
        macro_rules! build {
            ($fd:expr) => {
                match (write, fixed, count) {
                    (false, true, 1) => opcode::ReadFixed::new($fd, first.ptr, first.len, buffer)
                        .offset(offset)
                        .build(),
                    (false, true, _) => opcode::ReadvFixed::new($fd, vectors, count, buffer)
                        .offset(offset)
                        .build(),
                    (false, false, 1) => opcode::Read::new($fd, first.ptr, first.len)
                        .offset(offset)
                        .build(),
                    (false, false, _) => opcode::Readv::new($fd, vectors, count)
                        .offset(offset)
                        .build(),
                    (true, true, 1) => opcode::WriteFixed::new($fd, first.ptr, first.len, buffer)
                        .offset(offset)
                        .build(),
                    (true, true, _) => opcode::WritevFixed::new($fd, vectors, count, buffer)
                        .offset(offset)
                        .build(),
                    (true, false, 1) => opcode::Write::new($fd, first.ptr, first.len)
                        .offset(offset)
                        .build(),
                    (true, false, _) => opcode::Writev::new($fd, vectors, count)
                        .offset(offset)
                        .build(),
                }
            };
        }
        let entry = match self.files.get(file as usize).copied() {
            Some(FileRef::Registered) => build!(types::Fixed(file)),
            Some(FileRef::Descriptor(fd)) => build!(types::Fd(fd)),
            // Not a file of this ring: the kernel answers EBADF, which reaches the caller as an error.
            Some(FileRef::None) | None => build!(types::Fd(-1)),
        };
        self.fixed_reads += u64::from(fixed && !write);
        self.in_flight += 1;
        self.push(&entry.user_data(u64::from(token)));
    }

    fn submit(&mut self, wait: Wait, wake: &WakeWord) -> io::Result<()> {
        match wait {
            Wait::No if self.staged == 0 && self.in_flight == 0 => Ok(()),
            Wait::No => self.enter(0, 0, None),
            Wait::Until { until_ns, .. } if self.polled && self.in_flight == 0 => {
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
