//! The page pool: frames, the table that finds them, and the ways of a page in and out.

mod allocation;
mod check;
mod completion;
mod read_ahead;

use self::allocation::Allocation;
use crate::ring::fault::Fault;
use crate::ring::lane::Slots;
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::tiers::arena::Arena;
use crate::tiers::eviction::Clock;
use crate::tiers::frame::{
    AHEAD, DIRECTORY, DIRECTORY_UNITS, Frame, FrameDetail, Key, NIL, PLANNED, PREFETCHED, Phase,
    State,
};
use crate::tiers::table::{Bucket, Lookup, PageTable};
use crate::tiers::wait::Ops;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) arena: Arena,
    frames: Box<[Frame]>,
    details: Box<[FrameDetail]>,
    table: PageTable,
    pub(crate) slots: Arc<Slots>,
    pub(crate) ops: Ops,
    allocation: Mutex<Allocation>,
    policy: Clock,
    pub(crate) frame_bytes: u64,
    /// Frames of units that carry `AHEAD`.
    speculative: AtomicU32,
    /// Frames of units that carry `DIRECTORY`.
    directory: AtomicU32,
    pub(crate) counters: PoolCounters,
}

/// What happened to pages.
#[derive(Debug, Default)]
pub(crate) struct PoolCounters {
    pub(crate) evictions: AtomicU64,
    /// Prefetched pages that were asked for when they were there.
    pub(crate) prefetch_useful: AtomicU64,
    /// Prefetched pages that were asked for while they were still being read.
    pub(crate) prefetch_late: AtomicU64,
    /// Prefetched pages that left without having been asked for.
    pub(crate) prefetch_wasted: AtomicU64,
    /// Prefetches not started: no room, or already there.
    pub(crate) prefetch_dropped: AtomicU64,
}

/// How a page was found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Claim {
    /// Resident; pinned.
    Hit(u32),
    /// Being read for somebody else; pinned.
    Joined(u32),
    /// To be read by the caller: its slot must be submitted. Pinned unless for prefetch.
    Owner(u32),
}

impl Claim {
    pub(crate) fn frame(self) -> u32 {
        match self {
            Claim::Hit(frame) | Claim::Joined(frame) | Claim::Owner(frame) => frame,
        }
    }
}

/// No frame can be had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exhausted {
    /// A frame that nobody pins and whose read will end: worth waiting for. `NIL` where all are views of callers.
    pub(crate) in_flight: Option<u32>,
}

/// What a frame is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Demand,
    Prefetch,
    Planned,
}

impl Pool {
    /// A pool of `count` frames.
    pub(crate) fn new(arena: Arena, count: u32, frame_bytes: u64, ops: u32, policy: Clock) -> Pool {
        Pool {
            arena,
            frames: (0..count).map(|_| Frame::new()).collect(),
            details: (0..count).map(|_| FrameDetail::new()).collect(),
            table: PageTable::new(count),
            slots: Arc::new(Slots::new(count)),
            ops: Ops::new(ops),
            allocation: Mutex::new(Allocation {
                free: (0..count).rev().collect(),
            }),
            policy,
            frame_bytes,
            speculative: AtomicU32::new(0),
            directory: AtomicU32::new(0),
            counters: PoolCounters::default(),
        }
    }

    /// Bytes of metadata for one frame, beside the table.
    pub(crate) fn frame_metadata_bytes() -> u64 {
        // Header and details, ring slot, free list.
        (size_of::<Frame>() + size_of::<FrameDetail>() + size_of::<crate::ring::lane::Slot>() + 4)
            as u64
    }

    pub(crate) fn frame_count(&self) -> u32 {
        self.frames.len() as u32
    }

    pub(crate) fn frame(&self, index: u32) -> &Frame {
        &self.frames[index as usize]
    }

    fn detail(&self, index: u32) -> &FrameDetail {
        &self.details[index as usize]
    }

    /// Frames of the unit that begins at a frame.
    fn span(&self, index: u32) -> u32 {
        self.detail(index).span.load(Ordering::Relaxed)
    }

