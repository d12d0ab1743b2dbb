//! Getting all pages of a range: pinning those that are there, claiming frames for the others, and waiting.

use super::chains::Chains;
use super::field::FieldShared;
use crate::error::{Error, Result};
use crate::ring::fault::Fault;
use crate::ring::lane::{Lane, Request};
use crate::ring::sys;
use crate::ring::telemetry::add;
use crate::tiers::frame::{DIRECTORY_UNITS, Key, Phase};
use crate::tiers::pool::{Claim, Exhausted, Pool, Purpose};
use crate::tiers::wait::{BatchWakes, Notify};
use std::time::Duration;

/// Units of one field that are pinned: `count` of them from `first` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pinned {
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// The frame of the only unit, where there is one unit.
    pub(crate) frame: u32,
    /// How many of the units, from the first on, may still be loading; the directory pages count behind them.
    pub(crate) loading: u32,
    /// How many directory pages above them are pinned too: none once all is checked.
    pub(crate) nodes: u32,
}

impl Pinned {
    pub(crate) const NOTHING: Pinned = Pinned {
        first: 0,
        count: 0,
        frame: Pool::NONE,
        loading: 0,
        nodes: 0,
    };

    /// One unit that is there.
    #[inline]
    pub(crate) fn resident(unit: u64, frame: u32) -> Pinned {
        Pinned {
            first: unit,
            count: 1,
            frame,
            loading: 0,
            nodes: 0,
        }
    }
}

/// How the read of a page ended.
pub(crate) type ReadOutcome = std::result::Result<(), Fault>;

/// A caller looks this long before it sleeps, in nanoseconds: about one read of a fast device.
const SPIN_NS: u64 = 50_000;

/// A read that found its field's prefetch cancelled under it starts again this often.
pub(crate) const RESTARTS_MAX: u32 = 8;

impl FieldShared {
    #[inline]
    pub(crate) fn key(&self, unit: u64) -> Key {
        Key {
            field: self.id,
            unit,
        }
    }

    /// The frame of a unit of `pinned`.
    #[inline]
    pub(crate) fn frame_of(&self, pinned: &Pinned, unit: u64) -> Option<u32> {
        if pinned.count == 1 && unit == pinned.first {
            Some(pinned.frame)
        } else {
            self.pool().pinned(self.key(unit))
        }
    }

    /// The last of the units of `pinned` that may still be loading: a page, or a directory page.
    pub(crate) fn waits_for(&self, pinned: &Pinned) -> u64 {
        match pinned.loading.checked_sub(pinned.count + 1) {
            Some(k) => self.node(pinned, k),
            None => pinned.first + u64::from(pinned.loading.saturating_sub(1)),
        }
    }

    /// Directory page `k` of those above `pinned`.
    fn node(&self, pinned: &Pinned, k: u32) -> u64 {
        let array = self.array.as_deref();
        let node = array.and_then(|array| array.node_above(pinned.first, pinned.count, k));
        node.unwrap_or(DIRECTORY_UNITS)
    }

    /// Pins or claims `count` units from `first` on, and where one of them has to be checked the directory pages above
    /// them, up to those that are there; the requests for what is to be read go to `own`, which is empty.
    ///
    /// # Errors
    /// [`Exhausted`] with nothing pinned and nothing claimed.
    pub(crate) fn try_claim(
        &self,
        first: u64,
        count: u32,
        own: &mut Chains,
    ) -> std::result::Result<Pinned, Exhausted> {
        let mut pinned = Pinned {
            first,
            count: 0,
            frame: Pool::NONE,
            loading: 0,
            nodes: 0,
        };
        let mut queued_ns = 0;
        let last = first + u64::from(count) - 1;
        for unit in first..=last {
            let span = self.geometry.span;
            let claim = match self.claim_one(unit, span, unit == last, &mut queued_ns, own) {
                Ok(claim) => claim,
                Err(exhausted) => {
                    self.give_up(own, pinned);
                    return Err(exhausted);
                }
            };
            pinned.count += 1;
            pinned.frame = claim.frame();
            if !matches!(claim, Claim::Hit(_)) {
                pinned.loading = pinned.count;
            }
        }
        let missed = own.count();
        self.core.misses.add(u64::from(missed));
        self.core.hits.add(u64::from(count - missed));
        if let Some(array) = self.array.as_deref()
            && pinned.loading > 0
        {
            for level in 0.. {
                let nodes = array.nodes_at(first, count, level);
                let mut resident = true;
                for _ in 0..nodes {
                    let node = self.node(&pinned, pinned.nodes);
                    match self.claim_one(node, 1, true, &mut queued_ns, own) {
                        Ok(claim) => {
                            pinned.nodes += 1;
                            if !matches!(claim, Claim::Hit(_)) {
                                pinned.loading = count + pinned.nodes;
                                resident = false;
                            }
                        }
                        Err(exhausted) => {
                            self.give_up(own, pinned);
                            return Err(exhausted);
                        }
                    }
                }
                // What is resident has been checked, and needs nothing above it.
                if resident {
                    break;
                }
            }
        }
        Ok(pinned)
    }

