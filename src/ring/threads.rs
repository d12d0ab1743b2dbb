//! The fallback backends: a few threads that call `preadv` and `pwritev`, for kernels and containers that refuse io_uring,
//! or that copy out of a mapping. What is written never goes through the mapping.
//!
//! A synchronous call needs a thread of its own, so these backends alone have more than one thread a device.

use crate::ring::backend::{Backend, Completion, SEGMENTS_MAX, Transfer, Wait};
use crate::ring::mapping::Window;
use crate::ring::sys;
use crate::ring::wake::WakeWord;
use crate::sync::{Condvar, Mutex, lock};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Threads of one device: device IOPS at this depth are about half of the peak, and more threads cost more switches
/// than they gain on a small machine.
pub(crate) const THREADS: u32 = 4;

/// How the threads read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Pread,
    Mmap,
}

/// An open file, and a number that no other file of this backend ever has.
#[derive(Debug, Clone, Copy)]
struct File {
    fd: RawFd,
    number: u64,
}

struct Job {
    token: u32,
    /// `None` where the index was no file's.
    file: Option<File>,
    offset: u64,
    vectors: Vec<libc::iovec>,
    write: bool,
}

// SAFETY: a job is handed to exactly one thread at a time through the mutex, and the arena memory that its vectors
// point at belongs to the backend until the completion is reaped, so no two threads touch it.
unsafe impl Send for Job {}

#[derive(Default)]
struct Queues {
    jobs: VecDeque<Job>,
    done: Vec<Completion>,
    /// Vectors of finished jobs, to be used again; one for each transfer in flight from the start.
    spare: Vec<Vec<libc::iovec>>,
    stop: bool,
}

// SAFETY: as for `Job`; the spare vectors' pointers are never followed.
unsafe impl Send for Queues {}

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
}

/// Threads that read and write.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    files: Vec<Option<File>>,
    files_seen: u64,
    staged: Vec<Job>,
    reaped: Vec<Completion>,
}

