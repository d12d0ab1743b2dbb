//! Many reads at once: one submission, results in the order of their arrival, a window that slides.

use super::chains::Chains;
use super::claim::{Pinned, RESTARTS_MAX};
use super::core::{Core, is_restart};
use super::field::{Field, FieldShared};
use super::view::View;
use crate::error::{Error, Result};
use crate::ring::fault::Fault;
use crate::ring::handle::Ring;
use crate::ring::lane::{Chain, Lane, Slots};
use crate::ring::sys;
use crate::tiers::wait::{Group, Notify};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

const CAPACITY_MAX: usize = 1 << 20;
/// With fewer reads in flight than this the thread looks before it sleeps,
const SPIN_DEPTH: u32 = 8;
/// for this long, in nanoseconds.
const SPIN_NS: u64 = 30_000;
/// Bytes of pages to be checked worth waking up for, and as many are checked before results that suffice go to the host,
/// which may have the next reads to submit.
const CHECKED_BYTES: u64 = 256 << 10;
const NO_OP: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Submitted by the host, not claimed yet.
    Staged,
    InFlight,
    Ready,
}

#[derive(Debug)]
struct Entry {
    stage: Stage,
    tag: u64,
    field: u32,
    start: u64,
    len: usize,
    first: u64,
    count: u32,
    pinned: Pinned,
    op: u32,
    restarts: u32,
    submitted_ns: u64,
    error: Option<Error>,
}

/// A reusable set of reads, all of whose memory is taken when it is made.
///
/// Either give it to [`Field::read_many`], or slide a window over it: [`Batch::submit`] some ranges, [`Batch::wait`] for
/// some results, take them with [`Batch::next`], submit more.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?; let path = dir.path().join("weights.bin");
/// # std::fs::write(&path, vec![7u8; 1_000_000])?;
/// let engine = ringfield::Engine::builder().dram_budget(8 << 20).page_size(4096).build()?;
/// let field = engine.open(&path)?;
/// let mut batch = engine.batch(32)?;
/// let mut rows = 0..1000u64;
/// for row in rows.by_ref().take(32) {
///     batch.submit(&field, row * 1000..row * 1000 + 1000, row)?;
/// }
/// let mut sum = 0u64;
/// while batch.wait(8) > 0 {
///     loop {
///         let Some(ready) = batch.next() else { break };
///         sum += ready.view()?.chunks().flatten().map(|&byte| u64::from(byte)).sum::<u64>();
///         drop(ready);
///         if let Some(row) = rows.next() {
///             batch.submit(&field, row * 1000..row * 1000 + 1000, row)?;
///         }
///     }
/// }
/// assert_eq!(sum, 7_000_000);
/// # Ok(()) }
/// ```
pub struct Batch {
    core: Arc<Core>,
    group: Arc<Group>,
    /// Fields that entries refer to.
    fields: Vec<Arc<FieldShared>>,
    entries: Box<[Entry]>,
    idle: Vec<u32>,
    staged: VecDeque<u32>,
    ready: VecDeque<u32>,
    /// Entries that were notified and not looked at since, oldest first.
    notified: Vec<u32>,
    requests: Requests,
    in_flight: u32,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("capacity", &self.entries.len())
            .field("staged", &self.staged.len())
            .field("in_flight", &self.in_flight)
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

/// Requests of several reads, by ring, that are handed over together.
#[derive(Default)]
pub(crate) struct Requests(Vec<(Arc<Ring>, Chain)>);

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Requests").field(&self.0.len()).finish()
    }
}

impl Requests {
    fn add(&mut self, slots: &Slots, ring: Arc<Ring>, chain: Chain) {
        match self
            .0
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, &ring))
        {
            Some((_, of_ring)) => slots.append(of_ring, chain),
            None => self.0.push((ring, chain)),
        }
    }

    /// Adds the requests of an entry.
    fn add_all(&mut self, field: &FieldShared, chains: &mut Chains) {
        for (number, chain) in chains.take_used() {
            if let Some(Some(member)) = field.members.get(number) {
                self.add(&field.core.pool.slots, member.ring.clone(), chain);
            }
        }
    }

    /// Hands them to the devices, one submission for each.
    pub(crate) fn submit(&mut self) {
        for (ring, chain) in self.0.drain(..) {
            ring.shared.submit(Lane::Demand, &chain);
        }
    }
}

