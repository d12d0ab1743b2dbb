//! Where the pages of an array lie: page p on member p mod N, and the directory of each member's pages beside them.

use super::checksum::ArrayId;
use super::directory::{Entry, Node, Place};
use super::superblock::MemberLayout;
use std::ops::Range;

/// What reads need to know of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberMap {
    pub(crate) layout: MemberLayout,
    /// The topmost page of its directory.
    pub(crate) root: Entry,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ArrayMap {
    pub(crate) id: ArrayId,
    pub(crate) page_bytes: u64,
    /// Where the tensor index lies; empty where there is none.
    pub(crate) index: Range<u64>,
    /// `None` for a member that is missing.
    pub(crate) members: Box<[Option<MemberMap>]>,
}

/// Where the entry of a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryPlace {
    /// Known since the array was opened.
    Known(Entry),
    /// Entry `index` of the directory page `unit`.
    In { unit: u64, index: u64 },
}

impl ArrayMap {
    fn count(&self) -> u64 {
        self.members.len() as u64
    }

    /// Pages of all directories.
    pub(crate) fn nodes(&self) -> u64 {
        let members = self.members.iter().flatten();
        members.map(|member| member.layout.shape.nodes).sum()
    }

    fn member(&self, member: u32) -> Option<&MemberMap> {
        self.members.get(member as usize)?.as_ref()
    }

    /// The member that a unit (a page, or a directory page) lies on.
    pub(crate) fn member_of(&self, unit: u64) -> u32 {
        match Node::of_unit(unit) {
            Some(node) => node.member,
            None => (unit % self.count()) as u32,
        }
    }

    /// Where a unit begins in its member's file; `None` where that is missing.
    pub(crate) fn offset_of(&self, unit: u64) -> Option<u64> {
        let layout = &self.member(self.member_of(unit))?.layout;
        Some(match Node::of_unit(unit) {
            Some(node) => layout.directory_at + node.number * self.page_bytes,
            None => layout.data_at + unit / self.count() * self.page_bytes,
        })
    }

    /// Where the entry of a unit is; `None` where its member is missing.
    pub(crate) fn entry_of(&self, unit: u64) -> Option<EntryPlace> {
        let number = self.member_of(unit);
        let member = self.member(number)?;
        let shape = &member.layout.shape;
        let (number_of_node, index) = match Node::of_unit(unit) {
            Some(node) => match shape.place_of(node.number) {
                Place::Superblock => return Some(EntryPlace::Known(member.root)),
                Place::Node { number, index } => (number, index),
            },
            None => shape.leaf_of(unit / self.count()),
        };
        let node = Node {
            member: number,
            number: number_of_node,
        };
        Some(EntryPlace::In {
            unit: node.unit(),
            index,
        })
    }

    /// The first member that is missing among those of `count` pages from `first` on, and its page.
    pub(crate) fn missing(&self, first: u64, count: u32) -> Option<(u32, u64)> {
        (first..first + u64::from(count))
            .take(self.members.len())
            .map(|page| (self.member_of(page), page))
            .find(|&(member, _)| self.member(member).is_none())
    }

    /// How many directory pages there are above `count` pages from `first` on.
    pub(crate) fn nodes_above(&self, first: u64, count: u32) -> u32 {
        let levels = (0..).map(|level| self.nodes_at(first, count, level));
        levels.take_while(|&nodes| nodes > 0).sum()
    }

    /// How many of them there are on a level; the leaves are level 0.
    pub(crate) fn nodes_at(&self, first: u64, count: u32, level: usize) -> u32 {
        let runs = self.runs_at(first, count, level);
        runs.map(|(_, from, to)| (to - from + 1) as u32).sum()
    }

