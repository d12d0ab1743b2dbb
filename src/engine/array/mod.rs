//! Packed fields: pages with checksums, striped over the files of an array. FORMAT.md describes them to the byte.
//!
//! Opening reads the superblocks alone. A page's place follows from its number (`map`); its checksum is in the directory
//! of its member (`directory`), whose pages go through the pool like any other, and are pinned by the reads that need
//! them. Whoever waits for a page first compares the two (`check`).

mod check;
pub(crate) mod checksum;
pub(crate) mod directory;
mod info;
mod map;
mod open;
mod repair;
pub(crate) mod superblock;
pub(crate) mod superblocks;
mod verify;

pub(crate) use directory::MEMBERS_MAX;
pub use info::PackedInfo;
pub(crate) use map::ArrayMap;
pub use open::ArrayOptions;
#[cfg(feature = "sim")]
pub(crate) use open::ArrayParts;
pub use verify::{Damage, Verified, Verify};

/// What errors call the format.
pub(crate) const FORMAT: &str = "packed field";