impl Batch {
    pub(crate) fn new(core: &Arc<Core>, capacity: usize) -> Result<Batch> {
        if capacity == 0 || capacity > CAPACITY_MAX {
            return Err(Error::InvalidOption {
                option: "batch",
                value: capacity.to_string(),
                why: "1 to 1048576 ranges at a time".into(),
            });
        }
        let entry = || Entry {
            stage: Stage::Idle,
            tag: 0,
            field: 0,
            start: 0,
            len: 0,
            first: 0,
            count: 0,
            pinned: Pinned::NOTHING,
            op: NO_OP,
            restarts: 0,
            submitted_ns: 0,
            error: None,
        };
        Ok(Batch {
            core: core.clone(),
            group: Group::new(capacity),
            fields: Vec::with_capacity(8),
            entries: (0..capacity).map(|_| entry()).collect(),
            idle: (0..capacity as u32).rev().collect(),
            staged: VecDeque::with_capacity(capacity),
            ready: VecDeque::with_capacity(capacity),
            notified: Vec::with_capacity(capacity),
            requests: Requests(Vec::with_capacity(8)),
            in_flight: 0,
        })
    }

    /// Ranges it can hold.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Ranges submitted whose results have not been taken.
    pub fn pending(&self) -> usize {
        self.entries.len() - self.idle.len()
    }

    /// Stages a read of `range`; `tag` comes back with its result. Nothing happens before [`Batch::flush`] or
    /// [`Batch::wait`].
    ///
    /// # Errors
    /// [`Error::Busy`] where the batch is full; [`Error::OutOfBounds`], [`Error::RangeTooLarge`], [`Error::Forked`].
    pub fn submit(&mut self, field: &Field, range: Range<u64>, tag: u64) -> Result<()> {
        let shared = &field.shared;
        shared.ready()?;
        let (first, count) = shared.units(&range)?;
        let field = self.field_index(shared);
        let Some(index) = self.idle.pop() else {
            return Err(Error::Busy {
                what: "places of the batch",
                limit: self.entries.len() as u64,
            });
        };
        let entry = &mut self.entries[index as usize];
        entry.stage = Stage::Staged;
        entry.tag = tag;
        entry.field = field;
        entry.start = range.start;
        entry.len = (range.end - range.start) as usize;
        entry.first = first;
        entry.count = count;
        entry.pinned = Pinned::NOTHING;
        entry.restarts = 0;
        entry.error = None;
        self.staged.push_back(index);
        Ok(())
    }

    fn field_index(&mut self, shared: &Arc<FieldShared>) -> u32 {
        if let Some(index) = self.fields.iter().rposition(|f| Arc::ptr_eq(f, shared)) {
            return index as u32;
        }
        self.fields.push(shared.clone());
        self.fields.len() as u32 - 1
    }

    /// Hands everything staged to the devices, one submission for each.
    pub fn flush(&mut self) {
        if self.core.is_forked() {
            return;
        }
        self.start_staged(false, &mut None);
    }

    /// Like [`Batch::flush`], but leaves it to the caller to hand `requests` over, together with those of other batches:
    /// what is adjacent in a file is read together only if it is handed over together.
    pub(crate) fn flush_into(&mut self, requests: &mut Requests) {
        if self.core.is_forked() {
            return;
        }
        self.claim_staged(false, &mut None);
        for (ring, chain) in self.requests.0.drain(..) {
            requests.add(&self.core.pool.slots, ring, chain);
        }
    }

    /// Starts what is staged, as far as there is room. Where the host `keeps` its results, they make none.
    fn start_staged(&mut self, keeps: bool, give_up_ns: &mut Option<u64>) {
        self.claim_staged(keeps, give_up_ns);
        self.requests.submit();
    }

    fn claim_staged(&mut self, keeps: bool, give_up_ns: &mut Option<u64>) {
        while let Some(&index) = self.staged.front() {
            if !self.start(index, keeps, give_up_ns) {
                break;
            }
            self.staged.pop_front();
        }
    }

