//! The format of a member, written down a second time: what a test changes in one carries checksums that fit, and arrays
//! with holes can be made that nobody could pack in the time of a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub(crate) const SUPERBLOCK: usize = 4096;
const CHECKSUM_AT: usize = SUPERBLOCK - 8;
/// The highest bit of a unit's number: it is a directory page.
pub(crate) const DIRECTORY: u64 = 1 << 63;

/// Offsets in a superblock.
pub(crate) mod at {
    pub(crate) const VERSION: usize = 12;
    pub(crate) const FEATURES: usize = 16;
    pub(crate) const ARRAY: usize = 32;
    pub(crate) const MEMBER: usize = 48;
    pub(crate) const GENERATION: usize = 56;
    pub(crate) const PAGE_BYTES: usize = 64;
    pub(crate) const LEN: usize = 72;
    pub(crate) const SLOTS: usize = 80;
    pub(crate) const DIRECTORY_AT: usize = 88;
    pub(crate) const NODES: usize = 96;
    pub(crate) const DATA_AT: usize = 104;
    pub(crate) const ROOT: usize = 120;
    pub(crate) const INDEX_AT: usize = 136;
    pub(crate) const INDEX_BYTES: usize = 144;
}

pub(crate) fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Where the parts of a member lie, as its first superblock says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) page: usize,
    pub(crate) slots: usize,
    pub(crate) directory_at: usize,
    pub(crate) nodes: usize,
    pub(crate) data_at: usize,
}

impl Parts {
    pub(crate) fn of(member: &[u8]) -> Parts {
        let part = |at| number(member, at) as usize;
        Parts {
            page: part(at::PAGE_BYTES),
            slots: part(at::SLOTS),
            directory_at: part(at::DIRECTORY_AT),
            nodes: part(at::NODES),
            data_at: part(at::DATA_AT),
        }
    }

    /// The page of the member in slot `slot`: its bytes.
    pub(crate) fn slot(&self, slot: usize) -> std::ops::Range<usize> {
        assert!(slot < self.slots);
        let start = self.data_at + slot * self.page;
        start..start + self.page
    }

    /// Directory page `number`: its bytes.
    pub(crate) fn node(&self, number: usize) -> std::ops::Range<usize> {
        assert!(number < self.nodes);
        let start = self.directory_at + number * self.page;
        start..start + self.page
    }
}

/// Changes both superblocks of a member; their checksums fit afterwards.
pub(crate) fn change_superblocks(member: &mut [u8], change: impl Fn(&mut [u8])) {
    let last = member.len() - SUPERBLOCK;
    for start in [0, last] {
        change_superblock(&mut member[start..start + SUPERBLOCK], &change);
    }
}

pub(crate) fn change_superblock(copy: &mut [u8], change: impl Fn(&mut [u8])) {
    change(copy);
    let checksum = xxh3_64(&copy[..CHECKSUM_AT]);
    copy[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
}

pub(crate) fn page_checksum(bytes: &[u8], array: &[u8], unit: u64, version: u64) -> u64 {
    let place = [array, &unit.to_le_bytes(), &version.to_le_bytes()].concat();
    xxh3_64_with_seed(bytes, xxh3_64(&place))
}

/// The entry of a page that is there; the first `stored` bytes of it are.
pub(crate) fn entry(checksum: u64, version: u64, stored: usize) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..8].copy_from_slice(&checksum.to_le_bytes());
    entry[8] = 1;
    entry[9..11].copy_from_slice(&((stored / 4096) as u16).to_le_bytes());
    entry[11..].copy_from_slice(&version.to_le_bytes()[..5]);
    entry
}

/// How many bytes of a page are stored, as its entry says.
pub(crate) fn stored(entry: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([entry[9], entry[10]])) * 4096
}

