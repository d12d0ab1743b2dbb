//! The page table: from (field, page) to a frame. Sized by the pool, never by the field.
//!
//! Buckets are chains through the frame headers, so a hit touches one bucket word and one header. Lookups take no lock:
//! a walker can be led astray by a frame that moves to another chain under it, and then misses a page that is there.
//! That is harmless, because a miss is decided under the lock of the bucket's shard, where chains stand still. A page
//! that is found is pinned first and checked again after, which no concurrent change can undo.

use super::frame::{Frame, Key, NIL, State};
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering, lock};

/// Locks over the buckets: enough that misses on different pages rarely meet.
const SHARDS: usize = if cfg!(loom) { 1 } else { 64 };
/// A walker that saw this many frames was led astray, or the hash is bad; the lock decides.
const STEPS_MAX: u32 = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct PageTable {
    buckets: Box<[AtomicU32]>,
    mask: u64,
    shards: Box<[Mutex<()>]>,
}

/// What a lookup without the lock found.
pub(crate) enum Lookup {
    /// The page, with the state of its frame before the pin.
    Pinned(u32, State),
    /// A frame of that page that is not resident, or not any more.
    Unclear,
    /// Nothing.
    Absent,
}

/// A bucket held still.
pub(crate) struct Bucket<'t> {
    head: &'t AtomicU32,
    _lock: MutexGuard<'t, ()>,
}

/// A well mixed hash of a key (the finalizer of MurmurHash3, public domain).
#[inline]
fn hash(key: Key) -> u64 {
    let mut h = key.unit ^ (u64::from(key.field) << 40);
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ (h >> 33)
}

impl PageTable {
    pub(crate) fn new(frames: u32) -> PageTable {
        let buckets = (frames as usize).next_power_of_two() * 2;
        PageTable {
            buckets: (0..buckets).map(|_| AtomicU32::new(NIL)).collect(),
            mask: buckets as u64 - 1,
            shards: (0..SHARDS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Bytes of memory for `frames` frames.
    pub(crate) fn memory_bytes(frames: u64) -> u64 {
        frames.next_power_of_two() * 2 * 4 + SHARDS as u64 * 8
    }

    /// Pins the current version of a page if it is resident.
    ///
    /// No lock, no allocation. A pin is certain; that a page is absent is not.
    #[inline]
    pub(crate) fn lookup(
        &self,
        frames: &[Frame],
        key: Key,
        left_behind: impl FnOnce(u32),
    ) -> Lookup {
        let bucket = (hash(key) & self.mask) as usize;
        let mut index = self.buckets[bucket].load(Ordering::Acquire);
        let mut steps = 0;
        while index != NIL && steps < STEPS_MAX {
            let frame = &frames[index as usize];
            if frame.key() == key {
                let state = frame.pin();
                if state.is_resident() && !state.is_stale() && frame.key() == key {
                    return Lookup::Pinned(index, state);
                }
                if frame.unpin() {
                    left_behind(index);
                }
                return Lookup::Unclear;
            }
            index = frame.next.load(Ordering::Acquire);
            steps += 1;
        }
        Lookup::Absent
    }

    /// Finds a page that the caller has pinned, whatever its phase, at its pinned version.
    pub(crate) fn pinned(&self, frames: &[Frame], key: Key) -> Option<u32> {
        let bucket = self.bucket(key);
        bucket.find(frames, key, |_| true)
    }

    /// Holds the bucket of a key still.
    pub(crate) fn bucket(&self, key: Key) -> Bucket<'_> {
        let bucket = (hash(key) & self.mask) as usize;
        Bucket {
            head: &self.buckets[bucket],
            _lock: lock(&self.shards[bucket % SHARDS]),
        }
    }
}

impl Bucket<'_> {
    /// The frame of `key` that `want` accepts.
    pub(crate) fn find(
        &self,
        frames: &[Frame],
        key: Key,
        want: impl Fn(&Frame) -> bool,
    ) -> Option<u32> {
        let mut index = self.head.load(Ordering::Relaxed);
        while index != NIL {
            let frame = &frames[index as usize];
            if frame.key() == key && want(frame) {
                return Some(index);
            }
            index = frame.next.load(Ordering::Relaxed);
        }
        None
    }

    /// Puts a frame in front.
    pub(crate) fn insert(&self, frames: &[Frame], index: u32) {
        let head = self.head.load(Ordering::Relaxed);
        frames[index as usize].next.store(head, Ordering::Relaxed);
        // Release: who finds the frame here sees its key.
        self.head.store(index, Ordering::Release);
    }

    /// Takes a frame out, if it is there.
    pub(crate) fn remove(&self, frames: &[Frame], index: u32) {
        let mut link = self.head;
        loop {
            let at = link.load(Ordering::Relaxed);
            if at == NIL {
                return;
            }
            let next = &frames[at as usize].next;
            if at == index {
                link.store(next.load(Ordering::Relaxed), Ordering::Release);
                return;
            }
            link = next;
        }
    }
}
