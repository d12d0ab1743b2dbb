//! Request slots and the lanes that carry them from callers to the submission loop.
//!
//! There is one slot per frame of the pool, and a frame has at most one read or write in flight. So a lane is an intrusive
//! stack over the slots: bounded by construction, one compare-and-swap for any number of requests, no allocation. The
//! loop takes the whole stack with one swap and turns it round, which restores the order of the callers.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No slot.
pub(crate) const NIL: u32 = u32::MAX;

/// One request: where in which file, how many bytes, which way, and what the loop has done about it.
///
/// Everything is written by the claimer before the slot is pushed (Release) and read by the loop after it was taken
/// (Acquire), then owned by the loop until it reports the slot done; hence relaxed accesses.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    /// Link of the lane the slot was pushed to.
    next: AtomicU32,
    /// Link of the promotion lane: a slot can be promoted while it waits in the prefetch lane.
    promote_next: AtomicU32,
    /// Index into the ring's file table.
    file: AtomicU32,
    /// Bytes to read or write: whole pages, a multiple of the file's alignment.
    bytes: AtomicU32,
    /// Bytes that the file has there; fewer than `bytes` only at its end, and never for a write.
    expected: AtomicU32,
    /// Bytes not delivered, or not stored, yet (loop only).
    pub(crate) remaining: AtomicU32,
    /// Bytes handed to the backend so far (loop only).
    pub(crate) issued: AtomicU32,
    /// [`PREFETCH`], [`PROMOTING`], [`WANTED`] and [`WRITE`].
    flags: AtomicU32,
    /// The plan a prefetch belongs to; 0 for none.
    epoch: AtomicU32,
    /// Offset in the file, in bytes.
    offset: AtomicU64,
    /// When it was pushed, nanoseconds of the monotonic clock.
    pub(crate) queued_ns: AtomicU64,
    /// First fault met, as [`super::fault::Fault::encode`]; 0 = none (loop only).
    pub(crate) fault: AtomicU64,
}

/// The slot waits in the prefetch lane.
const PREFETCH: u32 = 1;
/// The slot is in the promotion lane.
const PROMOTING: u32 = 2;
/// Somebody waits for the slot. Set by a reader that joins a prefetch, which may be before the prefetch is linked, let
/// alone pushed; so it is not cleared by linking, and a slot can carry it for no reason, which costs nothing.
const WANTED: u32 = 4;
/// What is read has a checksum, and is not to be used before it was compared.
const CHECKED: u32 = 16;
/// The slot's bytes go to the file. Set or cleared by every linking.
const WRITE: u32 = 8;

/// Which queue of the device a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for it.
    Demand,
    /// Somebody may ask for it later.
    Prefetch,
}

impl Slot {
    fn new() -> Slot {
        Slot {
            next: AtomicU32::new(NIL),
            promote_next: AtomicU32::new(NIL),
            file: AtomicU32::new(NIL),
            bytes: AtomicU32::new(0),
            expected: AtomicU32::new(0),
            remaining: AtomicU32::new(0),
            issued: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            offset: AtomicU64::new(0),
            queued_ns: AtomicU64::new(0),
            fault: AtomicU64::new(0),
        }
    }

