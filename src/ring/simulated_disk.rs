//! A disk in memory that fails as it is told to, or as its seed says: for tests of a host and of the engine itself.
//!
//! Everything it does follows from the seed and from what is asked of it, in virtual time. Its [`super::sim`] half stands
//! behind the submission loop.

use crate::ring::backend::{SEGMENTS_MAX, Segment, Transfer};
use crate::ring::file::OpenFile;
use crate::ring::sys;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `st_dev` of every simulated file: no real device has it.
pub(crate) const DEVICE: u64 = libc::makedev(0xfff, 0xf_ffff);
/// Virtual time begins here, in nanoseconds: zero means "never" in several places of an engine.
const EPOCH_NS: u64 = 1_000_000_000;
/// What a read's memory holds from its staging on, until bytes are delivered into it.
const POISON: u8 = 0xa5;
/// Direct reads come back short at multiples of this, in bytes.
const SECTOR: u32 = 512;
/// A slow read takes this many times as long as others.
const SLOW_FACTOR: u64 = 200;

/// How often a [`Disk`] does what it should not, each in reads and writes out of a thousand. All zero at first.
///
/// ```
/// let mut faults = ringfield::sim::Faults::default();
/// faults.eio = 5;
/// faults.short = 20;
/// let disk = ringfield::sim::Disk::new(1);
/// disk.set_faults(faults);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Answers `EIO`, this once.
    pub eio: u32,
    /// Answers `EAGAIN`.
    pub eagain: u32,
    /// Answers `EINTR`.
    pub eintr: u32,
    /// Delivers or stores fewer bytes: a multiple of 512; any number where the file is read through the page cache.
    pub short: u32,
    /// Delivers or stores some bytes less than one block of the file's alignment, which no direct read or write can go on
    /// from.
    pub sliver: u32,
    /// Answers that the file ends here; of a write, that nothing was stored.
    pub early_end: u32,
    /// Never answers, until [`Disk::release`].
    pub never: u32,
    /// Takes 200 times as long, so that others overtake it.
    pub slow: u32,
    /// Delivers or stores the bytes with one bit turned over. Nothing detects this in a file without checksums.
    pub bit_flip: u32,
    /// Delivers bytes from somewhere else in the file, or stores them there. Nothing detects this in a file without checksums.
    pub misdirected: u32,
    /// Shortest and longest time of a read or write, in nanoseconds. They overtake each other within it. Default: 50 to 200 µs.
    pub latency_ns: (u64, u64),
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            eio: 0,
            eagain: 0,
            eintr: 0,
            short: 0,
            sliver: 0,
            early_end: 0,
            never: 0,
            slow: 0,
            bit_flip: 0,
            misdirected: 0,
            latency_ns: (50_000, 200_000),
        }
    }
}

/// What a [`Disk`] answers to one read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// All bytes that the file has there; of a write, all of them.
    Whole,
    /// At most this many bytes.
    Short(u32),
    /// This errno.
    Errno(i32),
    /// Nothing, until [`Disk::release`].
    Never,
    /// The bytes, with one bit turned over.
    BitFlip,
    /// Bytes from somewhere else in the file; a write's bytes go there.
    Misdirected,
}

/// A read or write that a [`Disk`] has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// Which it was: reads and writes are counted from 0 in the order of their submission.
    pub read: u64,
    /// The file's name.
    pub file: Arc<str>,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Bytes asked for, or given.
    pub bytes: u32,
    /// Bytes that the file had there; of a write, all of them.
    pub there: u32,
    /// Bytes delivered or stored, or a negative errno.
    pub result: i32,
    /// It was a write.
    pub write: bool,
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
}

impl Answered {
    /// True where the answer was not what a healthy disk would have said.
    pub fn is_fault(&self) -> bool {
        self.result != self.there as i32
    }
}

/// A simulated disk: a cheap handle, clones share everything. It serves one engine at a time.
///
/// Its files are read by [`crate::sim::Simulation`], step by step on one thread, or by an engine with a thread of its
/// own ([`crate::sim::threaded`]).
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    clock_ns: Arc<AtomicU64>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Disk")
            .field("files", &state.files.len())
            .field("in_flight", &state.in_flight.len())
            .finish_non_exhaustive()
    }
}

