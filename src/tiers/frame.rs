//! Frames and their state machine.
//!
//! A frame is `page_size` bytes of the arena. Its header carries one state word: the phase, a few flags, and the number
//! of pins. Whoever reads a page pins its frame with one atomic addition and looks at the phase that the addition
//! returned: only `Resident` may be read. A page can leave a frame only by a compare-and-swap that requires zero pins,
//! so a pinned resident page stays.
//!
//! ```text
//!            claim            complete (ok)
//!   Free ──▶ Claimed ──▶ Loading ──▶ Resident ──▶ Claimed … (evicted: no pins)
//!              ▲             │           │ publish of a newer version
//!              │             ▼           ▼
//!              └───────── Failed      Resident + STALE ──▶ Claimed (last unpin)
//!
//!            complete (ok)      begin_check              end_check
//!   Loading ──────────▶ Loaded ────────────▶ Checking ──────────▶ Resident | Failed
//!      ▲                                         │ read again
//!      └─────────────────────────────────────────┘
//! ```
//! `Failed` goes back to `Loading` where the page was given up without a read and somebody asks for it again. Pages with a
//! checksum go through `Loaded` and `Checking`: whoever waits for one first checks it, and the others wait on.
//!
//! `Claimed` belongs to one thread. `Loading` belongs to the device's submission loop (or to the caller that reads
//! inline). A lookup may add a pin to a frame in any phase before it sees that the page is not there; so every change
//! of phase leaves the pins alone, and a frame is claimed only while nobody even tries.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No frame.
pub(crate) const NIL: u32 = u32::MAX;

const PIN: u64 = 1;
const PINS: u64 = (1 << 40) - 1;
/// Used since the eviction hand last came by.
const REFERENCED: u64 = 1 << 40;
/// Read ahead of need and not asked for yet.
pub(crate) const PREFETCHED: u64 = 1 << 41;
/// Part of a declared plan and not asked for yet: the last to be evicted.
pub(crate) const PLANNED: u64 = 1 << 42;
/// Takes room of what may be read ahead, and is not given up for more of that. A plan carries it always; a page read
/// ahead loses it when the plan it belonged to is replaced, or when a plan needs the room.
pub(crate) const AHEAD: u64 = 1 << 44;
/// A newer version of the page has been published.
const STALE: u64 = 1 << 43;
/// Part of a field's directory, without which no page of it can be checked.
pub(crate) const DIRECTORY: u64 = 1 << 45;
/// Units from this number on are a field's directory.
pub(crate) const DIRECTORY_UNITS: u64 = 1 << 63;
const PHASE_SHIFT: u32 = 56;
const PHASES: u64 = 0xff << PHASE_SHIFT;

/// What a frame is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Holds nothing.
    Free = 0,
    /// Belongs to the thread that is filling in or tearing down its header.
    Claimed = 1,
    /// A read into it is queued or in flight.
    Loading = 2,
    /// Holds its page.
    Resident = 3,
    /// Its read failed; goes when the last waiter has seen why.
    Failed = 4,
    /// Part of the extent whose first frame lies before it.
    Member = 5,
    /// The kernel never answered: never used again.
    Lost = 6,
    /// Holds what was read; nobody has compared it with its checksum.
    Loaded = 7,
    /// Belongs to the thread that compares it with its checksum.
    Checking = 8,
}

impl Phase {
    const fn bits(self) -> u64 {
        (self as u64) << PHASE_SHIFT
    }
}

