//! A member's directory: for each of its pages the checksum, as a tree of pages.
//!
//! A directory page holds an entry of sixteen bytes for each page below it; its own is in the page above, and the
//! topmost one's in the superblock. Where a directory page lies follows from its number, so a page that was never
//! written is a hole of its file, and all zeros: its entries are absent, and so is what is below.

use crate::tiers::frame::DIRECTORY_UNITS;

/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: u64 = 16;
/// Above the leaves: 2^64 pages need no more, whatever the page size.
const LEVELS_MAX: usize = 8;
const MEMBER_SHIFT: u32 = 48;
const NUMBER_MASK: u64 = (1 << MEMBER_SHIFT) - 1;
/// Members at most: their number has 15 bits of a unit's number.
pub(crate) const MEMBERS_MAX: u32 = 64;

/// What of a page is stored is counted in blocks of so many bytes: no read or write needs to be aligned to more.
pub(crate) const BLOCK_BYTES: u64 = 4096;
/// Zeros at the end of a page that are worth not storing: less would only part it from the page behind it, with which it
/// is read in one piece.
const SPARED_MIN: u64 = 16 << 10;

/// The state of a page, in an entry's lowest eight bits.
const ABSENT: u64 = 0;
const PRESENT: u64 = 1;

/// What a directory says of a page: its checksum, its version, whether it is there, and how much of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    pub(crate) checksum: u64,
    /// The version in the upper 40 bits, stored blocks in the 16 below, the state in the lowest 8.
    word: u64,
}

impl Entry {
    /// A page whose first `stored` bytes, whole blocks, have that checksum; zeros are behind them.
    pub(crate) fn present(checksum: u64, version: u64, stored: u64) -> Entry {
        Entry {
            checksum,
            word: version << 24 | (stored / BLOCK_BYTES) << 8 | PRESENT,
        }
    }

    pub(crate) fn version(self) -> u64 {
        self.word >> 24
    }

    /// Bytes of the page that are stored and have the checksum; `None` where a page of `page_bytes` bytes cannot have so
    /// many.
    pub(crate) fn stored(self, page_bytes: u64) -> Option<u64> {
        let stored = (self.word >> 8 & 0xffff) * BLOCK_BYTES;
        (self.is_present() && (BLOCK_BYTES..=page_bytes).contains(&stored)).then_some(stored)
    }

    /// The page was never written: it is all zeros.
    pub(crate) fn is_absent(self) -> bool {
        self.word & 0xff == ABSENT
    }

    /// The page is there. What is neither is of a later version of the format, or damaged.
    pub(crate) fn is_present(self) -> bool {
        self.word & 0xff == PRESENT
    }

    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES as usize] {
        let mut bytes = [0; ENTRY_BYTES as usize];
        bytes[..8].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[8..].copy_from_slice(&self.word.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; ENTRY_BYTES as usize]) -> Entry {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Entry {
            checksum: word(0),
            word: word(8),
        }
    }

    /// How many bytes of a page are worth storing.
    pub(crate) fn worth_storing(page: &[u8]) -> u64 {
        let used = page
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last as u64 + 1);
        let stored = used.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES);
        let whole = page.len() as u64;
        match stored.saturating_add(SPARED_MIN) <= whole {
            true => stored,
            false => whole,
        }
    }

    /// Entry `index` of a directory page.
    pub(crate) fn of_page(page: &[u8], index: u64) -> Option<Entry> {
        let at = usize::try_from(index * ENTRY_BYTES).ok()?;
        let bytes = page.get(at..)?.first_chunk()?;
        Some(Entry::from_bytes(bytes))
    }
}

/// A page of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) member: u32,
    /// Its place in the directory, from the topmost page on.
    pub(crate) number: u64,
}

impl Node {
    /// The number by which the engine knows it among the units of its field.
    pub(crate) fn unit(self) -> u64 {
        DIRECTORY_UNITS | u64::from(self.member) << MEMBER_SHIFT | self.number
    }

    /// The directory page of that number; `None` for a page of the field.
    pub(crate) fn of_unit(unit: u64) -> Option<Node> {
        (unit >= DIRECTORY_UNITS).then_some(Node {
            member: (unit & !DIRECTORY_UNITS).wrapping_shr(MEMBER_SHIFT) as u32,
            number: unit & NUMBER_MASK,
        })
    }
}

/// Where the entry of a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the superblock: it is the topmost directory page.
    Superblock,
    /// Entry `index` of directory page `number`.
    Node { number: u64, index: u64 },
}

/// The shape of the directory of a member with so many pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Entries of a page, as a power of two.
    fan_out_log2: u32,
    pub(crate) levels: usize,
    /// Number of the first page of each level; level 0 are the leaves.
    first: [u64; LEVELS_MAX],
    /// Pages in all.
    pub(crate) nodes: u64,
}

impl Shape {
    /// The shape for `slots` pages of `page_bytes` bytes, a power of two; `None` where there is none, of too many pages.
    pub(crate) fn new(slots: u64, page_bytes: u64) -> Option<Shape> {
        let fan_out_log2 = (page_bytes / ENTRY_BYTES).checked_ilog2()?;
        let mut counts = [0; LEVELS_MAX];
        let mut levels = 0;
        let mut below = slots.max(1);
        loop {
            below = below.div_ceil(1 << fan_out_log2);
            *counts.get_mut(levels)? = below;
            levels += 1;
            if below == 1 {
                break;
            }
        }
        let mut first = [0; LEVELS_MAX];
        let mut nodes = 0u64;
        for level in (0..levels).rev() {
            first[level] = nodes;
            nodes = nodes.checked_add(counts[level])?;
        }
        (nodes <= NUMBER_MASK).then_some(Shape {
            fan_out_log2,
            levels,
            first,
            nodes,
        })
    }