    /// Pins or claims one unit. Where it `ends` what is read, no more of it is read than is stored; another page is read
    /// whole, because that is one read together with the next.
    fn claim_one(
        &self,
        unit: u64,
        span: u32,
        ends: bool,
        queued_ns: &mut u64,
        own: &mut Chains,
    ) -> std::result::Result<Claim, Exhausted> {
        let claim = self.pool().claim(self.key(unit), span, Purpose::Demand)?;
        match claim {
            Claim::Hit(_) => {}
            Claim::Joined(frame) => self.promote(unit, frame),
            Claim::Owner(frame) => {
                if *queued_ns == 0 {
                    *queued_ns = self.core.now_ns();
                }
                let mut request = self.request(unit, Lane::Demand, *queued_ns, 0);
                if let Some(array) = self.array.as_deref().filter(|_| ends) {
                    request.bytes = self.stored_bytes(array, unit) as u32;
                    request.expected = request.bytes;
                }
                own.link(&self.pool().slots, self, unit, frame, request);
            }
        }
        Ok(claim)
    }

    pub(crate) fn request(&self, unit: u64, lane: Lane, queued_ns: u64, epoch: u32) -> Request {
        let (offset, bytes, expected) = match self.array.as_deref() {
            None => self.geometry.read(unit),
            Some(array) => {
                // A page of a member that is missing is refused before this.
                let bytes = array.page_bytes as u32;
                (array.offset_of(unit).unwrap_or(0), bytes, bytes)
            }
        };
        Request {
            // A file that no ring knows is answered like one that was closed.
            file: self.member_of(unit).map_or(u32::MAX, |m| m.file_index),
            offset,
            bytes,
            expected,
            lane,
            queued_ns,
            epoch,
            checked: self.array.is_some(),
            write: false,
        }
    }

    /// Undoes a claim that could not be completed: whoever joined a page of it starts again.
    fn give_up(&self, own: &mut Chains, pinned: Pinned) {
        let mut batches = BatchWakes::default();
        for (_, chain) in own.take_used() {
            self.pool().slots.each(&chain, |frame| {
                self.pool()
                    .complete(frame, Err(Fault::Closed), &mut batches);
            });
        }
        batches.flush();
        self.unpin(&pinned);
    }

    /// Gives the pins of directory pages back, once all pages are checked.
    pub(crate) fn unpin_nodes(&self, pinned: &mut Pinned) {
        for k in 0..std::mem::take(&mut pinned.nodes) {
            if let Some(frame) = self.pool().pinned(self.key(self.node(pinned, k))) {
                self.pool().unpin(frame);
            }
        }
    }

    /// Gives all pins back.
    #[inline]
    pub(crate) fn unpin(&self, pinned: &Pinned) {
        if pinned.count == 1 && pinned.nodes == 0 {
            self.pool().unpin(pinned.frame);
        } else {
            self.unpin_many(pinned);
        }
    }

    #[inline(never)]
    fn unpin_many(&self, pinned: &Pinned) {
        if self.core.is_forked() {
            return;
        }
        self.unpin_nodes(&mut { *pinned });
        for unit in pinned.first..pinned.first + u64::from(pinned.count) {
            if let Some(frame) = self.pool().pinned(self.key(unit)) {
                self.pool().unpin(frame);
            }
        }
    }

