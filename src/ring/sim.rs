//! The backend of a simulated disk: virtual time, and a check of everything that a loop promises to a backend.
//!
//! A read's memory is poisoned when it is staged and filled only when it completes, so that a frame that is used too
//! early, or given away too early, shows as wrong bytes. A write's memory must be the same when it completes as when it
//! was staged.

use crate::ring::backend::{Backend, Completion, Transfer, Wait};
use crate::ring::simulated_disk::{Disk, InFlight, staged};
use crate::ring::submission_loop::LoopConfig;
use crate::ring::wake::WakeWord;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What a simulated backend can do and must see kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimConfig {
    /// What the loop in front of it was told.
    pub(crate) submission: LoopConfig,
    /// Bytes of all frames.
    pub(crate) arena_bytes: usize,
    /// One read or write may have several segments.
    pub(crate) vectored: bool,
    /// Bytes of a registered buffer: no read or write reaches into two of them.
    pub(crate) buffer_bytes: usize,
}

// SAFETY: the pointer is the arena's address, which is shared memory by nature; who writes there at what time is what
// this backend checks.
unsafe impl Send for SimConfig {}

/// See the module.
pub(crate) struct Sim {
    disk: Disk,
    clock_ns: Arc<AtomicU64>,
    id: u64,
    config: SimConfig,
    files: Vec<Option<(usize, u32)>>,
    staged: Vec<InFlight>,
    completed: Vec<Completion>,
    /// Driven by a thread of its own, which really sleeps while nothing can happen.
    threaded: bool,
    /// Virtual time does not pass this point by waiting.
    wait_limit_ns: u64,
    /// The last wait was for nothing that could ever happen.
    idle: bool,
}

impl Sim {
    /// A backend whose loop the caller steps, or with `waker` one whose loop has a thread.
    pub(crate) fn new(
        disk: &Disk,
        config: SimConfig,
        waker: Option<Arc<dyn Fn() + Send + Sync>>,
    ) -> Sim {
        let threaded = waker.is_some();
        Sim {
            id: disk.lock().attach(waker),
            clock_ns: disk.clock(),
            disk: disk.clone(),
            config,
            files: Vec::new(),
            staged: Vec::new(),
            completed: Vec::new(),
            threaded,
            wait_limit_ns: u64::MAX,
            idle: false,
        }
    }

    /// Lets the next waits end at `limit_ns` of virtual time.
    pub(crate) fn limit_wait(&mut self, limit_ns: u64) {
        self.wait_limit_ns = limit_ns;
    }

    /// True where the last wait could have lasted for ever.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    fn buffer_of(&self, ptr: *mut u8) -> usize {
        (ptr as usize - self.config.submission.arena as usize) / self.config.buffer_bytes
    }

    /// What every loop promises of a read or write.
    fn check(&self, read: &Transfer<'_>, align: u32) {
        let what = (read.file, read.offset, read.segments);
        let config = &self.config;
        let state = self.disk.lock();
        let others = || self.staged.iter().chain(state.in_flight(self.id));
        assert!(
            read.token < config.submission.depth,
            "a token below the depth: {what:?}"
        );
        assert!(
            others().count() < config.submission.depth as usize,
            "more reads and writes than the depth: {what:?}"
        );
        assert!(
            others().all(|other| other.token != read.token),
            "a token in use: {what:?}"
        );
        let bytes: u32 = read.segments.iter().map(|segment| segment.len).sum();
        let most = config.submission.io_bytes_max.max(align);
        assert!(bytes <= most, "at most {most} bytes: {what:?}");
        assert!(
            read.offset.is_multiple_of(u64::from(align)),
            "an aligned offset: {what:?}"
        );
        assert!(
            config.vectored || read.segments.len() == 1,
            "one segment: {what:?}"
        );
        let first = config.submission.arena as usize;
        let arena = first..first + config.arena_bytes;
        for (k, segment) in read.segments.iter().enumerate() {
            let bytes = segment.ptr as usize..segment.ptr as usize + segment.len as usize;
            assert!(!bytes.is_empty(), "a segment has bytes: {what:?}");
            assert!(
                arena.start <= bytes.start && bytes.end <= arena.end,
                "a segment inside the arena: {what:?}"
            );
            assert!(
                bytes.start % align as usize == 0 && bytes.len() % align as usize == 0,
                "an aligned segment: {what:?}"
            );
            let last = segment.ptr.wrapping_add(segment.len as usize - 1);
            assert!(
                self.buffer_of(last) == self.buffer_of(read.segments[0].ptr),
                "one registered buffer: {what:?}"
            );
            let in_flight = others().flat_map(|other| other.segments.iter());
            for other in in_flight.chain(&read.segments[..k]) {
                let other = other.ptr as usize..other.ptr as usize + other.len as usize;
                assert!(
                    bytes.end <= other.start || other.end <= bytes.start,
                    "memory of its own: {what:?}"
                );
            }
        }
    }

    /// Until when to wait; `None` for ever.
    fn until(&self, count: u32, batch_us: u32, until_ns: Option<u64>) -> Option<u64> {
        let state = self.disk.lock();
        let enough = state.due_ns(self.id, count.max(1));
        let first = state
            .due_ns(self.id, 1)
            .map(|due| due.max(self.now_ns() + u64::from(batch_us) * 1000));
        [enough, first, until_ns].into_iter().flatten().min()
    }

    fn pass(&self, until_ns: u64) {
        self.clock_ns.fetch_max(until_ns, Relaxed);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.disk.lock().detach(self.id);
    }
}

