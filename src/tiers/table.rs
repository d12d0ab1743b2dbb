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

/// log2 of the buckets in a cache line.
const LINE_SHIFT: u32 = 4;

/// A hash that leaves neighbours together: pages of one line-sized group get the buckets of one line, each its own, so
/// that a dense range costs as few cache lines as it can. The groups are well mixed (multiplication and shift of
/// MurmurHash3's finalizer, public domain), and so is the order within them: pages that are a power of two apart meet
/// no more often than others.
#[inline]
fn hash(key: Key) -> u64 {
    const WITHIN: u64 = (1 << LINE_SHIFT) - 1;
    let mut h = (key.unit >> LINE_SHIFT) ^ (u64::from(key.field) << 40);
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    (h << LINE_SHIFT) | ((h >> 56 ^ key.unit) & WITHIN)
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
    /// No lock, no allocation. A pin is certain; that a page is absent is not. `likely` is told the frame that is looked at
    /// next, before that look.
    #[inline]
    pub(crate) fn lookup(
        &self,
        frames: &[Frame],
        key: Key,
        likely: impl Fn(u32),
        left_behind: impl FnOnce(u32),
    ) -> Lookup {
        let bucket = (hash(key) & self.mask) as usize;
        let mut index = self.buckets[bucket].load(Ordering::Acquire);
        let mut steps = 0;
        while index != NIL && steps < STEPS_MAX {
            likely(index);
            let frame = &frames[index as usize];
            if frame.key() == key {
                let state = frame.pin();
                if state.is_current() && frame.key() == key {
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Key, LINE_SHIFT, hash};
    use std::collections::HashMap;

    /// Pages in each of 8192 buckets, or lines of buckets, for 4096 pages that are `stride` apart.
    fn occupied(stride: u64, shift: u32) -> HashMap<u64, u32> {
        let mut occupied = HashMap::new();
        for k in 0..4096 {
            let key = Key {
                field: 3,
                unit: 1_000_000 * stride + k * stride,
            };
            *occupied.entry((hash(key) & 8191) >> shift).or_insert(0) += 1;
        }
        occupied
    }

    #[test]
    fn pages_of_a_dense_range_share_lines_of_buckets() {
        let lines = occupied(1, LINE_SHIFT);
        assert!(lines.len() <= 4096 / 16 + 1, "{} lines", lines.len());
    }

    #[test]
    fn no_stride_piles_its_pages_up() {
        for shift in 0..20 {
            for stride in [1 << shift, (1 << shift) + 1, 3 << shift] {
                let longest = occupied(stride, 0).into_values().max();
                assert!(
                    longest <= Some(12),
                    "stride {stride}: {longest:?} in a bucket"
                );
            }
        }
    }
}