    /// Claims, submits and waits: the blocking way.
    pub(crate) fn acquire(&self, first: u64, count: u32) -> Result<Pinned> {
        let mut give_up_ns = None;
        for _ in 0..RESTARTS_MAX {
            let mut chains = Chains::new();
            let mut pinned = loop {
                match self.try_claim(first, count, &mut chains) {
                    Ok(claimed) => break claimed,
                    Err(exhausted) => self.make_room(exhausted, count, &mut give_up_ns)?,
                }
            };
            let alone = count == 1 && chains.single() == Some(pinned.frame);
            if !(alone && self.read_inline(first, pinned.frame)) {
                self.submit(Lane::Demand, &chains);
            }
            let waited = if pinned.loading == 0 {
                Ok(())
            } else {
                self.begin_wait();
                let waited = self.wait_all(&mut pinned);
                self.end_wait();
                waited
            };
            match waited {
                Ok(()) => {
                    self.unpin_nodes(&mut pinned);
                    return Ok(pinned);
                }
                Err(e) => {
                    self.unpin(&pinned);
                    if !matches!(
                        e,
                        Error::Read {
                            fault: Fault::Closed,
                            ..
                        }
                    ) {
                        return Err(e);
                    }
                }
            }
        }
        Err(self.fault_error(first, Fault::Closed))
    }

    /// Reads a claimed frame by itself where nobody else uses the device. False where it did not, or did not succeed:
    /// then the loop does it, and finds out what is wrong.
    fn read_inline(&self, unit: u64, frame: u32) -> bool {
        let Some(member) = self.member_of(unit) else {
            return false;
        };
        let shared = &member.ring.shared;
        let Some(readers_max) = self.core.inline_readers_max else {
            return false;
        };
        if !shared.begin_inline(readers_max) {
            return false;
        }
        let slot = self.pool().slots.get(frame);
        let vector = libc::iovec {
            iov_base: self.pool().address(frame).cast(),
            iov_len: slot.bytes() as usize,
        };
        // SAFETY: the frames of this unit were claimed by this thread (phase Loading, not submitted), and the unit's
        // bytes fit them (`Geometry`).
        let read = unsafe { sys::preadv(member.file.fd(), &[vector], slot.offset()) };
        shared.end_inline();
        if read.as_ref().is_ok_and(|&n| n == slot.expected()) {
            let now_ns = sys::now_ns();
            let counters = &shared.counters;
            add(&counters.ios, 1);
            add(&counters.inline_ios, 1);
            add(&counters.bytes, u64::from(slot.expected()));
            let times = shared.times(Lane::Demand);
            let queued_ns = slot.queued_ns.load(std::sync::atomic::Ordering::Relaxed);
            times.device_ns.record(now_ns.saturating_sub(queued_ns));
            times.queue_ns.record(0);
            let mut batches = BatchWakes::default();
            self.pool().complete(frame, Ok(()), &mut batches);
            batches.flush();
            return true;
        }
        if let Ok(n) = read {
            add(&shared.counters.bytes, u64::from(n));
            add(&shared.counters.ios, 1);
            add(&shared.counters.retries, 1);
        }
        false
    }

    /// Waits until a frame may be had: for a read in flight that nobody waits for, or for views to go (`pin_wait`).
    pub(crate) fn make_room(
        &self,
        exhausted: Exhausted,
        count: u32,
        give_up_ns: &mut Option<u64>,
    ) -> Result<()> {
        if let Some(frame) = exhausted.in_flight {
            return self.wait_for_frame(frame);
        }
        let now_ns = sys::now_ns();
        let until = *give_up_ns.get_or_insert_with(|| {
            now_ns.saturating_add(self.core.config.pin_wait.as_nanos() as u64)
        });
        if now_ns >= until {
            return Err(self.pool_pinned(count));
        }
        std::thread::sleep(Duration::from_nanos((until - now_ns).min(200_000)));
        Ok(())
    }

    pub(crate) fn pool_pinned(&self, count: u32) -> Error {
        Error::PoolPinned {
            need: u64::from(count) * u64::from(self.geometry.span),
            pinned: u64::from(self.pool().pinned_frames()),
            frames: u64::from(self.pool().frame_count()),
        }
    }

