//! Reading ahead of need.

use super::builder::Prefetch;
use super::field::FieldShared;
use crate::ring::lane::{Chain, Lane};
use crate::tiers::pool::{Claim, Purpose};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

impl FieldShared {
    /// Queues the missing units of `ranges`; stops where the pool has no more room for what nobody asked for.
    pub(crate) fn prefetch(&self, ranges: &[Range<u64>]) -> usize {
        if self.ready().is_err() || self.core.config.prefetch == Prefetch::Off {
            return 0;
        }
        let mut chain = Chain::new();
        let queued_ns = self.core.now_ns();
        let mut dropped = 0;
        'all: for range in ranges {
            let end = range.end.min(self.geometry.len);
            if range.start >= end {
                continue;
            }
            let (first, last) = (self.geometry.unit(range.start), self.geometry.unit(end - 1));
            for unit in first..=last {
                if !self.claim_ahead(unit, Purpose::Prefetch, queued_ns, 0, &mut chain) {
                    dropped += last - unit + 1;
                    break 'all;
                }
            }
        }
        self.pool()
            .counters
            .prefetch_dropped
            .fetch_add(dropped, Relaxed);
        self.ring.shared.submit(Lane::Prefetch, &chain);
        chain.count() as usize
    }

    /// Claims a unit for reading ahead, unless it is there. False where the pool has no room for it.
    pub(crate) fn claim_ahead(
        &self,
        unit: u64,
        purpose: Purpose,
        queued_ns: u64,
        epoch: u32,
        chain: &mut Chain,
    ) -> bool {
        match self
            .pool()
            .claim(self.key(unit), self.geometry.span, purpose)
        {
            Ok(Claim::Owner(frame)) => {
                let request = self.request(unit, Lane::Prefetch, queued_ns, epoch);
                self.pool().slots.link(frame, request, chain);
                true
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }
}
