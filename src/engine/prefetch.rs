//! Reading ahead of need.

use super::builder::Prefetch;
use super::chains::Chains;
use super::field::FieldShared;
use crate::ring::lane::Lane;
use crate::tiers::pool::{Claim, Purpose};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

impl FieldShared {
    /// Queues the missing units of `ranges`; stops where the pool has no more room for what nobody asked for.
    pub(crate) fn prefetch(&self, ranges: &[Range<u64>]) -> usize {
        if self.ready().is_err() || self.core.config.prefetch == Prefetch::Off {
            return 0;
        }
        let mut chains = Chains::new();
        let queued_ns = self.core.now_ns();
        let mut dropped = 0;
        'all: for range in ranges {
            let end = range.end.min(self.geometry.len);
            if range.start >= end {
                continue;
            }
            let (first, last) = (self.geometry.unit(range.start), self.geometry.unit(end - 1));
            for unit in first..=last {
                if !self.claim_ahead(unit, Purpose::Prefetch, queued_ns, 0, &mut chains) {
                    dropped += last - unit + 1;
                    break 'all;
                }
            }
        }
        self.pool()
            .counters
            .prefetch_dropped
            .fetch_add(dropped, Relaxed);
        self.submit(Lane::Prefetch, &chains);
        chains.count() as usize
    }

    /// Claims a unit for reading ahead, unless it is there, and the directory pages above it. False where the pool has no
    /// room for it.
    pub(crate) fn claim_ahead(
        &self,
        unit: u64,
        purpose: Purpose,
        queued_ns: u64,
        epoch: u32,
        chains: &mut Chains,
    ) -> bool {
        let mut claim = |unit, span, purpose| match self.pool().claim(self.key(unit), span, purpose)
        {
            Ok(Claim::Owner(frame)) => {
                let request = self.request(unit, Lane::Prefetch, queued_ns, epoch);
                chains.link(&self.pool().slots, self, unit, frame, request);
                true
            }
            Ok(_) => true,
            Err(_) => false,
        };
        if let Some(array) = self.array.as_deref() {
            if array.missing(unit, 1).is_some() {
                return true;
            }
            let mut above = (0..).map_while(|k| array.node_above(unit, 1, k));
            if !above.all(|node| claim(node, 1, Purpose::Prefetch)) {
                return false;
            }
        }
        claim(unit, self.geometry.span, purpose)
    }
}
