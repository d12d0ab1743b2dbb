//! Waiting for a page that is being read.
//!
//! A waiter takes an *operation slot* out of a fixed set and links it into the frame's list. The list is closed when the
//! read is over, so a waiter either is in it and will be notified, or finds it closed and need not wait. Slots belong to
//! the engine: a future that is dropped only marks its slot abandoned, and whoever completes the read puts it back.
//! Each operation waits for one frame at a time; reads of several pages wait for the last one first, because pages
//! complete roughly in order.

use super::frame::Frame;
use crate::ring::sys;
use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, Ordering, lock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Nobody waits for the frame.
pub(crate) const EMPTY: u32 = u32::MAX;
/// The frame's read is over.
pub(crate) const CLOSED: u32 = u32::MAX - 1;

const WAITING: u32 = 0;
/// Its thread sleeps on the word.
const PARKED: u32 = 1;
const DONE: u32 = 2;
const ABANDONED: u32 = 3;

/// Whom to tell.
#[derive(Debug)]
pub(crate) enum Notify {
    /// The thread that looks at the word.
    Thread,
    /// A task.
    Waker(Waker),
    /// A batch; the number is the entry in it.
    Batch(Arc<Group>, u32),
}

#[derive(Debug)]
#[repr(align(64))]
struct Op {
    next: AtomicU32,
    word: AtomicU32,
    notify: Mutex<Option<Notify>>,
    /// Stands for the futex under the model checker.
    #[cfg(loom)]
    sleeper: loom::sync::Notify,
}

impl Op {
    fn new(next: u32) -> Op {
        Op {
            next: AtomicU32::new(next),
            word: AtomicU32::new(DONE),
            notify: Mutex::new(None),
            #[cfg(loom)]
            sleeper: loom::sync::Notify::new(),
        }
    }

    /// Sleeps while the word says `PARKED`, at most `timeout`; can return for no reason.
    #[cfg(not(loom))]
    fn sleep(&self, timeout: Option<Duration>) {
        sys::futex_wait(&self.word, PARKED, timeout);
    }

    #[cfg(not(loom))]
    fn wake(&self) {
        sys::futex_wake(&self.word, 1);
    }

    #[cfg(loom)]
    fn sleep(&self, _timeout: Option<Duration>) {
        self.sleeper.wait();
    }

    #[cfg(loom)]
    fn wake(&self) {
        self.sleeper.notify();
    }
}

/// The list of a frame whose read is over.
#[derive(Debug)]
pub(crate) struct Waiters(u32);

/// The operation slots of an engine.
#[derive(Debug)]
pub(crate) struct Ops {
    slots: Box<[Op]>,
    /// Free slots: a stack, with a counter in the high half against ABA.
    free: AtomicU64,
}

impl Ops {
    pub(crate) fn new(count: u32) -> Ops {
        let slots: Box<[Op]> = (0..count)
            .map(|index| Op::new(if index + 1 < count { index + 1 } else { EMPTY }))
            .collect();
        Ops {
            slots,
            free: AtomicU64::new(0),
        }
    }

    pub(crate) fn memory_bytes(count: u32) -> u64 {
        u64::from(count) * size_of::<Op>() as u64
    }

    fn op(&self, index: u32) -> &Op {
        &self.slots[index as usize]
    }