/// Gives the only member of an array, which has one directory page, the checksums that its pages need.
pub(crate) fn seal(member: &mut [u8]) {
    let parts = Parts::of(member);
    assert_eq!(parts.nodes, 1);
    let array = member[at::ARRAY..at::ARRAY + 16].to_vec();
    for slot in 0..parts.slots {
        let checksum = page_checksum(&member[parts.slot(slot)], &array, slot as u64, 1);
        let at = parts.directory_at + slot * 16;
        member[at..at + 16].copy_from_slice(&entry(checksum, 1, parts.page));
    }
    let root = page_checksum(&member[parts.node(0)], &array, DIRECTORY, 1);
    change_superblocks(member, |copy| {
        copy[at::ROOT..at::ROOT + 16].copy_from_slice(&entry(root, 1, parts.page));
    });
}

/// An array without a tensor index, most of whose pages were never written.
pub(crate) struct Sparse {
    pub(crate) page: u64,
    pub(crate) pages: u64,
    pub(crate) array: [u8; 16],
    /// Those that were.
    pub(crate) written: BTreeMap<u64, Vec<u8>>,
}

impl Sparse {
    /// Writes the members; all that is absent is a hole.
    pub(crate) fn write(&self, paths: &[PathBuf]) {
        for (member, path) in paths.iter().enumerate() {
            self.write_member(member as u64, paths.len() as u64, path);
        }
    }

    fn write_member(&self, member: u64, members: u64, path: &PathBuf) {
        let (page, fan_out) = (self.page, self.page / 16);
        let slots = (self.pages - member).div_ceil(members);
        // Pages of each level of the directory, the leaves first; the topmost has number 0.
        let mut counts = vec![slots.div_ceil(fan_out)];
        while *counts.last().unwrap() > 1 {
            counts.push(counts.last().unwrap().div_ceil(fan_out));
        }
        let first = |level: usize| counts[level + 1..].iter().sum::<u64>();
        let nodes: u64 = counts.iter().sum();
        let directory_at = page;
        let data_at = directory_at + nodes * page;
        let file_bytes = data_at + slots * page + SUPERBLOCK as u64;
        let file = File::create(path).unwrap();
        file.set_len(file_bytes).unwrap();
        let mut below: BTreeMap<u64, [u8; 16]> = BTreeMap::new();
        for (&number, bytes) in self.written.iter().filter(|(n, _)| *n % members == member) {
            let slot = number / members;
            file.write_all_at(bytes, data_at + slot * page).unwrap();
            let checksum = page_checksum(bytes, &self.array, number, 1);
            below.insert(slot, entry(checksum, 1, page as usize));
        }
        for level in 0..counts.len() {
            let mut above = BTreeMap::new();
            let touched: BTreeSet<u64> = below.keys().map(|k| k / fan_out).collect();
            for index in touched {
                let mut bytes = vec![0; page as usize];
                for (k, entry) in below.range(index * fan_out..(index + 1) * fan_out) {
                    let at = (k % fan_out * 16) as usize;
                    bytes[at..at + 16].copy_from_slice(entry);
                }
                let number = first(level) + index;
                file.write_all_at(&bytes, directory_at + number * page)
                    .unwrap();
                let unit = DIRECTORY | member << 48 | number;
                let checksum = page_checksum(&bytes, &self.array, unit, 1);
                above.insert(index, entry(checksum, 1, page as usize));
            }
            below = above;
        }
        let root = below.get(&0).copied().unwrap_or_default();
        for copy in 0..2u32 {
            let mut bytes = b"\x89RNGF\r\n\x1a".to_vec();
            bytes.extend(0x0102_0304u32.to_le_bytes());
            bytes.extend(2u32.to_le_bytes());
            bytes.extend([0; 16]);
            bytes.extend(self.array);
            bytes.extend((member as u32).to_le_bytes());
            bytes.extend((members as u32).to_le_bytes());
            for number in [
                1,
                page,
                self.pages * page,
                slots,
                directory_at,
                nodes,
                data_at,
                file_bytes,
            ] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(root);
            bytes.extend([0; 16]);
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(copy.to_le_bytes());
            bytes.resize(SUPERBLOCK, 0);
            change_superblock(&mut bytes, |_| ());
            let offset = u64::from(copy) * (file_bytes - SUPERBLOCK as u64);
            file.write_all_at(&bytes, offset).unwrap();
        }
        file.sync_all().unwrap();
    }
}