    pub(crate) fn file(&self) -> u32 {
        self.file.load(Ordering::Relaxed)
    }
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes.load(Ordering::Relaxed)
    }
    pub(crate) fn expected(&self) -> u32 {
        self.expected.load(Ordering::Relaxed)
    }
    pub(crate) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }
    /// The plan a prefetch belongs to; 0 for none.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }
    /// The frame's bytes are written to the file; otherwise they are read from it.
    pub(crate) fn is_write(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & WRITE != 0
    }
    fn set_write(&self, write: bool) {
        if write {
            self.flags.fetch_or(WRITE, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!WRITE, Ordering::Relaxed);
        }
    }
    pub(crate) fn set_lane(&self, lane: Lane) {
        match lane {
            Lane::Demand => self.flags.fetch_and(!PREFETCH, Ordering::Relaxed),
            Lane::Prefetch => self.flags.fetch_or(PREFETCH, Ordering::Relaxed),
        };
    }
    /// Notes that somebody waits for the slot. True where the caller must push it to the promotion lane: nobody did so
    /// since [`Slot::promotion_taken`], and the loop may have put it among the prefetches already.
    pub(crate) fn want(&self) -> bool {
        let before = self.flags.fetch_or(WANTED, Ordering::AcqRel);
        before & (PREFETCH | WANTED) == PREFETCH
            && self.flags.fetch_or(PROMOTING, Ordering::AcqRel) & PROMOTING == 0
    }
    pub(crate) fn is_wanted(&self) -> bool {
        self.flags.load(Ordering::Acquire) & WANTED != 0
    }
    /// The slot's read or write is over.
    pub(crate) fn unwant(&self) {
        self.flags.fetch_and(!WANTED, Ordering::AcqRel);
    }
    pub(crate) fn is_checked(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & CHECKED != 0
    }
    fn set_checked(&self, checked: bool) {
        match checked {
            true => self.flags.fetch_or(CHECKED, Ordering::Relaxed),
            false => self.flags.fetch_and(!CHECKED, Ordering::Relaxed),
        };
    }
    pub(crate) fn promotion_taken(&self) {
        self.flags.fetch_and(!PROMOTING, Ordering::AcqRel);
    }
}

/// What a claimer asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) file: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) expected: u32,
    pub(crate) lane: Lane,
    pub(crate) queued_ns: u64,
    /// The plan a prefetch belongs to; 0 for none.
    pub(crate) epoch: u32,
    /// What is read has a checksum, and is not to be used before it was compared.
    pub(crate) checked: bool,
    /// The bytes go to the file; then the lane is [`Lane::Demand`], and `expected` is `bytes`.
    pub(crate) write: bool,
}

/// All slots of a pool; shared by the rings of all devices.
#[derive(Debug)]
pub(crate) struct Slots(Box<[Slot]>);

impl Slots {
    pub(crate) fn new(count: u32) -> Slots {
        Slots((0..count).map(|_| Slot::new()).collect())
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// The slot `index`, which every caller got from this table.
    pub(crate) fn get(&self, index: u32) -> &Slot {
        &self.0[index as usize]
    }

    /// Fills slot `index` and puts it in front of `chain`. The chain is built backwards: its last request first.
    pub(crate) fn link(&self, index: u32, request: Request, chain: &mut Chain) {
        let slot = self.get(index);
        slot.file.store(request.file, Ordering::Relaxed);
        slot.offset.store(request.offset, Ordering::Relaxed);
        slot.bytes.store(request.bytes, Ordering::Relaxed);
        slot.expected.store(request.expected, Ordering::Relaxed);
        slot.remaining.store(request.bytes, Ordering::Relaxed);
        slot.issued.store(0, Ordering::Relaxed);
        slot.fault.store(0, Ordering::Relaxed);
        slot.queued_ns.store(request.queued_ns, Ordering::Relaxed);
        slot.epoch.store(request.epoch, Ordering::Relaxed);
        slot.set_lane(request.lane);
        slot.set_checked(request.checked);
        slot.set_write(request.write);
        slot.next.store(chain.head, Ordering::Relaxed);
        if chain.head == NIL {
            chain.tail = index;
        }
        chain.head = index;
        chain.count += 1;
    }
}

impl Slots {
    /// Puts the requests of `newer` in front of those of `chain`.
    pub(crate) fn append(&self, chain: &mut Chain, newer: Chain) {
        if newer.is_empty() {
            return;
        }
        self.get(newer.tail)
            .next
            .store(chain.head, Ordering::Relaxed);
        if chain.is_empty() {
            chain.tail = newer.tail;
        }
        chain.head = newer.head;
        chain.count += newer.count;
    }

    /// Calls `f` for each slot of a chain that was not pushed.
    pub(crate) fn each(&self, chain: &Chain, mut f: impl FnMut(u32)) {
        let mut index = chain.head;
        for _ in 0..chain.count {
            let next = self.get(index).next.load(Ordering::Relaxed);
            f(index);
            index = next;
        }
    }
}

/// Requests linked by a caller but not pushed yet; newest first.
#[derive(Debug)]
pub(crate) struct Chain {
    head: u32,
    tail: u32,
    count: u32,
}

impl Chain {
    pub(crate) const fn new() -> Chain {
        Chain {
            head: NIL,
            tail: NIL,
            count: 0,
        }
    }
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// The only slot of a chain of one.
    pub(crate) fn single(&self) -> Option<u32> {
        (self.count == 1).then_some(self.head)
    }
}

/// A many-producer, single-consumer stack of slots.
#[derive(Debug)]
pub(crate) struct LaneStack {
    head: AtomicU32,
    /// The promotion lane uses the slots' second link.
    promotion: bool,
}

impl LaneStack {
    pub(crate) fn new(promotion: bool) -> LaneStack {
        LaneStack {
            head: AtomicU32::new(NIL),
            promotion,
        }
    }