    /// Number `k` of them: the leaves first, the topmost last.
    pub(crate) fn node_above(&self, first: u64, count: u32, k: u32) -> Option<u64> {
        let mut left = u64::from(k);
        for level in 0.. {
            let mut any = false;
            for (member, from, to) in self.runs_at(first, count, level) {
                any = true;
                if left <= to - from {
                    let number = from + left;
                    return Some(Node { member, number }.unit());
                }
                left -= to - from + 1;
            }
            if !any {
                break;
            }
        }
        None
    }

    /// The runs of directory pages (member, first, last) of a level above pages.
    fn runs_at(
        &self,
        first: u64,
        count: u32,
        level: usize,
    ) -> impl Iterator<Item = (u32, u64, u64)> {
        let (n, last) = (self.count(), first + u64::from(count) - 1);
        (first..first + n.min(u64::from(count))).filter_map(move |page| {
            let number = (page % n) as u32;
            let shape = &self.member(number)?.layout.shape;
            // The last page of the range on this member.
            let to = last - (last - page) % n;
            (level < shape.levels).then(|| {
                let (from, to) = (shape.above(page / n, level), shape.above(to / n, level));
                (number, from, to)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ArrayMap, EntryPlace, MemberMap};
    use crate::engine::array::directory::{Entry, Node};
    use crate::engine::array::superblock::MemberLayout;

    fn map(pages: u64, members: u32) -> ArrayMap {
        ArrayMap {
            id: [7; 16],
            page_bytes: 4096,
            index: 0..0,
            members: (0..members)
                .map(|member| {
                    Some(MemberMap {
                        layout: MemberLayout::new(pages * 4096, 4096, member, members)?,
                        root: Entry::present(1, 1, 4096),
                    })
                })
                .collect(),
        }
    }

    #[test]
    fn every_unit_has_a_place_of_its_own_inside_its_file() {
        for (pages, members) in [(1u64, 1u32), (700, 1), (700, 3), (66_000, 2)] {
            let map = map(pages, members);
            let mut seen = std::collections::HashSet::new();
            let nodes = (0..members).flat_map(|member| {
                let count = map.member(member).map_or(0, |m| m.layout.shape.nodes);
                (0..count).map(move |number| Node { member, number }.unit())
            });
            for unit in (0..pages).chain(nodes) {
                let member = map.member_of(unit);
                let offset = map.offset_of(unit).expect("all members are there");
                assert!(seen.insert((member, offset)) && offset.is_multiple_of(4096));
                let bytes = map.member(member).map_or(0, |m| m.layout.file_bytes);
                assert!(offset >= 4096 && offset + 4096 <= bytes - 4096);
            }
        }
    }

    #[test]
    fn the_directory_pages_above_a_range_are_all_those_on_the_way_up_of_its_pages() {
        for (pages, members) in [(300u64, 1u32), (70_000, 1), (70_000, 3)] {
            let map = map(pages, members);
            for (first, count) in [(0, 1), (0, 300), (255, 2), (17, 3), (299, 1), (100, 7)] {
                let total = map.nodes_above(first, count);
                let listed: Vec<u64> = (0..total)
                    .filter_map(|k| map.node_above(first, count, k))
                    .collect();
                let mut wanted = std::collections::HashSet::new();
                for page in first..first + u64::from(count) {
                    let mut at = page;
                    while let Some(EntryPlace::In { unit, .. }) = map.entry_of(at) {
                        wanted.insert(unit);
                        at = unit;
                    }
                }
                assert_eq!(
                    listed.len(),
                    wanted.len(),
                    "{pages} {members} {first} {count}"
                );
                assert!(listed.iter().all(|unit| wanted.contains(unit)));
                assert_eq!(map.node_above(first, count, total), None);
                // Whoever goes through them from the last on has seen a page's parent before it.
                for (k, &unit) in listed.iter().enumerate() {
                    if let Some(EntryPlace::In { unit: above, .. }) = map.entry_of(unit) {
                        assert!(listed.iter().skip(k + 1).any(|&later| later == above));
                    }
                }
            }
        }
    }
}