pub(crate) struct State {
    random: Random,
    faults: Faults,
    files: Vec<SimulatedFile>,
    script: VecDeque<Answer>,
    holding: bool,
    in_flight: Vec<InFlight>,
    submitted: u64,
    log: Vec<Answered>,
    backends: u64,
    /// Users that have not gone.
    attached: usize,
    /// Wakes the loop's thread, where it has one.
    waker: Option<Arc<dyn Fn() + Send + Sync>>,
}

struct SimulatedFile {
    name: Arc<str>,
    /// Has the simulated file's length and times, and no content.
    inode: File,
    number: u64,
    content: Vec<u8>,
    align: u32,
    /// Ranges that fail, and with which errno.
    bad: Vec<(Range<u64>, i32)>,
}

/// A read or write that was staged or submitted.
pub(crate) struct InFlight {
    pub(crate) backend: u64,
    pub(crate) token: u32,
    pub(crate) file: usize,
    pub(crate) offset: u64,
    pub(crate) segments: Vec<Segment>,
    /// What a write's memory held when it was staged.
    write: Option<Vec<u8>>,
    read: u64,
    answer: Answer,
    /// `u64::MAX` where it never comes.
    due_ns: u64,
}

// SAFETY: the segments' pointers are followed only for reads and writes in flight, whose memory belongs to the disk until the
// completion is reaped; the disk's mutex keeps two threads from doing so at once.
unsafe impl Send for InFlight {}

