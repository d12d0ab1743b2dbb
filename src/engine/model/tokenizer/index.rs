//! Finds a number by what it stands for: a piece by its text, a merge by its pair.
//!
//! Four bytes a slot, three quarters of the slots used. A slot has the number and ten bits of the hash, so that most
//! searches for what is not there look at no text. Hashes are keyed: no file can choose entries that pile up.

use super::memory::filled;
use crate::error::Result;
use std::hash::{BuildHasher, Hash, RandomState};

const NUMBER_BITS: u32 = 22;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;
const EMPTY: u32 = u32::MAX;

/// Entries an index can have.
pub(super) const ENTRIES_MAX: u64 = NUMBER_MASK as u64;

/// An open-addressed table of numbers below [`ENTRIES_MAX`].
pub(super) struct Index {
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Index {
    /// An empty table for `entries`, at most [`ENTRIES_MAX`].
    pub(super) fn new(entries: usize) -> Result<Index> {
        // Never full, so that every search ends.
        let slots = entries + entries / 3 + 1;
        Ok(Index {
            slots: filled(EMPTY, slots, "places of an index")?,
            hasher: RandomState::new(),
        })
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        (self.slots.capacity() * size_of::<u32>()) as u64
    }

    /// Where the search for `key` begins, and its ten bits at the place that they have in a slot.
    #[inline]
    fn start(&self, key: impl Hash) -> (usize, u32) {
        let hash = self.hasher.hash_one(key);
        let at = ((hash >> 32) * self.slots.len() as u64) >> 32;
        (at as usize, (hash as u32) << NUMBER_BITS)
    }

    /// The number of the entry `key`, where `is_it` says whether a number is that entry's.
    #[inline]
    pub(super) fn find(&self, key: impl Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (start, bits) = self.start(key);
        let (before, after) = self.slots.split_at_checked(start)?;
        for &slot in after.iter().chain(before) {
            if slot == EMPTY {
                return None;
            }
            let number = slot & NUMBER_MASK;
            if slot & !NUMBER_MASK == bits && is_it(number) {
                return Some(number);
            }
        }
        None
    }

    /// Adds entry `number`, whose `key` is not there yet: many entries of one key would be searched one by one.
    pub(super) fn insert(&mut self, key: impl Hash, number: u32) {
        let (start, bits) = self.start(key);
        if let Some((before, after)) = self.slots.split_at_mut_checked(start) {
            let mut slots = after.iter_mut().chain(before);
            if let Some(free) = slots.find(|slot| **slot == EMPTY) {
                *free = bits | number;
            }
        }
    }
}