    /// Claims the pages of an entry. False where that must wait for results to be taken.
    fn start(&mut self, index: u32, keeps: bool, give_up_ns: &mut Option<u64>) -> bool {
        // Otherwise own reads in flight, or results that are taken, make room.
        let alone = self.in_flight == 0 && (keeps || self.ready.is_empty());
        let entry = &mut self.entries[index as usize];
        if entry.count == 0 {
            entry.stage = Stage::Ready;
            self.ready.push_back(index);
            return true;
        }
        let field = &self.fields[entry.field as usize];
        let Some(op) = self.core.pool.ops.acquire(Notify::Thread) else {
            if !alone {
                return false;
            }
            entry.error = Some(self.core.busy());
            entry.stage = Stage::Ready;
            self.ready.push_back(index);
            return true;
        };
        let mut chains = Chains::new();
        loop {
            match field.try_claim(entry.first, entry.count, &mut chains) {
                Ok(pinned) => {
                    entry.pinned = pinned;
                    self.requests.add_all(field, &mut chains);
                    break;
                }
                Err(exhausted) => {
                    let room = match alone {
                        true => field.make_room(exhausted, entry.count, give_up_ns),
                        false => {
                            self.core.pool.ops.release(op);
                            return false;
                        }
                    };
                    if let Err(e) = room {
                        self.core.pool.ops.release(op);
                        entry.error = Some(e);
                        entry.stage = Stage::Ready;
                        self.ready.push_back(index);
                        return true;
                    }
                }
            }
        }
        entry.op = op;
        entry.stage = Stage::InFlight;
        entry.submitted_ns = if self.core.config.read_deadline.is_some() {
            sys::now_ns()
        } else {
            0
        };
        self.in_flight += 1;
        self.advance(index);
        true
    }

    /// Looks at the loading units of an entry, the last one first, and waits for the first that is not done.
    fn advance(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let field = &self.fields[entry.field as usize];
        let pool = &self.core.pool;
        while entry.pinned.loading > 0 {
            let unit = field.waits_for(&entry.pinned);
            let Some(frame) = field.frame_of(&entry.pinned, unit) else {
                entry.pinned.loading -= 1;
                continue;
            };
            match field.outcome(unit, frame) {
                None => {
                    pool.ops
                        .rearm(entry.op, Notify::Batch(self.group.clone(), index));
                    if !pool.ops.register(pool.frame(frame), entry.op) {
                        // Its list is closed: the outcome is a few instructions of another thread away.
                        std::thread::yield_now();
                        continue;
                    }
                    field.look_again(unit, frame);
                    return;
                }
                Some(outcome) => {
                    entry.pinned.loading -= 1;
                    match outcome {
                        Ok(()) => {}
                        // That a directory page failed has been said.
                        Err(Fault::Directory) if entry.error.is_some() => {}
                        Err(fault) => entry.error = Some(field.fault_error(unit, fault)),
                    }
                }
            }
        }
        pool.ops.release(entry.op);
        field.unpin_nodes(&mut entry.pinned);
        self.in_flight -= 1;
        if entry.error.is_some() {
            field.unpin(&entry.pinned);
            entry.pinned = Pinned::NOTHING;
        }
        if entry.error.as_ref().is_some_and(is_restart) && entry.restarts < RESTARTS_MAX {
            entry.restarts += 1;
            entry.error = None;
            entry.stage = Stage::Staged;
            self.staged.push_back(index);
            return;
        }
        entry.stage = Stage::Ready;
        self.ready.push_back(index);
    }

    /// Hands over what is staged and blocks until at least `min` results can be taken, or all there are. Returns how many
    /// can; 0 means that nothing is pending.
    pub fn wait(&mut self, min: usize) -> usize {
        if self.core.is_forked() {
            self.fail_all(&Error::Forked);
            return self.ready.len();
        }
        self.flush();
        loop {
            let ready = self.ready.len();
            if ready >= min.max(1) || (self.in_flight == 0 && self.staged.is_empty()) {
                if self.notified.is_empty() {
                    self.collect(0, ready);
                }
                return self.ready.len();
            }
            if self.in_flight == 0 {
                // Staged entries that wait for results to be taken.
                self.flush();
                if self.in_flight == 0 {
                    return self.ready.len();
                }
                continue;
            }
            let missing = (min.max(1) - ready).min(self.in_flight as usize);
            self.collect(missing as u32, min.max(1));
            self.flush();
        }
    }