/// A value of the state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    pub(crate) fn phase(self) -> Phase {
        match self.0 >> PHASE_SHIFT {
            0 => Phase::Free,
            1 => Phase::Claimed,
            2 => Phase::Loading,
            3 => Phase::Resident,
            4 => Phase::Failed,
            5 => Phase::Member,
            7 => Phase::Loaded,
            8 => Phase::Checking,
            _ => Phase::Lost,
        }
    }
    /// Holds a page that nobody is busy with.
    pub(crate) fn is_whole(self) -> bool {
        matches!(self.phase(), Phase::Resident | Phase::Loaded)
    }
    /// Holds the newest version of its page, which may be read.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.0 & (PHASES | STALE) == Phase::Resident.bits()
    }
    pub(crate) fn pins(self) -> u64 {
        self.0 & PINS
    }
    pub(crate) fn is_stale(self) -> bool {
        self.0 & STALE != 0
    }
    pub(crate) fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }
    pub(crate) fn is_referenced(self) -> bool {
        self.0 & REFERENCED != 0
    }
    /// Gone from the table's point of view once nobody pins it. A superseded page that is still being read is not: its
    /// memory is the device's.
    pub(crate) fn is_leaving(self) -> bool {
        match self.phase() {
            Phase::Failed => true,
            Phase::Resident | Phase::Loaded => self.is_stale(),
            _ => false,
        }
    }
}

/// Which page of which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) field: u32,
    /// Page number, or extent number in a field of extents.
    pub(crate) unit: u64,
}

/// A frame's header: what a hit looks at. 32 bytes, so that the headers of a large pool stay in the processor's cache.
#[derive(Debug)]
#[repr(align(32))]
pub(crate) struct Frame {
    state: AtomicU64,
    unit: AtomicU64,
    field: AtomicU32,
    /// How often the page had been published before this content.
    version: AtomicU32,
    /// Next frame of the same bucket of the page table.
    pub(crate) next: AtomicU32,
    /// Newest waiter; `EMPTY`, or `CLOSED` once the read is over.
    pub(crate) waiters: AtomicU32,
}

/// The rest of a frame's header: what only reads and evictions look at.
#[derive(Debug)]
pub(crate) struct FrameDetail {
    /// Why its read failed, as `Fault::encode`.
    pub(crate) fault: AtomicU64,
    /// Frames of this unit.
    pub(crate) span: AtomicU32,
}

impl FrameDetail {
    pub(crate) fn new() -> FrameDetail {
        FrameDetail {
            fault: AtomicU64::new(0),
            span: AtomicU32::new(1),
        }
    }
}

impl Frame {
    pub(crate) fn new() -> Frame {
        Frame {
            state: AtomicU64::new(Phase::Free.bits()),
            unit: AtomicU64::new(0),
            field: AtomicU32::new(NIL),
            version: AtomicU32::new(0),
            next: AtomicU32::new(NIL),
            waiters: AtomicU32::new(super::wait::CLOSED),
        }
    }

    pub(crate) fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// The page in this frame. Stable while pinned, claimed or under the bucket's lock; a hint otherwise.
    #[inline]
    pub(crate) fn key(&self) -> Key {
        Key {
            field: self.field.load(Ordering::Relaxed),
            unit: self.unit.load(Ordering::Relaxed),
        }
    }