    /// A free slot, ready to be linked.
    pub(crate) fn acquire(&self, notify: Notify) -> Option<u32> {
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            let index = free as u32;
            if index == EMPTY {
                return None;
            }
            let next = self.op(index).next.load(Ordering::Relaxed);
            let tagged = (free >> 32).wrapping_add(1) << 32 | u64::from(next);
            match self
                .free
                .compare_exchange_weak(free, tagged, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    *lock(&self.op(index).notify) = Some(notify);
                    self.op(index).word.store(WAITING, Ordering::Relaxed);
                    return Some(index);
                }
                Err(now) => free = now,
            }
        }
    }

    /// Gives a slot back that is in no list.
    pub(crate) fn release(&self, index: u32) {
        *lock(&self.op(index).notify) = None;
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            self.op(index).next.store(free as u32, Ordering::Relaxed);
            let tagged = (free >> 32).wrapping_add(1) << 32 | u64::from(index);
            match self
                .free
                .compare_exchange_weak(free, tagged, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }

    /// Arms a slot that was notified for another wait.
    pub(crate) fn rearm(&self, index: u32, notify: Notify) {
        *lock(&self.op(index).notify) = Some(notify);
        self.op(index).word.store(WAITING, Ordering::Relaxed);
    }

    /// Links the slot into the list of a frame that the caller has pinned. False where the read is over already.
    pub(crate) fn register(&self, frame: &Frame, index: u32) -> bool {
        let mut head = frame.waiters.load(Ordering::Acquire);
        loop {
            if head == CLOSED {
                return false;
            }
            self.op(index).next.store(head, Ordering::Relaxed);
            // Acquire: where the list was emptied because the page is to be checked, its phase is seen with that.
            match frame.waiters.compare_exchange_weak(
                head,
                index,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// Puts another waker in place. False where the notification came first.
    pub(crate) fn set_waker(&self, index: u32, waker: &Waker) -> bool {
        let op = self.op(index);
        let mut notify = lock(&op.notify);
        if op.word.load(Ordering::Acquire) == DONE {
            return false;
        }
        match &mut *notify {
            Some(Notify::Waker(old)) => old.clone_from(waker),
            other => *other = Some(Notify::Waker(waker.clone())),
        }
        true
    }

    pub(crate) fn is_done(&self, index: u32) -> bool {
        self.op(index).word.load(Ordering::Acquire) == DONE
    }

    /// Stops waiting. The slot goes back now, or when its frame completes.
    pub(crate) fn abandon(&self, index: u32) {
        if !self.give_up(index) {
            self.release(index);
        }
    }

    /// Stops waiting, unless it is over. True where the slot goes back when its frame completes; false where it has been
    /// notified, or is being, and stays the caller's.
    pub(crate) fn give_up(&self, index: u32) -> bool {
        let op = self.op(index);
        // The waker goes now rather than when the read ends.
        let waiting = {
            let mut notify = lock(&op.notify);
            if op.word.load(Ordering::Acquire) == DONE {
                return false;
            }
            op.word.store(ABANDONED, Ordering::Release);
            notify.take()
        };
        drop(waiting);
        true
    }

    /// Blocks until notified; false where `timeout` came first.
    pub(crate) fn block(&self, index: u32, timeout: Option<Duration>) -> bool {
        let word = &self.op(index).word;
        let until = timeout.map(|t| sys::now_ns().saturating_add(t.as_nanos() as u64));
        if word
            .compare_exchange(WAITING, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            return true;
        }
        loop {
            let left = until.map(|ns| Duration::from_nanos(ns.saturating_sub(sys::now_ns())));
            if left.is_some_and(|left| left.is_zero()) {
                return word.load(Ordering::Acquire) == DONE;
            }
            self.op(index).sleep(left);
            if word.load(Ordering::Acquire) == DONE {
                return true;
            }
        }
    }

    /// Closes the list of a frame whose read is over. To be done before the phase says so: from then on the frame may be
    /// read again for somebody else. [`Ops::notify_all`] follows.
    #[must_use]
    pub(crate) fn close(&self, frame: &Frame) -> Waiters {
        Waiters(frame.waiters.swap(CLOSED, Ordering::AcqRel))
    }

    /// Takes everyone out of a frame's list and leaves it open, or closed where it has been closed meanwhile: somebody who
    /// waited was faster. An open list is written to in any case, so that whoever links itself afterwards sees what
    /// happened before.
    #[must_use]
    pub(crate) fn take(&self, frame: &Frame) -> Waiters {
        let mut head = frame.waiters.load(Ordering::Acquire);
        while head != CLOSED {
            match frame.waiters.compare_exchange_weak(
                head,
                EMPTY,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        Waiters(head)
    }

    /// Notifies everyone who was in a list. Batches are collected in `batches`.
    pub(crate) fn notify_all(&self, waiters: Waiters, batches: &mut BatchWakes) {
        self.notify_list(waiters.0, batches);
    }

    /// Notifies everyone who waits for a frame, but leaves its list open.
    pub(crate) fn nudge(&self, frame: &Frame, batches: &mut BatchWakes) {
        let waiters = self.take(frame);
        self.notify_list(waiters.0, batches);
    }

    fn notify_list(&self, mut index: u32, batches: &mut BatchWakes) {
        while index != EMPTY && index != CLOSED {
            // Read first: once notified, the slot may be linked elsewhere.
            let next = self.op(index).next.load(Ordering::Relaxed);
            self.notify(index, batches);
            index = next;
        }
    }

    fn notify(&self, index: u32, batches: &mut BatchWakes) {
        let op = self.op(index);
        // Under one lock: once the word says done, the waiter may give the slot to somebody else.
        let (before, waiting) = {
            let mut notify = lock(&op.notify);
            (op.word.swap(DONE, Ordering::AcqRel), notify.take())
        };
        if before == ABANDONED {
            return self.release(index);
        }
        if before == PARKED {
            // Where the slot has a new owner already, that one looks at its word again and sleeps on.
            return op.wake();
        }
        match waiting {
            None | Some(Notify::Thread) => {}
            // A waker is foreign code on this thread: its panic must not take the device's loop with it.
            Some(Notify::Waker(waker)) => {
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
            Some(Notify::Batch(group, entry)) => batches.done(group, entry),
        }
    }
}

/// The completion side of a batch.
#[derive(Debug)]
pub(crate) struct Group {
    state: Mutex<GroupState>,
    wake: Condvar,
    /// Length of `done`, for a look without the lock.
    count: AtomicU32,
}

#[derive(Debug)]
struct GroupState {
    /// Entries whose operation was notified, oldest first.
    done: Vec<u32>,
    /// A thread sleeps until this many are done; 0 for none.
    want: u32,
}

impl Group {
    pub(crate) fn new(capacity: usize) -> Arc<Group> {
        Arc::new(Group {
            state: Mutex::new(GroupState {
                done: Vec::with_capacity(capacity),
                want: 0,
            }),
            wake: Condvar::new(),
            count: AtomicU32::new(0),
        })
    }

    /// Moves what is done to `into`; where nothing is, sleeps until `want` entries are, at most `timeout`.
    pub(crate) fn take(&self, into: &mut Vec<u32>, want: u32, timeout: Option<Duration>) {
        let mut state = lock(&self.state);
        let until = timeout.map(|t| sys::now_ns().saturating_add(t.as_nanos() as u64));
        while (state.done.len() as u32) < want {
            state.want = want;
            state = match until {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_sub(sys::now_ns());
                    if left == 0 {
                        break;
                    }
                    let left = Duration::from_nanos(left);
                    self.wake
                        .wait_timeout(state, left)
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .0
                }
            };
        }
        state.want = 0;
        self.count.store(0, Ordering::Relaxed);
        into.append(&mut state.done);
    }

    fn push(&self, entry: u32) {
        let mut state = lock(&self.state);
        state.done.push(entry);
        self.count.store(state.done.len() as u32, Ordering::Release);
    }

    /// How many are done. Only a hint.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    fn wake_if_enough(&self) {
        let mut state = lock(&self.state);
        if state.want != 0 && state.done.len() as u32 >= state.want {
            state.want = 0;
            drop(state);
            self.wake.notify_one();
        }
    }
}

const BATCHES_MAX: usize = 16;

/// Batches with news in this round of completions: each is woken once, not once a page.
#[derive(Debug, Default)]
pub(crate) struct BatchWakes {
    groups: [Option<Arc<Group>>; BATCHES_MAX],
    count: usize,
}

impl BatchWakes {
    fn done(&mut self, group: Arc<Group>, entry: u32) {
        group.push(entry);
        let known = self.groups[..self.count]
            .iter()
            .flatten()
            .any(|g| Arc::ptr_eq(g, &group));
        if known {
            return;
        }
        if self.count == BATCHES_MAX {
            self.flush();
        }
        self.groups[self.count] = Some(group);
        self.count += 1;
    }

    /// Wakes them.
    pub(crate) fn flush(&mut self) {
        for group in &mut self.groups[..self.count] {
            if let Some(group) = group.take() {
                group.wake_if_enough();
            }
        }
        self.count = 0;
    }
}