    /// Makes results of all that is under way, without touching what other threads may hold.
    fn fail_all(&mut self, error: &Error) {
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if matches!(entry.stage, Stage::Staged | Stage::InFlight) {
                entry.stage = Stage::Ready;
                entry.pinned = Pinned::NOTHING;
                entry.error = Some(error.clone());
                self.ready.push_back(index as u32);
            }
        }
        self.staged.clear();
        self.in_flight = 0;
    }

    /// Takes in what was notified, after waiting for `want` of it where there is nothing; where pages have to be checked, no
    /// more than it takes to have `enough` results, and some.
    fn collect(&mut self, want: u32, enough: usize) {
        let timeout = self.patience();
        // Pages with checksums are checked while others are on their way, not when all are there.
        let want = match self.fields.iter().any(|field| field.array.is_some()) {
            _ if !self.notified.is_empty() => 0,
            true => want.min((CHECKED_BYTES / self.core.pool.frame_bytes).max(1) as u32),
            false => want,
        };
        // With one device the loop can wait for as much as this thread does.
        let ring = match &self.fields[..] {
            [first, rest @ ..] if want > 1 => first
                .only_ring()
                .filter(|ring| {
                    let same = |f: &Arc<FieldShared>| {
                        f.only_ring().is_some_and(|other| Arc::ptr_eq(other, ring))
                    };
                    rest.iter().all(same)
                })
                .map(|ring| &ring.shared),
            _ => None,
        };
        if let Some(ring) = ring {
            ring.set_batch_want(want);
        }
        if want > 0 && self.in_flight < SPIN_DEPTH {
            let group = &self.group;
            self.core.spin.spin(SPIN_NS, || group.count() >= want);
        }
        self.group.take(&mut self.notified, want, timeout);
        if let Some(ring) = ring {
            ring.set_batch_want(0);
        }
        let (mut looked_at, mut checked_bytes) = (0, 0);
        while let Some(&index) = self.notified.get(looked_at)
            && (checked_bytes < CHECKED_BYTES || self.ready.len() < enough)
        {
            looked_at += 1;
            let entry = &self.entries[index as usize];
            if self.fields[entry.field as usize].array.is_some() {
                checked_bytes += u64::from(entry.count) * self.core.pool.frame_bytes;
            }
            self.advance(index);
        }
        self.notified.drain(..looked_at);
        if timeout.is_some() {
            self.time_out();
        }
    }

    /// How long until the oldest read in flight is overdue.
    fn patience(&self) -> Option<Duration> {
        let deadline = self.core.config.read_deadline?;
        let oldest = self
            .in_flight_entries()
            .map(|(_, e)| e.submitted_ns)
            .min()?;
        let waited = Duration::from_nanos(sys::now_ns().saturating_sub(oldest));
        Some(deadline.saturating_sub(waited))
    }

    fn in_flight_entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.entries.iter().enumerate();
        entries.filter(|(_, entry)| entry.stage == Stage::InFlight)
    }

    /// Gives up on reads that are overdue.
    fn time_out(&mut self) {
        let Some(deadline) = self.core.config.read_deadline else {
            return;
        };
        let now_ns = sys::now_ns();
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            let waited = Duration::from_nanos(now_ns.saturating_sub(entry.submitted_ns));
            if entry.stage != Stage::InFlight || waited < deadline {
                continue;
            }
            // One that was notified is among those to be collected, now or in a moment: it ends there.
            if !self.core.pool.ops.give_up(entry.op) {
                continue;
            }
            let field = &self.fields[entry.field as usize];
            field.unpin(&entry.pinned);
            entry.error = Some(Error::TimedOut {
                path: field.path.clone(),
                page: field.waits_for(&entry.pinned),
                deadline,
            });
            entry.pinned = Pinned::NOTHING;
            entry.stage = Stage::Ready;
            self.in_flight -= 1;
            self.ready.push_back(index as u32);
        }
    }

    /// Takes the next result; `None` where none is ready now ([`Batch::wait`] for more).
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Ready<'_>> {
        let index = self.ready.pop_front()?;
        Some(Ready { batch: self, index })
    }

    /// The view of range `index` of the last [`Field::read_many`].
    ///
    /// # Errors
    /// The error of that range; [`Error::Busy`] for a range that was not read.
    pub fn view(&self, index: usize) -> Result<View<'_>> {
        match self.entries.get(index) {
            Some(entry) if entry.stage == Stage::Ready => self.view_of(entry),
            _ => Err(Error::Busy {
                what: "ranges of the last read_many",
                limit: self.ready.len() as u64,
            }),
        }
    }

    fn view_of(&self, entry: &Entry) -> Result<View<'_>> {
        match &entry.error {
            _ if self.core.is_forked() => Err(Error::Forked),
            Some(error) => Err(error.clone()),
            None => {
                let field = &self.fields[entry.field as usize];
                Ok(View::borrowed(field, entry.start, entry.len, entry.pinned))
            }
        }
    }

    pub(crate) fn read_many(&mut self, field: &Field, ranges: &[Range<u64>]) -> Result<()> {
        self.clear();
        if ranges.len() > self.entries.len() {
            return Err(Error::Busy {
                what: "places of the batch",
                limit: self.entries.len() as u64,
            });
        }
        for (tag, range) in ranges.iter().enumerate() {
            if let Err(e) = self.submit(field, range.clone(), tag as u64) {
                self.clear();
                return Err(e);
            }
        }
        let mut give_up_ns = None;
        self.start_staged(true, &mut give_up_ns);
        while self.in_flight > 0 || !self.staged.is_empty() {
            self.collect(self.in_flight, usize::MAX);
            self.start_staged(true, &mut give_up_ns);
        }
        self.core.feed_plan();
        let failed = self.entries[..ranges.len()]
            .iter()
            .find_map(|entry| entry.error.clone());
        failed.map_or(Ok(()), Err)
    }

    /// Drops all results and forgets all reads; those in flight end in the engine's memory.
    pub fn clear(&mut self) {
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if entry.stage == Stage::Idle {
                continue;
            }
            if entry.stage == Stage::InFlight && !self.core.is_forked() {
                self.core.pool.ops.abandon(entry.op);
            }
            if entry.pinned.count > 0 {
                self.fields[entry.field as usize].unpin(&entry.pinned);
            }
            entry.stage = Stage::Idle;
            entry.pinned = Pinned::NOTHING;
            entry.error = None;
        }
        // Places are taken in their order.
        self.idle.clear();
        self.idle.extend((0..self.entries.len() as u32).rev());
        if self.in_flight > 0 {
            // Notifications of abandoned reads must not reach the entries' next users.
            self.group = Group::new(self.entries.len());
        }
        self.in_flight = 0;
        self.staged.clear();
        self.ready.clear();
        self.notified.clear();
        self.fields.clear();
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if entry.pinned.count > 0 {
            self.fields[entry.field as usize].unpin(&entry.pinned);
        }
        entry.pinned = Pinned::NOTHING;
        entry.stage = Stage::Idle;
        entry.error = None;
        self.idle.push(index);
        if self.idle.len() == self.entries.len() && self.fields.len() > 8 {
            self.fields.clear();
        }
        self.core.feed_plan();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A result of a [`Batch`]; its pages are unpinned when it is dropped.
#[derive(Debug)]
pub struct Ready<'b> {
    batch: &'b mut Batch,
    index: u32,
}

impl Ready<'_> {
    /// The tag it was submitted with.
    pub fn tag(&self) -> u64 {
        self.batch.entries[self.index as usize].tag
    }

    /// The bytes.
    ///
    /// # Errors
    /// Those of [`Field::read`].
    pub fn view(&self) -> Result<View<'_>> {
        self.batch.view_of(&self.batch.entries[self.index as usize])
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        self.batch.release(self.index);
    }
}
