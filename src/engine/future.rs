//! A read as a future: executor-agnostic, cancel-safe, without an allocation of its own.

use super::chains::Chains;
use super::claim::{Pinned, RESTARTS_MAX};
use super::core::is_restart;
use super::field::FieldShared;
use super::view::View;
use crate::error::{Error, Result};
use crate::ring::fault::Fault;
use crate::ring::lane::Lane;
use crate::tiers::frame::Phase;
use crate::tiers::pool::Pool;
use crate::tiers::wait::Notify;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Made by [`crate::Field::read_async`]. Dropping it at any time is safe: the read ends in the engine's own memory.
#[must_use = "a future does nothing unless polled"]
pub struct ReadFuture<'f> {
    field: &'f FieldShared,
    range: Range<u64>,
    state: State,
    restarts: u32,
    /// When the first poll was, for the read deadline.
    started_ns: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Start,
    /// Waiting for somebody else's read to free a frame; it is pinned so that it stays what it is.
    Room {
        frame: u32,
        op: u32,
    },
    Reading {
        pinned: Pinned,
        op: u32,
        /// The unit whose read failed, of several the first.
        failed: Option<(u64, Fault)>,
    },
    Over,
}

impl fmt::Debug for ReadFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadFuture")
            .field("range", &self.range)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<'f> ReadFuture<'f> {
    pub(crate) fn new(field: &'f FieldShared, range: Range<u64>) -> ReadFuture<'f> {
        ReadFuture {
            field,
            range,
            state: State::Start,
            restarts: 0,
            started_ns: 0,
        }
    }

    fn pool(&self) -> &'f Pool {
        &self.field.core.pool
    }

    /// Claims the pages. `Ready` where there is an outcome at once.
    fn start(&mut self, context: &Context<'_>) -> Poll<Result<View<'f>>> {
        let field = self.field;
        let (first, count) = match field.ready().and_then(|()| field.units(&self.range)) {
            Ok(units) => units,
            Err(e) => return Poll::Ready(Err(e)),
        };
        if count == 0 {
            return Poll::Ready(Ok(self.view(Pinned::NOTHING)));
        }
        let mut chains = Chains::new();
        let pinned = match field.try_claim(first, count, &mut chains) {
            Ok(pinned) => pinned,
            Err(exhausted) => {
                return match exhausted.in_flight {
                    Some(frame) => self.wait_for_room(frame, context),
                    None => Poll::Ready(Err(field.pool_pinned(count))),
                };
            }
        };
        field.submit(Lane::Demand, &chains);
        if pinned.loading == 0 {
            return Poll::Ready(Ok(self.view(pinned)));
        }
        let Some(op) = self
            .pool()
            .ops
            .acquire(Notify::Waker(context.waker().clone()))
        else {
            // The pages come in all the same; whoever polls again finds them.
            field.unpin(&pinned);
            return Poll::Ready(Err(field.core.busy()));
        };
        self.state = State::Reading {
            pinned,
            op,
            failed: None,
        };
        field.begin_wait();
        self.go_on(context)
    }

    fn wait_for_room(&mut self, frame: u32, context: &Context<'_>) -> Poll<Result<View<'f>>> {
        let pool = self.pool();
        let loading = pool.frame(frame).pin().phase() == Phase::Loading;
        let op = pool.ops.acquire(Notify::Waker(context.waker().clone()));
        match op {
            Some(op) if loading && pool.ops.register(pool.frame(frame), op) => {
                // The list of a page with a checksum stays open when its read has ended, and nobody may look at it again.
                if pool.frame(frame).state().phase() == Phase::Loading {
                    self.state = State::Room { frame, op };
                    return Poll::Pending;
                }
                pool.ops.abandon(op);
            }
            Some(op) => pool.ops.release(op),
            None => {}
        }
        pool.unpin(frame);
        if op.is_none() {
            return Poll::Ready(Err(self.field.core.busy()));
        }
        // It ended in between: try again at once, but let others run first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Looks at the loading units, the last one first, and waits for the first that is not done.
    fn go_on(&mut self, context: &Context<'_>) -> Poll<Result<View<'f>>> {
        let State::Reading {
            mut pinned,
            op,
            mut failed,
        } = self.state
        else {
            return Poll::Pending;
        };
        let (field, pool) = (self.field, self.pool());
        while pinned.loading > 0 {
            let unit = field.waits_for(&pinned);
            let Some(frame) = field.frame_of(&pinned, unit) else {
                pinned.loading -= 1;
                continue;
            };
            match field.outcome(unit, frame) {
                None => {
                    self.state = State::Reading { pinned, op, failed };
                    pool.ops.rearm(op, Notify::Waker(context.waker().clone()));
                    if !pool.ops.register(pool.frame(frame), op) {
                        // Its list is closed: the outcome is a few instructions of another thread away.
                        std::thread::yield_now();
                        continue;
                    }
                    field.look_again(unit, frame);
                    return Poll::Pending;
                }
                Some(outcome) => {
                    pinned.loading -= 1;
                    match outcome {
                        Ok(()) => {}
                        // That a directory page failed has been said.
                        Err(Fault::Directory) if failed.is_some() => {}
                        Err(fault) => failed = Some((unit, fault)),
                    }
                }
            }
        }
        pool.ops.release(op);
        field.unpin_nodes(&mut pinned);
        field.end_wait();
        self.state = State::Over;
        match failed {
            None => Poll::Ready(Ok(self.view(pinned))),
            Some((unit, fault)) => {
                let e = field.fault_error(unit, fault);
                field.unpin(&pinned);
                if is_restart(&e) && self.restarts < RESTARTS_MAX {
                    self.restarts += 1;
                    self.state = State::Start;
                    return self.start(context);
                }
                Poll::Ready(Err(e))
            }
        }
    }

    fn view(&self, pinned: Pinned) -> View<'f> {
        let len = (self.range.end - self.range.start) as usize;
        View::new(self.field, self.range.start, len, pinned)
    }

    /// Gives everything back but the read itself.
    fn let_go(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Over);
        if self.field.core.is_forked() {
            return;
        }
        match state {
            State::Start | State::Over => {}
            State::Room { frame, op } => {
                self.pool().ops.abandon(op);
                self.pool().unpin(frame);
            }
            State::Reading { pinned, op, .. } => {
                self.pool().ops.abandon(op);
                self.field.end_wait();
                self.field.unpin(&pinned);
            }
        }
    }
}

impl<'f> Future for ReadFuture<'f> {
    type Output = Result<View<'f>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.field.core.is_forked() {
            this.state = State::Over;
            return Poll::Ready(Err(Error::Forked));
        }
        if this.started_ns == 0 && this.field.core.config.read_deadline.is_some() {
            this.started_ns = this.field.core.now_ns().max(1);
        }
        let outcome = match this.state {
            State::Start => this.start(context),
            State::Over => {
                // Polled again after its end: a bug of the executor, which may not hang for it.
                Poll::Ready(Err(Error::Busy {
                    what: "polls of a finished read",
                    limit: 1,
                }))
            }
            State::Room { op, .. } | State::Reading { op, .. } => {
                let pool = this.pool();
                if !pool.ops.is_done(op) && pool.ops.set_waker(op, context.waker()) {
                    Poll::Pending
                } else if let State::Room { frame, op } = this.state {
                    pool.ops.release(op);
                    pool.unpin(frame);
                    this.state = State::Start;
                    this.start(context)
                } else {
                    this.go_on(context)
                }
            }
        };
        if outcome.is_pending()
            && let Some(deadline) = this.field.core.config.read_deadline
            && this.field.core.now_ns().saturating_sub(this.started_ns)
                >= deadline.as_nanos() as u64
        {
            let page = match this.state {
                State::Reading { pinned, .. } => this.field.waits_for(&pinned),
                _ => this.field.geometry.unit(this.range.start),
            };
            this.let_go();
            return Poll::Ready(Err(Error::TimedOut {
                path: this.field.path.clone(),
                page,
                deadline,
            }));
        }
        if outcome.is_ready() {
            this.state = State::Over;
            this.field.core.feed_plan();
        }
        outcome
    }
}

impl Drop for ReadFuture<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}