    /// First byte of a frame.
    #[inline]
    pub(crate) fn address(&self, index: u32) -> *mut u8 {
        self.arena
            .base()
            .wrapping_add(index as usize * self.frame_bytes as usize)
    }

    /// Pins a resident page whose byte `within` is read next; also says whether it was read ahead and this is its first
    /// use. The fast path: no lock, no allocation.
    #[inline]
    pub(crate) fn hit(&self, key: Key, within: u64) -> Option<(u32, bool)> {
        // A pin is a locked instruction, behind which a processor begins no load: the page's own line is fetched while
        // the header's is.
        let fetch = |frame| expect_load(self.address(frame).wrapping_add(within as usize));
        let left_behind = |left| self.tear_down_leaving(left);
        match self.table.lookup(&self.frames, key, fetch, left_behind) {
            Lookup::Pinned(index, state) => {
                Some((self.used(index, state), state.has(PREFETCHED | AHEAD)))
            }
            Lookup::Unclear | Lookup::Absent => None,
        }
    }

    #[inline]
    fn lookup(&self, key: Key) -> Lookup {
        let left_behind = |left| self.tear_down_leaving(left);
        self.table.lookup(&self.frames, key, |_| (), left_behind)
    }

    /// Notes the use of a page that was resident in `state`.
    #[inline]
    fn used(&self, index: u32, state: State) -> u32 {
        let frame = &self.frames[index as usize];
        frame.reference(state);
        if state.has(PREFETCHED | AHEAD) {
            self.first_use(index, state);
        }
        index
    }

