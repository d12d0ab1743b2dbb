//! Packed fields: pages with checksums, striped over the files of an array. FORMAT.md describes them to the byte.
//!
//! Opening reads the superblocks alone. A page's place follows from its number (`map`); its checksum is in the directory
//! of its member (`directory`), whose pages go through the pool like any other, and are pinned by the reads that need
//! them. Whoever waits for a page first compares the two (`check`).

mod check;
pub(crate) mod checksum;
pub(crate) mod directory;
mod map;
mod open;
pub(crate) mod superblock;
pub(crate) mod superblocks;

pub(crate) use directory::MEMBERS_MAX;
pub(crate) use map::ArrayMap;
pub use open::ArrayOptions;
#[cfg(feature = "sim")]
pub(crate) use open::ArrayParts;

/// What errors call the format.
pub(crate) const FORMAT: &str = "packed field";
