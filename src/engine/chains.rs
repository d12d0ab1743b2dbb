//! Requests of one call, sorted by the member of the array whose device they are for.

use super::array::MEMBERS_MAX;
use super::field::FieldShared;
use crate::ring::lane::{Chain, Lane, Request, Slots};

/// See the module. In a field of one file there is one chain.
#[derive(Debug)]
pub(crate) struct Chains {
    chains: [Chain; MEMBERS_MAX as usize],
    members: usize,
}

impl Chains {
    fn new(members: usize) -> Chains {
        Chains {
            chains: [const { Chain::new() }; MEMBERS_MAX as usize],
            members,
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
        if let Some(chain) = self.chains.get_mut(field.member_number(unit) as usize) {
            slots.link(frame, request, chain);
        }
    }

    /// The chains that hold anything, and whose they are.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &Chain)> {
        let chains = self.chains.iter().take(self.members).enumerate();
        chains.filter(|(_, chain)| !chain.is_empty())
    }

    /// Takes those chains.
    pub(crate) fn take_used(&mut self) -> impl Iterator<Item = (usize, Chain)> {
        let chains = self.chains.iter_mut().take(self.members).enumerate();
        chains
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
    /// Room for the requests of a call.
    pub(crate) fn chains(&self) -> Chains {
        Chains::new(self.members.len())
    }

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
