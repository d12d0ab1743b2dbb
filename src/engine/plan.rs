//! A future that the host knows: the next layers of a dense model, the routed experts of this one.
//!
//! A plan is an ordered list of ranges. As much of it as fits is read ahead, in order; the rest follows as planned pages
//! are read by the host. Planned pages are the last to be evicted until they have been read or the plan is replaced.

use super::Engine;
use super::builder::Prefetch;
use super::chains::Chains;
use super::core::Core;
use super::field::{Field, FieldShared};
use crate::ring::lane::Lane;
use crate::ring::shared::Control;
use crate::sync::{Mutex, lock};
use crate::tiers::pool::Purpose;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// A plan goes on when this part of the pool has become free for it.
const PLAN_STEPS: u32 = 16;
/// The epoch of no plan.
const NO_PLAN: u32 = 0;

/// A range of a field, as [`Field::at`] names it.
#[derive(Debug, Clone)]
pub struct FieldRange {
    pub(crate) field: Field,
    pub(crate) range: Range<u64>,
}

/// The plan in force.
#[derive(Debug)]
pub(crate) struct PlanState {
    /// Epoch of the plan while some of it is not queued yet; `NO_PLAN` otherwise. Read on every miss, and on the first use of
    /// every page that was read ahead.
    feeding: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    epoch: u32,
    /// Weak, because a plan lives in the engine that a field holds: neither may keep the other alive.
    ranges: Vec<(Weak<FieldShared>, Range<u64>)>,
    /// The next range, and the next unit in it.
    at: usize,
    unit: Option<u64>,
    queued: u64,
}

impl Default for PlanState {
    fn default() -> PlanState {
        PlanState {
            feeding: AtomicU32::new(NO_PLAN),
            inner: Mutex::new(Inner::default()),
        }
    }
}

/// A handle on a declared plan. Dropping it leaves the plan in force.
#[derive(Debug)]
pub struct Plan {
    engine: Engine,
    epoch: u32,
}

impl Plan {
    /// Ends the plan: what is not being read yet is not read, and its pages are protected no longer.
    pub fn cancel(self) {
        self.engine.core.cancel_plan(Some(self.epoch));
    }

    /// Units (pages or extents) of the plan that have been queued or were found resident.
    pub fn queued(&self) -> u64 {
        if self.engine.core.is_forked() {
            return 0;
        }
        let inner = lock(&self.engine.core.plan.inner);
        if inner.epoch == self.epoch {
            inner.queued
        } else {
            0
        }
    }

    /// True where nothing of it will be queued any more: all of it has been, another plan took its place, or the engine
    /// reads nothing ahead ([`Prefetch::Off`]).
    pub fn is_queued(&self) -> bool {
        self.epoch == NO_PLAN || self.engine.core.plan.feeding.load(Relaxed) != self.epoch
    }
}

impl Engine {
    /// Declares what will be read next, in order; replaces the plan before. Exact knowledge: it outranks every
    /// prediction, for reading ahead and for eviction.
    ///
    /// Never blocks. What does not fit the pool (three quarters of it at most) is deferred until planned pages have been
    /// read. Ranges outside their field are cut to it. A plan does not keep its fields open.
    pub fn plan(&self, ranges: &[FieldRange]) -> Plan {
        let core = &self.core;
        if core.is_forked() || core.config.prefetch == Prefetch::Off {
            return Plan {
                engine: self.clone(),
                epoch: NO_PLAN,
            };
        }
        core.cancel_plan(None);
        let epoch = {
            let mut inner = lock(&core.plan.inner);
            inner.epoch = inner.epoch.wrapping_add(1).max(1);
            inner.ranges.clear();
            inner.ranges.extend(
                ranges
                    .iter()
                    .map(|planned| (Arc::downgrade(&planned.field.shared), planned.range.clone())),
            );
            inner.at = 0;
            inner.unit = None;
            inner.queued = 0;
            core.plan.feeding.store(inner.epoch, Relaxed);
            inner.epoch
        };
        core.feed_plan_now();
        Plan {
            engine: self.clone(),
            epoch,
        }
    }
}

impl Core {
    /// Ends the plan in force, if it is `epoch` or any.
    fn cancel_plan(&self, epoch: Option<u32>) {
        if self.is_forked() {
            return;
        }
        let epoch = {
            let mut inner = lock(&self.plan.inner);
            if inner.epoch == NO_PLAN || epoch.is_some_and(|epoch| epoch != inner.epoch) {
                return;
            }
            self.plan.feeding.store(NO_PLAN, Relaxed);
            inner.ranges.clear();
            inner.epoch
        };
        for ring in self.rings() {
            ring.shared.control(Control::Cancel { epoch });
        }
        self.pool.unprotect_planned();
    }

    /// Queues more of the plan where there is room. Called when planned pages may have been read.
    #[inline]
    pub(crate) fn feed_plan(&self) {
        // Not page by page: adjacent ones are to be read together.
        if self.plan.feeding.load(Relaxed) != NO_PLAN
            && self.pool.room_ahead() > self.pool.frame_count() / PLAN_STEPS
        {
            self.feed_plan_now();
        }
    }

    #[cold]
    fn feed_plan_now(&self) {
        if self.is_forked() {
            return;
        }
        let mut inner = lock(&self.plan.inner);
        let queued_ns = self.now_ns();
        while let Some((field, range)) = inner.ranges.get(inner.at).cloned() {
            // A field that was closed needs no more of its pages.
            let Some(shared) = field.upgrade() else {
                inner.at += 1;
                inner.unit = None;
                continue;
            };
            let end = range.end.min(shared.geometry.len);
            let mut chains = Chains::new();
            let mut full = false;
            if range.start < end && shared.ready().is_ok() {
                let last = shared.geometry.unit(end - 1);
                let mut unit = inner.unit.unwrap_or(shared.geometry.unit(range.start));
                while unit <= last {
                    if !shared.claim_ahead(
                        unit,
                        Purpose::Planned,
                        queued_ns,
                        inner.epoch,
                        &mut chains,
                    ) {
                        full = true;
                        break;
                    }
                    inner.queued += 1;
                    unit += 1;
                }
                inner.unit = Some(unit);
                shared.submit(Lane::Prefetch, &chains);
            }
            if full {
                return;
            }
            inner.at += 1;
            inner.unit = None;
        }
        self.plan.feeding.store(NO_PLAN, Relaxed);
    }
}