impl Backend for Sim {
    fn add_file(&mut self, index: u32, file: BorrowedFd<'_>) -> io::Result<()> {
        let index = index as usize;
        if self.files.len() <= index {
            self.files.resize(index + 1, None);
        }
        let known = self.disk.lock().file_of(file);
        assert!(self.files[index].is_none(), "a free index");
        self.files[index] = Some(known.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    fn remove_file(&mut self, index: u32) {
        let Some(Some((file, _))) = self.files.get(index as usize) else {
            return;
        };
        // Another index may stand for the same file.
        let others = self
            .files
            .iter()
            .flatten()
            .filter(|(f, _)| f == file)
            .count()
            - 1;
        let in_flight = {
            let state = self.disk.lock();
            let reads = self.staged.iter().chain(state.in_flight(self.id));
            reads.filter(|read| read.file == *file).count()
        };
        assert!(
            others > 0 || in_flight == 0,
            "no read or write of a file that is removed"
        );
        self.files[index as usize] = None;
    }

    fn vectored(&self) -> bool {
        self.config.vectored
    }

    fn same_buffer(&self, a: *mut u8, b: *mut u8) -> bool {
        self.buffer_of(a) == self.buffer_of(b)
    }

    fn stage(&mut self, transfer: Transfer<'_>) {
        let known = self.files.get(transfer.file as usize).copied().flatten();
        assert!(known.is_some(), "a known file");
        let Some((file, align)) = known else { return };
        self.check(&transfer, align);
        self.staged.push(staged(self.id, file, transfer));
    }

    fn submit(&mut self, wait: Wait, wake: &WakeWord) -> io::Result<()> {
        let now_ns = self.now_ns();
        {
            let mut state = self.disk.lock();
            for read in self.staged.drain(..) {
                state.submit(read, now_ns);
            }
        }
        self.idle = false;
        let Wait::Until {
            count,
            batch_us,
            until_ns,
        } = wait
        else {
            return Ok(());
        };
        let until = self.until(count, batch_us, until_ns);
        if !self.threaded {
            self.idle = until.is_none();
            if let Some(until) = until.or(Some(u64::MAX)).map(|u| u.min(self.wait_limit_ns))
                && until != u64::MAX
            {
                self.pass(until);
            }
            return Ok(());
        }
        match until {
            None => wake.sleep(None),
            Some(until) if self.disk.lock().due_ns(self.id, 1).is_some() => self.pass(until),
            Some(until) => {
                // Only an alarm is ahead: time flies to it, but not faster than others can follow.
                wake.sleep(Some(Duration::from_micros(200)));
                self.pass(until);
            }
        }
        Ok(())
    }

    fn reap(&mut self, each: &mut dyn FnMut(Completion)) {
        let (id, now_ns) = (self.id, self.now_ns());
        let completed = &mut self.completed;
        self.disk.lock().answer(id, now_ns, |token, result| {
            completed.push(Completion { token, result });
        });
        for completion in self.completed.drain(..) {
            each(completion);
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock_ns.load(Relaxed)
    }

    fn cancel_all(&mut self) {
        let now_ns = self.now_ns();
        self.disk.lock().cancel(self.id, now_ns);
    }
}
