//! Where the records of a header begin, and how one is found by its name.

use crate::error::{Error, Result};
use std::hash::{BuildHasher, RandomState};

/// Hashes names. Keyed, so that no file can choose names that collide.
#[derive(Debug)]
pub(super) struct NameHash(RandomState);

impl NameHash {
    pub(super) fn new() -> NameHash {
        NameHash(RandomState::new())
    }

    pub(super) fn of(&self, name: &[u8]) -> u32 {
        (self.0.hash_one(name) >> 32) as u32
    }
}

/// Where records begin, in the order of the file, and a way to find one by its name. The names stay in the file.
#[derive(Debug, Default)]
pub(super) struct Records {
    list: Vec<Record>,
    /// Indices into `list`, ordered by hash.
    by_hash: Vec<u32>,
}

/// Eight bytes, where the shortest record of any format has fourteen: a header never takes more memory than twice its own
/// bytes, even while the list grows. Headers are shorter than 4 GiB.
#[derive(Debug, Clone, Copy)]
struct Record {
    at: u32,
    hash: u32,
}

impl Records {
    /// Notes a record. No room is made before: the count in the file may lie.
    pub(super) fn push(&mut self, at: u64, hash: u32) {
        debug_assert!(u32::try_from(at).is_ok());
        self.list.push(Record {
            at: at as u32,
            hash,
        });
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Where record `index` begins.
    pub(super) fn at(&self, index: usize) -> Option<u64> {
        self.list.get(index).map(|record| u64::from(record.at))
    }

    /// Where each begins, in the order of the file.
    pub(super) fn all(&self) -> impl Iterator<Item = u64> {
        self.list.iter().map(|record| u64::from(record.at))
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        (self.list.capacity() * size_of::<Record>() + self.by_hash.capacity() * 4) as u64
    }

    fn hash(&self, index: u32) -> u32 {
        self.list
            .get(index as usize)
            .map_or(0, |record| record.hash)
    }

    /// Orders the records, once all are there. `read_name` reads the name of the record that begins at a place; `twice`
    /// makes the error where the records at two places have one name.
    pub(super) fn index(
        &mut self,
        read_name: impl Fn(u64, &mut Vec<u8>) -> Result<()>,
        twice: impl Fn(u64, u64, &[u8]) -> Error,
    ) -> Result<()> {
        self.list.shrink_to_fit();
        let mut by_hash: Vec<u32> = (0..self.list.len() as u32).collect();
        by_hash.sort_unstable_by_key(|&index| (self.hash(index), index));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for same in by_hash.chunk_by(|&a, &b| self.hash(a) == self.hash(b)) {
            for (k, &first) in same.iter().enumerate() {
                for &second in same.iter().skip(k + 1) {
                    let (first, second) = (self.at(first as usize), self.at(second as usize));
                    let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
                    read_name(first, &mut one)?;
                    read_name(second, &mut other)?;
                    if one == other {
                        return Err(twice(first, second, &one));
                    }
                }
            }
        }
        self.by_hash = by_hash;
        Ok(())
    }

    /// The index of the record called `name`.
    pub(super) fn find(
        &self,
        hasher: &NameHash,
        name: &str,
        read_name: impl Fn(u64, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Option<usize>> {
        let wanted = hasher.of(name.as_bytes());
        let from = self
            .by_hash
            .partition_point(|&index| self.hash(index) < wanted);
        let candidates = self.by_hash.iter().skip(from);
        let mut found = Vec::new();
        for &index in candidates.take_while(|&&index| self.hash(index) == wanted) {
            read_name(self.at(index as usize).unwrap_or_default(), &mut found)?;
            if found == name.as_bytes() {
                return Ok(Some(index as usize));
            }
        }
        Ok(None)
    }
}
