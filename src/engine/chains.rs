//! Requests of one call, sorted by the member of the array whose device they are for. Passed by reference, never moved:
//! that would copy the room for all members.

use super::array::MEMBERS_MAX;
use super::field::FieldShared;
use crate::ring::lane::{Chain, Lane, Request, Slots};

/// See the module.
#[derive(Debug)]
pub(crate) struct Chains {
    /// Of a field's only file, or an array's first member.
    first: Chain,
    /// Of the other members: most fields have none, and need not pay for them.
    others: Option<[Chain; MEMBERS_MAX as usize - 1]>,
}

impl Chains {
    pub(crate) const fn new() -> Chains {
        Chains {
            first: Chain::new(),
            others: None,
        }
    }

    /// Fills the slot of `frame` with a request for a unit of `field`.
    pub(crate) fn link(
        &mut self,
        slots: &Slots,
        field: &FieldShared,
        unit: u64,
        frame: u32,
        request: Request,
    ) {
        let chain = match field.member_number(unit).checked_sub(1) {
            None => Some(&mut self.first),
            Some(other) => self
                .others
                .get_or_insert([const { Chain::new() }; MEMBERS_MAX as usize - 1])
                .get_mut(other as usize),
        };
        if let Some(chain) = chain {
            slots.link(frame, request, chain);
        }
    }

    /// The chains that hold anything, and whose they are.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &Chain)> {
        let chains = std::iter::once(&self.first).chain(self.others.iter().flatten());
        chains.enumerate().filter(|(_, chain)| !chain.is_empty())
    }

    /// Takes those chains.
    pub(crate) fn take_used(&mut self) -> impl Iterator<Item = (usize, Chain)> {
        let chains = std::iter::once(&mut self.first).chain(self.others.iter_mut().flatten());
        chains
            .enumerate()
            .filter(|(_, chain)| !chain.is_empty())
            .map(|(member, chain)| (member, std::mem::replace(chain, Chain::new())))
    }

    /// Requests in all.
    pub(crate) fn count(&self) -> u32 {
        self.used().map(|(_, chain)| chain.count()).sum()
    }

    /// The only slot, where there is one.
    pub(crate) fn single(&self) -> Option<u32> {
        let mut used = self.used();
        let first = used.next()?.1.single()?;
        used.next().is_none().then_some(first)
    }
}

impl FieldShared {
    /// Hands requests to the devices, one submission for each.
    pub(crate) fn submit(&self, lane: Lane, chains: &Chains) {
        for (number, chain) in chains.used() {
            if let Some(Some(member)) = self.members.get(number) {
                member.ring.shared.submit(lane, chain);
            }
        }
    }

    /// Tells the loops that somebody waits for a single read, until [`FieldShared::end_wait`].
    pub(crate) fn begin_wait(&self) {
        for member in self.members.iter().flatten() {
            member.ring.shared.begin_wait();
        }
    }

    pub(crate) fn end_wait(&self) {
        for member in self.members.iter().flatten() {
            member.ring.shared.end_wait();
        }
    }

    /// Moves a prefetch that somebody now waits for to the demand lane.
    pub(crate) fn promote(&self, unit: u64, frame: u32) {
        if let Some(member) = self.member_of(unit) {
            member.ring.shared.promote(frame);
        }
    }
}