    #[cfg(test)]
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Relaxed)
    }

    /// Adds a pin and returns the state before it. The page may be read only if that was resident.
    #[inline]
    pub(crate) fn pin(&self) -> State {
        State(self.state.fetch_add(PIN, Ordering::Acquire))
    }

    /// Takes a pin away. True where the page must be torn down by the caller: it was the last one of a page that is
    /// leaving ([`Frame::claim_leaving`] then decides between callers).
    #[inline]
    #[must_use]
    pub(crate) fn unpin(&self) -> bool {
        let before = State(self.state.fetch_sub(PIN, Ordering::Release));
        debug_assert!(before.pins() > 0);
        !before.is_current() && before.pins() == 1 && before.is_leaving()
    }

    /// Notes a use for the eviction policy.
    #[inline]
    pub(crate) fn reference(&self, seen: State) {
        if !seen.is_referenced() {
            self.state.fetch_or(REFERENCED, Ordering::Relaxed);
        }
    }

    pub(crate) fn unreference(&self) {
        self.state.fetch_and(!REFERENCED, Ordering::Relaxed);
    }

    /// Clears flags; returns the state before.
    pub(crate) fn clear(&self, flags: u64) -> State {
        State(self.state.fetch_and(!flags, Ordering::Relaxed))
    }

    /// Sets flags of a frame that the caller has pinned; returns the state before.
    pub(crate) fn set(&self, flags: u64) -> State {
        State(self.state.fetch_or(flags, Ordering::Relaxed))
    }

    /// Takes an unpinned frame in `phase` that carries none of the flags in `keep` for this thread. Returns the state
    /// it had: the flags are gone with it.
    pub(crate) fn claim(&self, phase: Phase, keep: u64) -> Option<State> {
        let seen = self.state.load(Ordering::Relaxed);
        if seen & PHASES != phase.bits() || seen & keep != 0 {
            return None;
        }
        self.claim_from(seen)
    }

    /// Takes a stale or failed frame without pins; one of several callers wins.
    pub(crate) fn claim_leaving(&self) -> Option<State> {
        let seen = self.state.load(Ordering::Relaxed);
        if State(seen).is_leaving() {
            self.claim_from(seen)
        } else {
            None
        }
    }

    fn claim_from(&self, seen: u64) -> Option<State> {
        if seen & PINS != 0 {
            return None;
        }
        // Acquire pairs with the Release of the last unpin: what its holder read happened before what is read in next.
        self.state
            .compare_exchange(
                seen,
                Phase::Claimed.bits(),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .ok()
            .map(State)
    }

    /// Names the page that a claimed frame is for.
    pub(crate) fn set_key(&self, key: Key, version: u32) {
        self.field.store(key.field, Ordering::Relaxed);
        self.unit.store(key.unit, Ordering::Relaxed);
        self.version.store(version, Ordering::Relaxed);
    }

    /// Claimed → Loading, with a pin for the claimer or with prefetch flags.
    pub(crate) fn start_loading(&self, pinned: bool, flags: u64) {
        self.waiters.store(super::wait::EMPTY, Ordering::Relaxed);
        let by = Phase::Loading.bits() - Phase::Claimed.bits() + flags + u64::from(pinned);
        self.state.fetch_add(by, Ordering::Release);
    }

    /// Failed → Loading, by a caller that has pinned the frame and holds the bucket of its page.
    pub(crate) fn restart_loading(&self) {
        self.waiters.store(super::wait::EMPTY, Ordering::Relaxed);
        self.change(Phase::Failed, Phase::Loading);
    }

    /// Loading → Resident, Loaded, Failed or Lost. Release: the page's bytes, or the fault, are visible with it.
    /// Returns the state before.
    pub(crate) fn finish_loading(&self, phase: Phase) -> State {
        self.change(Phase::Loading, phase)
    }

    /// Loaded → Checking; one of several callers, who have pinned the frame, wins.
    pub(crate) fn begin_check(&self) -> bool {
        let mut seen = self.state.load(Ordering::Acquire);
        while State(seen).phase() == Phase::Loaded {
            let checking = seen - Phase::Loaded.bits() + Phase::Checking.bits();
            match self.state.compare_exchange_weak(
                seen,
                checking,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Checking → Resident, Failed, or Loading again, by the thread that checks. Returns the state before.
    pub(crate) fn end_check(&self, phase: Phase) -> State {
        self.change(Phase::Checking, phase)
    }

    /// Claimed → another phase.
    pub(crate) fn release_claim(&self, phase: Phase) {
        self.change(Phase::Claimed, phase);
    }

    fn change(&self, from: Phase, to: Phase) -> State {
        let by = to.bits().wrapping_sub(from.bits());
        State(self.state.fetch_add(by, Ordering::AcqRel))
    }

    /// Marks the page as superseded, unless it has just been evicted: then the frame is somebody else's already.
    #[cfg(test)]
    pub(crate) fn make_stale(&self) {
        let mut seen = self.state.load(Ordering::Relaxed);
        while matches!(State(seen).phase(), Phase::Loading | Phase::Resident) {
            let stale = seen | STALE;
            match self
                .state
                .compare_exchange(seen, stale, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Member → Claimed-by-its-extent and back need no atomics of their own: members are touched only by the owner of
    /// the first frame.
    pub(crate) fn set_member(&self) {
        self.change(Phase::Claimed, Phase::Member);
    }

    /// Member → Claimed, by the owner of the first frame.
    pub(crate) fn unset_member(&self) {
        self.change(Phase::Member, Phase::Claimed);
    }
}