    #[cold]
    #[inline(never)]
    fn first_use(&self, index: u32, state: State) {
        let was = self.frame(index).clear(PREFETCHED | PLANNED | AHEAD);
        if was.has(AHEAD) {
            self.speculative
                .fetch_sub(self.span(index), Ordering::Relaxed);
        }
        if was.has(PREFETCHED) {
            let counter = if state.phase() == Phase::Loading {
                &self.counters.prefetch_late
            } else {
                &self.counters.prefetch_useful
            };
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Finds a page or claims a frame for it.
    ///
    /// # Errors
    /// [`Exhausted`] where every frame is pinned or in flight.
    pub(crate) fn claim(&self, key: Key, span: u32, purpose: Purpose) -> Result<Claim, Exhausted> {
        let demand = purpose == Purpose::Demand;
        match self.lookup(key) {
            Lookup::Pinned(index, state) if demand => {
                return Ok(Claim::Hit(self.used(index, state)));
            }
            Lookup::Pinned(index, state) => {
                let planned = purpose == Purpose::Planned;
                let room = !planned || state.has(AHEAD) || self.make_room_ahead(self.span(index));
                if planned && room {
                    self.protect(index);
                }
                self.unpin(index);
                return match room {
                    true => Ok(Claim::Hit(index)),
                    false => Err(Exhausted { in_flight: None }),
                };
            }
            Lookup::Unclear => {
                if let Some(found) = self.find_in(&self.table.bucket(key), key, purpose) {
                    return Ok(found);
                }
            }
            // If that is wrong, the second look below finds the page.
            Lookup::Absent => {}
        }
        let index = match self.allocate(span, purpose) {
            Ok(index) => index,
            Err(exhausted) => {
                return self
                    .find_in(&self.table.bucket(key), key, purpose)
                    .ok_or(exhausted);
            }
        };
        let bucket = self.table.bucket(key);
        if let Some(found) = self.find_in(&bucket, key, purpose) {
            drop(bucket);
            // Somebody was faster; the frame was never seen by anyone.
            self.free_claimed(index, span);
            return Ok(found);
        }
        let frame = self.frame(index);
        frame.set_key(key, 0);
        self.detail(index).span.store(span, Ordering::Relaxed);
        self.detail(index).fault.store(0, Ordering::Relaxed);
        let mut flags = match purpose {
            Purpose::Demand => 0,
            Purpose::Prefetch => PREFETCHED | AHEAD,
            Purpose::Planned => PREFETCHED | PLANNED | AHEAD,
        };
        if key.unit >= DIRECTORY_UNITS {
            flags |= DIRECTORY;
            self.directory.fetch_add(span, Ordering::Relaxed);
        }
        frame.start_loading(demand, flags);
        if !demand {
            self.speculative.fetch_add(span, Ordering::Relaxed);
        }
        bucket.insert(&self.frames, index);
        Ok(Claim::Owner(index))
    }

    /// The page's frame as the chain has it; pinned on demand.
    fn find_in(&self, bucket: &Bucket<'_>, key: Key, purpose: Purpose) -> Option<Claim> {
        let present = |state: State| match state.phase() {
            // A lost page stays lost: a second frame for it would be mistaken for the one that others have pinned.
            Phase::Lost => true,
            Phase::Loading | Phase::Loaded | Phase::Checking | Phase::Failed | Phase::Resident => {
                !state.is_stale()
            }
            _ => false,
        };
        let index = bucket.find(&self.frames, key, |frame| present(frame.state()))?;
        let frame = self.frame(index);
        if purpose == Purpose::Prefetch {
            return Some(Claim::Hit(index));
        }
        let state = frame.pin();
        if !present(state) {
            // Evicted between the two looks; its owner waits for this bucket's lock to take it out.
            // A failed or superseded page that this was the last pin of stays for the eviction policy to find: tearing
            // it down takes the lock that is held here.
            let _ = frame.unpin();
            return None;
        }
        if purpose == Purpose::Planned {
            // Read ahead for something else; what somebody is waiting for now needs no protection.
            let room = || state.has(AHEAD) || self.room_ahead() >= self.span(index);
            if state.has(PREFETCHED) && room() {
                self.protect(index);
            }
            let _ = frame.unpin();
            return Some(Claim::Hit(index));
        }
        frame.reference(state);
        if state.has(PREFETCHED | AHEAD) {
            self.first_use(index, state);
        }
        Some(match state.phase() {
            Phase::Resident => Claim::Hit(index),
            // It was given up without a read: this caller reads it, and who has not looked yet waits for that.
            Phase::Failed if self.fault(index) == Fault::Closed => {
                frame.restart_loading();
                Claim::Owner(index)
            }
            _ => Claim::Joined(index),
        })
    }

    /// True where a page is there now, compared with its checksum or not.
    pub(crate) fn is_resident(&self, key: Key) -> bool {
        let bucket = self.table.bucket(key);
        let found = bucket.find(&self.frames, key, |frame| {
            let state = frame.state();
            (state.is_whole() || state.phase() == Phase::Checking) && !state.is_stale()
        });
        found.is_some()
    }

    /// Where a page is that the caller has pinned.
    pub(crate) fn pinned(&self, key: Key) -> Option<u32> {
        self.table.pinned(&self.frames, key)
    }

    /// Gives a pin back.
    #[inline]
    pub(crate) fn unpin(&self, index: u32) {
        if self.frames[index as usize].unpin() {
            self.tear_down_leaving(index);
        }
    }

    #[cold]
    #[inline(never)]
    fn tear_down_leaving(&self, index: u32) {
        let frame = self.frame(index);
        if let Some(state) = frame.claim_leaving() {
            let span = self.take_out(index, state);
            self.free_claimed(index, span);
        }
    }

    /// Takes a claimed unit, which was in `state`, out of the table; its members become claimed too. Returns its span.
    fn take_out(&self, index: u32, state: State) -> u32 {
        if state.phase() == Phase::Free {
            return 1;
        }
        let frame = self.frame(index);
        let span = self.span(index);
        self.table.bucket(frame.key()).remove(&self.frames, index);
        for member in 1..span {
            self.frame(index + member).unset_member();
        }
        if state.phase() == Phase::Loaded {
            self.forget_waiters(index);
        }
        if state.has(DIRECTORY) {
            self.directory.fetch_sub(span, Ordering::Relaxed);
        }
        if state.has(AHEAD) {
            self.speculative.fetch_sub(span, Ordering::Relaxed);
        }
        if state.has(PREFETCHED) {
            self.counters.prefetch_wasted.fetch_add(1, Relaxed);
        }
        if state.is_whole() {
            self.counters.evictions.fetch_add(1, Relaxed);
        }
        span
    }

    /// Frames that are pinned by views or waiters, members of pinned extents included.
    pub(crate) fn pinned_frames(&self) -> u32 {
        (0..self.frame_count())
            .filter(|&index| self.frame(index).state().pins() > 0)
            .map(|index| self.span(index))
            .sum()
    }

    /// Frames whose page is resident, loading, and lost.
    pub(crate) fn census(&self) -> (u32, u32, u32) {
        let mut census = (0, 0, 0);
        for index in 0..self.frame_count() {
            match self.frame(index).state().phase() {
                Phase::Resident | Phase::Loaded | Phase::Checking => census.0 += self.span(index),
                Phase::Loading => census.1 += self.span(index),
                Phase::Lost => census.2 += self.span(index),
                _ => {}
            }
        }
        census
    }

    /// Switches a page to a new version: `index` holds it, claimed by the caller. Views of the old one keep it; it goes
    /// with the last of them, or with the end of its read. The write side of this version is its tests: fields cannot be
    /// written to yet. Before they can, a read of several pages must carry their versions: it finds the pages that it has
    /// pinned by their keys ([`Pool::pinned`]), and would find the new one.
    #[cfg(test)]
    pub(crate) fn publish(&self, key: Key, index: u32) {
        let bucket = self.table.bucket(key);
        let old = bucket.find(&self.frames, key, |frame| {
            let state = frame.state();
            matches!(state.phase(), Phase::Loading | Phase::Resident) && !state.is_stale()
        });
        let version = old.map_or(0, |old| self.frame(old).version() + 1);
        // The old one first: a lookup in between misses, and decides under this lock.
        if let Some(old) = old {
            self.frame(old).make_stale();
        }
        let frame = self.frame(index);
        frame.set_key(key, version);
        self.detail(index).span.store(1, Ordering::Relaxed);
        frame.release_claim(Phase::Resident);
        bucket.insert(&self.frames, index);
        drop(bucket);
        if let Some(old) = old {
            self.tear_down_leaving(old);
        }
    }

    /// No frame; for callers that keep an index.
    pub(crate) const NONE: u32 = NIL;
}

/// Tells the processor that a byte will be loaded soon, where the language offers that.
#[inline]
fn expect_load(byte: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint that cannot fault whatever the address, and SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(byte.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Claim, Pool, Purpose};
    use crate::tiers::arena::Arena;
    use crate::tiers::eviction::Eviction;
    use crate::tiers::frame::{Key, Phase};
    use crate::tiers::wait::BatchWakes;

    #[test]
    fn a_reader_keeps_its_version_while_a_newer_one_is_published() {
        let pool = Pool::new(Arena::none(), 2, 4096, 2, Eviction::Clock.policy());
        let key = Key { field: 0, unit: 7 };
        let Ok(Claim::Owner(old)) = pool.claim(key, 1, Purpose::Demand) else {
            panic!("an empty pool gives a frame");
        };
        pool.complete(old, Ok(()), &mut BatchWakes::default());
        let new = 1 - old;
        assert!(pool.frame(new).claim(Phase::Free, 0).is_some());
        pool.publish(key, new);
        assert_eq!(pool.frame(old).state().phase(), Phase::Resident);
        assert_eq!(pool.frame(old).version(), 0);
        assert_eq!(pool.hit(key, 0).map(|(frame, _)| frame), Some(new));
        assert_eq!(pool.frame(new).version(), 1);
        pool.unpin(old);
        assert_eq!(pool.frame(old).state().phase(), Phase::Free);
    }
}