    /// Waits for a read that somebody else started and nobody waits for.
    pub(crate) fn wait_for_frame(&self, frame: u32) -> Result<()> {
        let header = self.pool().frame(frame);
        if header.pin().phase() == Phase::Loading {
            // Of another field, perhaps; that its read ended is enough, whoever checks what was read.
            let ended = |pool: &Pool| match pool.frame(frame).state().phase() {
                Phase::Loading => None,
                _ => Some(Ok(())),
            };
            let waited = self.wait_one(frame, self.overdue_ns(), |field| ended(field.pool()));
            self.pool().unpin(frame);
            if waited?.is_none() {
                return Err(Error::TimedOut {
                    path: self.path.clone(),
                    page: header.key().unit,
                    deadline: self.core.config.read_deadline.unwrap_or_default(),
                });
            }
        } else {
            self.pool().unpin(frame);
        }
        Ok(())
    }

    /// Waits for all loading units of `pinned`, the last one first.
    fn wait_all(&self, pinned: &mut Pinned) -> Result<()> {
        let mut outcome = Ok(());
        let overdue_ns = self.overdue_ns();
        while pinned.loading > 0 {
            let unit = self.waits_for(pinned);
            pinned.loading -= 1;
            let Some(frame) = self.frame_of(pinned, unit) else {
                continue;
            };
            match self.wait_one(frame, overdue_ns, |field| field.outcome(unit, frame))? {
                Some(Ok(())) => {}
                // That a directory page failed has been said.
                Some(Err(Fault::Directory)) if outcome.is_err() => {}
                Some(Err(fault)) => outcome = Err(self.fault_error(unit, fault)),
                None => {
                    return Err(Error::TimedOut {
                        path: self.path.clone(),
                        page: unit,
                        deadline: self.core.config.read_deadline.unwrap_or_default(),
                    });
                }
            }
        }
        outcome
    }

    /// When a read that starts now has taken too long.
    fn overdue_ns(&self) -> Option<u64> {
        let deadline = self.core.config.read_deadline?;
        Some(sys::now_ns().saturating_add(deadline.as_nanos() as u64))
    }

    /// Waits for one frame that the caller has pinned, and returns its `outcome`; `None` where it is `overdue_ns` first. A waiter can be woken before the read is over: that does not give it more time.
    ///
    /// The outcome is looked at once: a page that was given up can be read again for somebody else at any moment.
    pub(super) fn wait_one(
        &self,
        frame: u32,
        overdue_ns: Option<u64>,
        outcome: impl Fn(&FieldShared) -> Option<ReadOutcome>,
    ) -> Result<Option<ReadOutcome>> {
        let pool = self.pool();
        loop {
            if let Some(outcome) = outcome(self) {
                return Ok(Some(outcome));
            }
            let Some(op) = pool.ops.acquire(Notify::Thread) else {
                return Err(self.core.busy());
            };
            if !pool.ops.register(pool.frame(frame), op) {
                pool.ops.release(op);
                // The list is closed right before the phase changes.
                std::thread::yield_now();
                continue;
            }
            // Read between the look and the link: nobody else may be there to check it.
            if pool.is_unchecked(frame)
                && let Some(outcome) = outcome(self)
            {
                pool.ops.abandon(op);
                return Ok(Some(outcome));
            }
            self.core.spin.spin(SPIN_NS, || pool.ops.is_done(op));
            let left = overdue_ns
                .map(|overdue| Duration::from_nanos(overdue.saturating_sub(sys::now_ns())));
            if !pool.ops.block(op, left) {
                pool.ops.abandon(op);
                return Ok(None);
            }
            pool.ops.release(op);
        }
    }

    /// The error for a unit whose read failed.
    pub(crate) fn fault_error(&self, unit: u64, fault: Fault) -> Error {
        if matches!(fault, Fault::Short(_) | Fault::Grew)
            && let Some(member) = self.member_of(unit)
            && let Some(what) = member.file.changed()
        {
            return Error::FileChanged {
                path: member.file.path.clone(),
                what,
            };
        }
        let member = self.member_of(unit);
        let array = self.array.as_deref();
        Error::Read {
            path: member.map_or(&self.path, |m| &m.file.path).clone(),
            member: array.map(|array| array.member_of(unit)),
            page: unit,
            offset: match array {
                Some(array) => array.offset_of(unit).unwrap_or(0),
                None => self.geometry.bytes(unit).start,
            },
            fault,
        }
    }
}