impl Threads {
    /// Starts the threads. `wake` is the loop's word, which they release when a transfer is done.
    pub(crate) fn new(
        method: Method,
        depth: u32,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Threads> {
        let depth = depth as usize;
        let shared = Arc::new(Shared {
            queues: Mutex::new(Queues {
                jobs: VecDeque::with_capacity(depth),
                done: Vec::with_capacity(depth),
                spare: (0..depth)
                    .map(|_| Vec::with_capacity(SEGMENTS_MAX))
                    .collect(),
                stop: false,
            }),
            work: Condvar::new(),
        });
        let mut backend = Threads {
            shared: shared.clone(),
            threads: Vec::new(),
            files: Vec::new(),
            files_seen: 0,
            staged: Vec::with_capacity(depth),
            reaped: Vec::with_capacity(depth),
        };
        for _ in 0..THREADS.min(depth as u32) {
            let (shared, wake) = (shared.clone(), wake.clone());
            let thread = std::thread::Builder::new()
                .name("ringfield-read".into())
                .stack_size(64 << 10)
                .spawn(move || serve(method, &shared, &*wake))?;
            backend.threads.push(thread);
        }
        Ok(backend)
    }
}

fn serve(method: Method, shared: &Shared, wake: &(dyn Fn() + Send + Sync)) {
    let mut window = Window::default();
    loop {
        let job = {
            let mut queues = lock(&shared.queues);
            loop {
                if let Some(job) = queues.jobs.pop_front() {
                    break job;
                }
                if queues.stop {
                    return;
                }
                if window.is_open() {
                    // Unmapping takes its time, and the others need the queues.
                    drop(queues);
                    window.close();
                    queues = lock(&shared.queues);
                    continue;
                }
                queues = shared
                    .work
                    .wait(queues)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        };
        let done = match job.file {
            // SAFETY: the vectors point at frames that belong to this job until its completion is reaped, and the loop
            // keeps the descriptor open until every transfer of it has completed.
            Some(file) => unsafe { transfer(method, &mut window, file, &job) },
            // As io_uring answers for a descriptor that is none.
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        };
        let result = match done {
            Ok(n) => n as i32,
            Err(e) => -e.raw_os_error().unwrap_or(libc::EIO),
        };
        {
            let mut queues = lock(&shared.queues);
            queues.done.push(Completion {
                token: job.token,
                result,
            });
            queues.spare.push(job.vectors);
        }
        wake();
    }
}

/// Makes the read or the write of a job.
///
/// # Safety
/// The job's vectors must point at writable memory that nothing else reads or writes during the call, and the file's
/// descriptor must stay open for it.
unsafe fn transfer(method: Method, window: &mut Window, file: File, job: &Job) -> io::Result<u32> {
    // SAFETY: the caller vouches for the descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(file.fd) };
    if job.write {
        // SAFETY: the caller vouches for the vectors.
        return unsafe { sys::pwritev(fd, &job.vectors, job.offset) };
    }
    if method == Method::Mmap {
        // SAFETY: the caller vouches for the vectors.
        let mapped = unsafe { window.read(fd, file.number, &job.vectors, job.offset) };
        // What its file system does not map is read all the same; `OpenFile` has found out, and the report says so.
        if !matches!(&mapped, Err(e) if e.raw_os_error() == Some(libc::ENODEV)) {
            return mapped;
        }
    }
    // SAFETY: as above.
    unsafe { sys::preadv(fd, &job.vectors, job.offset) }
}

impl Backend for Threads {
    fn add_file(&mut self, index: u32, file: BorrowedFd<'_>) -> io::Result<()> {
        if self.files.len() <= index as usize {
            self.files.resize(index as usize + 1, None);
        }
        self.files_seen += 1;
        self.files[index as usize] = Some(File {
            fd: file.as_raw_fd(),
            number: self.files_seen,
        });
        Ok(())
    }

    fn remove_file(&mut self, index: u32) {
        if let Some(file) = self.files.get_mut(index as usize) {
            *file = None;
        }
    }

    fn vectored(&self) -> bool {
        true
    }

    fn same_buffer(&self, _: *mut u8, _: *mut u8) -> bool {
        true
    }

    fn stage(&mut self, transfer: Transfer<'_>) {
        let mut vectors = lock(&self.shared.queues).spare.pop().unwrap_or_default();
        vectors.clear();
        vectors.extend(transfer.segments.iter().map(|segment| libc::iovec {
            iov_base: segment.ptr.cast(),
            iov_len: segment.len as usize,
        }));
        self.staged.push(Job {
            token: transfer.token,
            file: self.files.get(transfer.file as usize).copied().flatten(),
            offset: transfer.offset,
            vectors,
            write: transfer.write,
        });
    }

    fn submit(&mut self, wait: Wait, wake: &WakeWord) -> io::Result<()> {
        let count = self.staged.len();
        let some_done = {
            let mut queues = lock(&self.shared.queues);
            queues.jobs.extend(self.staged.drain(..));
            !queues.done.is_empty()
        };
        for _ in 0..count.min(self.threads.len()) {
            self.shared.work.notify_one();
        }
        if let (Wait::Until { until_ns, .. }, false) = (wait, some_done) {
            let left = until_ns
                .map(|until| std::time::Duration::from_nanos(until.saturating_sub(sys::now_ns())));
            wake.sleep(left);
        }
        Ok(())
    }

    fn reap(&mut self, each: &mut dyn FnMut(Completion)) {
        std::mem::swap(&mut self.reaped, &mut lock(&self.shared.queues).done);
        for completion in self.reaped.drain(..) {
            each(completion);
        }
    }

    fn now_ns(&self) -> u64 {
        sys::now_ns()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.queues).stop = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to give.
            let _ = thread.join();
        }
    }
}