    /// The leaf with the entry of a member's page, and which entry of it that is.
    pub(crate) fn leaf_of(&self, slot: u64) -> (u64, u64) {
        (
            self.first[0] + (slot >> self.fan_out_log2),
            self.index_in_page(slot),
        )
    }

    /// Number of the page of `level` above a member's page.
    pub(crate) fn above(&self, slot: u64, level: usize) -> u64 {
        let shift = self.fan_out_log2 * (level as u32 + 1);
        self.first[level] + slot.checked_shr(shift).unwrap_or(0)
    }

    fn index_in_page(&self, number: u64) -> u64 {
        number & ((1 << self.fan_out_log2) - 1)
    }

    /// Pages of the member below each page of `level`.
    pub(crate) fn pages_below(&self, level: usize) -> u64 {
        let pages = 1u64.checked_shl(self.fan_out_log2 * (level as u32 + 1));
        pages.unwrap_or(u64::MAX)
    }

    fn level_of(&self, number: u64) -> usize {
        (0..self.levels)
            .find(|&level| number >= self.first[level])
            .unwrap_or(0)
    }

    /// Where the entry of a directory page is.
    pub(crate) fn place_of(&self, number: u64) -> Place {
        let level = self.level_of(number);
        if level + 1 >= self.levels {
            return Place::Superblock;
        }
        let index = number - self.first[level];
        Place::Node {
            number: self.first[level + 1] + (index >> self.fan_out_log2),
            index: self.index_in_page(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Node, Place, Shape};

    fn shape(slots: u64, page: u64) -> Shape {
        Shape::new(slots, page).expect("few enough")
    }

    #[test]
    fn a_small_member_has_one_directory_page_and_a_petabyte_five_levels_at_most() {
        assert_eq!((shape(1, 4096).nodes, shape(256, 4096).levels), (1, 1));
        let two = shape(257, 4096);
        assert_eq!((two.levels, two.nodes), (2, 3));
        assert_eq!(shape(1 << 38, 4096).levels, 5);
        assert_eq!(shape(1 << 32, 256 << 10).levels, 3);
        assert!(Shape::new(u64::MAX, 4096).is_none());
    }

    #[test]
    fn every_page_has_one_entry_and_its_way_up_ends_in_the_superblock() {
        for slots in [1u64, 255, 256, 257, 65_536, 65_537, 200_000] {
            let shape = shape(slots, 4096);
            let mut seen = std::collections::HashSet::new();
            for slot in (0..slots).step_by(101).chain([slots - 1]) {
                let (leaf, index) = shape.leaf_of(slot);
                assert!(leaf < shape.nodes && seen.insert((leaf, index)) || slot == slots - 1);
                assert_eq!(leaf, shape.above(slot, 0));
                let (mut at, mut level) = (leaf, 0);
                while let Place::Node { number, .. } = shape.place_of(at) {
                    level += 1;
                    assert_eq!(number, shape.above(slot, level));
                    assert!(number < at, "the way leads up");
                    at = number;
                }
                assert_eq!((at, level + 1), (0, shape.levels));
            }
            // No two directory pages share an entry.
            let mut places = std::collections::HashSet::new();
            for number in 1..shape.nodes {
                let Place::Node { number, index } = shape.place_of(number) else {
                    panic!("only the topmost is in the superblock");
                };
                assert!(places.insert((number, index)));
            }
        }
    }

    #[test]
    fn units_of_directory_pages_are_no_pages_of_the_field() {
        for node in [
            Node {
                member: 0,
                number: 0,
            },
            Node {
                member: 63,
                number: (1 << 48) - 1,
            },
        ] {
            assert_eq!(Node::of_unit(node.unit()), Some(node));
        }
        assert_eq!(Node::of_unit(u64::MAX >> 1), None);
    }

    #[test]
    fn an_entry_survives_its_bytes() {
        let entry = Entry::present(0x0123_4567_89ab_cdef, (1 << 40) - 1, 4 << 20);
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), entry);
        assert_eq!((entry.version(), entry.is_present()), ((1 << 40) - 1, true));
        assert_eq!(entry.stored(4 << 20), Some(4 << 20));
        assert!(Entry::default().is_absent());
    }

    #[test]
    fn no_page_stores_more_than_it_has_or_nothing() {
        assert_eq!(Entry::present(1, 1, 8192).stored(4096), None);
        assert_eq!(Entry::present(1, 1, 0).stored(4096), None);
        assert_eq!(Entry::default().stored(4096), None);
    }

    #[test]
    fn zeros_at_the_end_of_a_page_are_not_stored_where_they_are_many() {
        let mut page = vec![0; 64 << 10];
        assert_eq!(Entry::worth_storing(&page), 4096);
        for (last, stored) in [
            (0, 4096),
            (4095, 4096),
            (4096, 8192),
            (49_151, 49_152),
            (49_152, 65_536),
        ] {
            page.fill(0);
            page[last] = 1;
            assert_eq!(Entry::worth_storing(&page), stored, "{last}");
        }
        assert_eq!(Entry::worth_storing(&[0; 4096]), 4096);
        assert_eq!(Entry::worth_storing(&[0; 16 << 10]), 16 << 10);
    }
}