    fn link_of<'s>(&self, slots: &'s Slots, index: u32) -> &'s AtomicU32 {
        let slot = slots.get(index);
        if self.promotion {
            &slot.promote_next
        } else {
            &slot.next
        }
    }

    /// Publishes a whole chain.
    pub(crate) fn push(&self, slots: &Slots, chain: &Chain) {
        if !chain.is_empty() {
            self.push_between(slots, chain.head, chain.tail);
        }
    }

    /// Publishes one slot by this lane's link.
    pub(crate) fn push_one(&self, slots: &Slots, index: u32) {
        self.push_between(slots, index, index);
    }

    fn push_between(&self, slots: &Slots, first: u32, last: u32) {
        let tail = self.link_of(slots, last);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            tail.store(head, Ordering::Relaxed);
            match self
                .head
                .compare_exchange_weak(head, first, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// True where nothing waits. Only a hint to anyone but the loop.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == NIL
    }

    /// Takes everything; `each` is called newest first.
    pub(crate) fn take(&self, slots: &Slots, mut each: impl FnMut(u32)) {
        if self.is_empty() {
            return;
        }
        let mut index = self.head.swap(NIL, Ordering::Acquire);
        while index != NIL {
            // The link is read before `each` may let the slot go.
            let next = self.link_of(slots, index).load(Ordering::Relaxed);
            each(index);
            index = next;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Chain, Lane, LaneStack, Request, Slots};

    fn request(offset: u64) -> Request {
        Request {
            file: 0,
            offset,
            bytes: 4096,
            expected: 4096,
            lane: Lane::Demand,
            queued_ns: 0,
            epoch: 0,
            checked: false,
            write: false,
        }
    }

    #[test]
    fn turning_a_taken_lane_round_gives_the_callers_order() {
        let slots = Slots::new(8);
        let lane = LaneStack::new(false);
        for pair in [[0u32, 1], [2, 3]] {
            let mut chain = Chain::new();
            for index in pair {
                slots.link(index, request(u64::from(index)), &mut chain);
            }
            lane.push(&slots, &chain);
        }
        let mut taken = Vec::new();
        lane.take(&slots, |index| taken.push(index));
        taken.reverse();
        assert_eq!(taken, [0, 1, 2, 3]);
        assert!(lane.is_empty());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::{Chain, Lane, LaneStack, Request, Slots};
    use loom::sync::Arc;

    #[test]
    fn loom_no_request_is_lost_between_callers_and_the_loop() {
        loom::model(|| {
            let shared = Arc::new((Slots::new(3), LaneStack::new(false)));
            let push = |indexes: &'static [u32]| {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let mut chain = Chain::new();
                    for &index in indexes {
                        let request = Request {
                            file: 7,
                            offset: u64::from(index) + 1,
                            bytes: 1,
                            expected: 1,
                            lane: Lane::Demand,
                            queued_ns: 0,
                            epoch: 0,
                            checked: false,
                            write: false,
                        };
                        shared.0.link(index, request, &mut chain);
                    }
                    shared.1.push(&shared.0, &chain);
                })
            };
            let (a, b) = (push(&[0, 1]), push(&[2]));
            let mut seen = [0u32; 3];
            let take = |seen: &mut [u32; 3]| {
                shared.1.take(&shared.0, |index| {
                    seen[index as usize] += 1;
                    // What the claimer wrote is visible with the slot.
                    assert_eq!(shared.0.get(index).offset(), u64::from(index) + 1);
                });
            };
            take(&mut seen);
            a.join().ok();
            b.join().ok();
            take(&mut seen);
            assert_eq!(seen, [1, 1, 1]);
        });
    }
}