impl InFlight {
    pub(crate) fn bytes(&self) -> u32 {
        self.segments.iter().map(|segment| segment.len).sum()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Disk {
    /// An empty disk without faults. The same seed and the same requests give the same answers.
    pub fn new(seed: u64) -> Disk {
        Disk {
            state: Arc::new(Mutex::new(State {
                random: Random(seed),
                faults: Faults::default(),
                files: Vec::new(),
                script: VecDeque::new(),
                holding: false,
                in_flight: Vec::new(),
                submitted: 0,
                log: Vec::new(),
                backends: 0,
                attached: 0,
                waker: None,
            })),
            clock_ns: Arc::new(AtomicU64::new(EPOCH_NS)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        self.clock_ns.clone()
    }

    /// Virtual time, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.clock_ns.load(Relaxed)
    }

    /// Makes a file. Reads of it are multiples of `align` bytes (a power of two; 512 and 4096 are usual); with 1 it is read
    /// through the page cache.
    ///
    /// # Errors
    /// Where the machine refuses a descriptor for it.
    pub fn add_file(&self, name: &str, content: Vec<u8>, align: u32) -> io::Result<()> {
        let inode = File::from(sys::memory_file(name)?);
        inode.set_len(content.len() as u64)?;
        let number = inode.metadata()?.ino();
        self.lock().files.push(SimulatedFile {
            name: name.into(),
            inode,
            number,
            content,
            align: align.max(1),
            bad: Vec::new(),
        });
        Ok(())
    }

    /// Opens a file of this disk for an engine.
    pub(crate) fn open_file(&self, name: &str) -> io::Result<OpenFile> {
        let state = self.lock();
        let file = state.file(name).ok_or(io::ErrorKind::NotFound)?;
        OpenFile::simulated(file.inode.try_clone()?, Path::new(name), file.align, DEVICE)
    }

    /// Cuts a file to `len` bytes or appends to it: bytes behind the old end are zeros. Nothing where there is no such file.
    pub fn set_len(&self, name: &str, len: u64) {
        if let Some(file) = self.lock().file_mut(name)
            && file.inode.set_len(len).is_ok()
        {
            file.content.resize(len as usize, 0);
        }
    }

    /// Reads and writes that touch `range` of a file fail with `EIO` from now on.
    pub fn break_range(&self, name: &str, range: Range<u64>) {
        self.fail_range(name, range, libc::EIO);
    }

    /// Reads and writes that touch `range` of a file fail with `errno` from now on.
    pub fn fail_range(&self, name: &str, range: Range<u64>, errno: i32) {
        if let Some(file) = self.lock().file_mut(name) {
            file.bad.push((range, errno));
        }
    }

    /// What a file holds now. `None` where there is no such file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().file(name).map(|file| file.content.clone())
    }

    /// All ranges of all files can be read and written again.
    pub fn mend(&self) {
        for file in &mut self.lock().files {
            file.bad.clear();
        }
    }

    /// Sets what goes wrong by chance from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Says what the next reads and writes are answered, in the order of their submission; comes before chance and broken ranges.
    pub fn script(&self, answers: &[Answer]) {
        self.lock().script.extend(answers);
    }

    /// From now on nothing is answered.
    pub fn hold(&self) {
        let mut state = self.lock();
        state.holding = true;
        for read in &mut state.in_flight {
            read.due_ns = u64::MAX;
        }
    }

    /// Ends [`Disk::hold`], and answers all that were not to be answered.
    pub fn release(&self) {
        let now_ns = self.now_ns();
        let mut state = self.lock();
        state.holding = false;
        let State {
            in_flight, random, ..
        } = &mut *state;
        for read in in_flight.iter_mut().filter(|read| read.due_ns == u64::MAX) {
            read.due_ns = now_ns + random.below(50_000);
        }
        let waker = state.waker.clone();
        drop(state);
        if let Some(wake) = waker {
            wake();
        }
    }

    /// Engines on this disk that have not gone; one that was leaked stays.
    pub fn engines(&self) -> usize {
        self.lock().attached
    }

    /// Reads and writes submitted so far; those in flight are among them.
    pub fn reads_submitted(&self) -> u64 {
        self.lock().submitted
    }

    /// Reads and writes in flight.
    pub fn reads_in_flight(&self) -> usize {
        self.lock().in_flight.len()
    }

    /// Of those in flight, the ones that are not going to be answered.
    pub fn reads_stuck(&self) -> usize {
        let state = self.lock();
        let stuck = state.in_flight.iter().filter(|r| r.due_ns == u64::MAX);
        stuck.count()
    }

    /// Every answer so far, oldest first.
    pub fn log(&self) -> Vec<Answered> {
        self.lock().log.clone()
    }

    /// Fills the memory of every read in flight, as a device does that answers after everybody has left. Returns how many
    /// there were, writes included. They stay unanswered.
    pub fn write_late(&self) -> usize {
        let state = self.lock();
        for read in &state.in_flight {
            if read.write.is_none() {
                fill(&read.segments, !POISON);
            }
        }
        state.in_flight.len()
    }
}

impl State {
    fn file(&self, name: &str) -> Option<&SimulatedFile> {
        self.files.iter().find(|file| &*file.name == name)
    }

    fn file_mut(&mut self, name: &str) -> Option<&mut SimulatedFile> {
        self.files.iter_mut().find(|file| &*file.name == name)
    }

    /// A number for another user of this disk, who is woken by `waker` when there is news.
    pub(crate) fn attach(&mut self, waker: Option<Arc<dyn Fn() + Send + Sync>>) -> u64 {
        self.waker = waker;
        self.backends += 1;
        self.attached += 1;
        self.backends
    }

    /// Forgets what a user has in flight.
    pub(crate) fn detach(&mut self, backend: u64) {
        self.attached -= 1;
        self.in_flight.retain(|read| read.backend != backend);
    }

    /// The file behind a descriptor, and its alignment.
    pub(crate) fn file_of(&self, descriptor: BorrowedFd<'_>) -> Option<(usize, u32)> {
        let inode = File::from(descriptor.try_clone_to_owned().ok()?);
        let number = inode.metadata().ok()?.ino();
        let at = self.files.iter().position(|file| file.number == number)?;
        Some((at, self.files[at].align))
    }

    pub(crate) fn in_flight(&self, backend: u64) -> impl Iterator<Item = &InFlight> {
        self.in_flight
            .iter()
            .filter(move |read| read.backend == backend)
    }

    /// Takes a read or write in and decides what becomes of it. Its memory is the disk's from now on.
    pub(crate) fn submit(&mut self, mut read: InFlight, now_ns: u64) {
        let (answer, patience) = self.decide(read.file, read.offset, read.bytes());
        let (least, most) = self.faults.latency_ns;
        let latency = least + self.random.below(most.saturating_sub(least) + 1);
        read.answer = answer;
        read.due_ns = if self.holding || answer == Answer::Never {
            u64::MAX
        } else {
            now_ns + latency * patience
        };
        read.read = self.submitted;
        self.submitted += 1;
        self.in_flight.push(read);
    }

    /// The answer to a read or write, and how many times the usual latency it takes.
    fn decide(&mut self, file: usize, offset: u64, bytes: u32) -> (Answer, u64) {
        if let Some(answer) = self.script.pop_front() {
            return (answer, 1);
        }
        let (align, bad) = {
            let file = &self.files[file];
            let end = offset + u64::from(bytes);
            let mut bad = file.bad.iter();
            let bad = bad.find(|(b, _)| b.start < end && offset < b.end);
            (file.align, bad.map(|&(_, errno)| errno))
        };
        if let Some(errno) = bad {
            return (Answer::Errno(errno), 1);
        }
        let f = self.faults;
        let mut roll = self.random.below(1000) as u32;
        let mut falls_on = |share: u32| {
            let hit = roll < share;
            roll = if hit { u32::MAX } else { roll - share };
            hit
        };
        let answer = if falls_on(f.eio) {
            Answer::Errno(libc::EIO)
        } else if falls_on(f.eagain) {
            Answer::Errno(libc::EAGAIN)
        } else if falls_on(f.eintr) {
            Answer::Errno(libc::EINTR)
        } else if falls_on(f.short) {
            Answer::Short(self.short_length(bytes, if align > 1 { SECTOR } else { 1 }))
        } else if falls_on(f.sliver) && align > 1 {
            Answer::Short(1 + self.random.below(u64::from(align) - 1) as u32)
        } else if falls_on(f.early_end) {
            Answer::Short(0)
        } else if falls_on(f.never) {
            Answer::Never
        } else if falls_on(f.bit_flip) {
            Answer::BitFlip
        } else if falls_on(f.misdirected) {
            Answer::Misdirected
        } else if falls_on(f.slow) {
            return (Answer::Whole, SLOW_FACTOR);
        } else {
            Answer::Whole
        };
        (answer, 1)
    }

    /// A length above zero and below `bytes`, a multiple of `unit`; `bytes` itself where there is none.
    fn short_length(&mut self, bytes: u32, unit: u32) -> u32 {
        match u64::from((bytes - 1) / unit) {
            0 => bytes,
            lengths => (1 + self.random.below(lengths) as u32) * unit,
        }
    }

    /// When the `count`-th next answer of a user is due; of fewer the last.
    pub(crate) fn due_ns(&self, backend: u64, count: u32) -> Option<u64> {
        let mut due: Vec<u64> = self
            .in_flight(backend)
            .map(|read| read.due_ns)
            .filter(|&due| due != u64::MAX)
            .collect();
        due.sort_unstable();
        due.get(count as usize - 1).or(due.last()).copied()
    }

    /// Gives up half of what will never be answered, as a kernel does with reads that the device does not hold yet.
    pub(crate) fn cancel(&mut self, backend: u64, now_ns: u64) {
        if self.holding {
            return;
        }
        for read in &mut self.in_flight {
            if read.backend == backend && read.due_ns == u64::MAX && self.random.below(2) == 0 {
                read.answer = Answer::Errno(libc::ECANCELED);
                read.due_ns = now_ns;
            }
        }
    }

    /// Answers what is due, first come first: `each` gets the token and the result.
    pub(crate) fn answer(&mut self, backend: u64, now_ns: u64, mut each: impl FnMut(u32, i32)) {
        let due = |read: &InFlight| read.backend == backend && read.due_ns <= now_ns;
        while let Some(at) = (0..self.in_flight.len())
            .filter(|&at| due(&self.in_flight[at]))
            .min_by_key(|&at| (self.in_flight[at].due_ns, self.in_flight[at].read))
        {
            let read = self.in_flight.swap_remove(at);
            let result = match &read.write {
                None => self.perform(&read),
                Some(bytes) => self.store(&read, bytes),
            };
            let file = &self.files[read.file];
            let there = match read.write {
                None => (file.content.len() as u64).saturating_sub(read.offset),
                Some(_) => u64::MAX,
            };
            self.log.push(Answered {
                read: read.read,
                file: file.name.clone(),
                offset: read.offset,
                bytes: read.bytes(),
                there: there.min(u64::from(read.bytes())) as u32,
                result,
                write: read.write.is_some(),
                at_ns: read.due_ns,
            });
            each(read.token, result);
        }
    }

    /// Writes the bytes of an answer to its memory; returns its result.
    fn perform(&mut self, read: &InFlight) -> i32 {
        let limit = match read.answer {
            Answer::Errno(errno) => return -errno,
            Answer::Short(limit) => limit,
            _ => u32::MAX,
        };
        let content = &self.files[read.file].content;
        let there = (content.len() as u64).saturating_sub(read.offset);
        let n = there.min(u64::from(read.bytes().min(limit))) as usize;
        if n == 0 {
            return 0;
        }
        let from = match read.answer {
            Answer::Misdirected => self.random.below((content.len() - n) as u64 + 1),
            _ => read.offset,
        } as usize;
        copy(&content[from..from + n], &read.segments);
        if read.answer == Answer::BitFlip {
            let at = self.random.below(n as u64) as usize;
            let flipped = content[from + at] ^ 1 << self.random.below(8);
            copy_at(&[flipped], &read.segments, at);
        }
        n as i32
    }

    /// Writes the bytes of a write's memory to its file; returns the answer's result. A file that ends before them grows.
    fn store(&mut self, write: &InFlight, staged: &[u8]) -> i32 {
        assert!(
            bytes_of(&write.segments) == staged,
            "nobody writes to a frame whose write is in flight: {} bytes at {}",
            staged.len(),
            write.offset
        );
        let n = match write.answer {
            Answer::Errno(errno) => return -errno,
            Answer::Short(limit) => staged.len().min(limit as usize),
            _ => staged.len(),
        };
        if n == 0 {
            return 0;
        }
        let file = &mut self.files[write.file];
        let mut at = write.offset as usize;
        if write.answer == Answer::Misdirected && n < file.content.len() {
            at = self.random.below((file.content.len() - n) as u64 + 1) as usize;
        }
        if file.content.len() < at + n {
            file.content.resize(at + n, 0);
            // Only who looks at its length sees a refusal.
            let _ = file.inode.set_len((at + n) as u64);
        }
        file.content[at..at + n].copy_from_slice(&staged[..n]);
        if write.answer == Answer::BitFlip {
            let flipped = at + self.random.below(n as u64) as usize;
            file.content[flipped] ^= 1 << self.random.below(8);
        }
        n as i32
    }
}

/// A transfer that was not submitted yet. The memory of a read is poisoned: whoever still looks at it, sees it. That of a
/// write must hold until its answer what it holds now.
pub(crate) fn staged(backend: u64, file: usize, transfer: Transfer<'_>) -> InFlight {
    let Transfer {
        token,
        offset,
        segments,
        write,
        ..
    } = transfer;
    assert!(!segments.is_empty() && segments.len() <= SEGMENTS_MAX);
    let write = write.then(|| bytes_of(segments));
    if write.is_none() {
        fill(segments, POISON);
    }
    InFlight {
        backend,
        token,
        file,
        offset,
        segments: segments.to_vec(),
        write,
        read: 0,
        answer: Answer::Whole,
        due_ns: u64::MAX,
    }
}

/// What a write's memory holds.
fn bytes_of(segments: &[Segment]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in segments {
        // SAFETY: the memory of a write that is staged or in flight belongs to this backend (`Backend::stage`), which has
        // checked that it lies in the arena; nobody writes to it meanwhile.
        bytes.extend_from_slice(unsafe {
            std::slice::from_raw_parts(segment.ptr, segment.len as usize)
        });
    }
    bytes
}

fn fill(segments: &[Segment], byte: u8) {
    for segment in segments {
        // SAFETY: the memory of a read that is staged or in flight belongs to this backend (`Backend::stage`), and the
        // backend has checked that it lies in the arena.
        unsafe { segment.ptr.write_bytes(byte, segment.len as usize) };
    }
}

fn copy(bytes: &[u8], segments: &[Segment]) {
    copy_at(bytes, segments, 0);
}

/// Copies `bytes` to the segments, from their byte `at` on.
fn copy_at(mut bytes: &[u8], segments: &[Segment], at: usize) {
    let mut skip = at;
    for segment in segments {
        let len = segment.len as usize;
        let here = skip.min(len);
        skip -= here;
        let n = bytes.len().min(len - here);
        let to = segment.ptr.wrapping_add(here);
        // SAFETY: as in `fill`; `here + n` is at most the segment's length, and the disk's content lies elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, n) };
        bytes = &bytes[n..];
    }
}
