//! What a file of a packed field says of itself, without an engine.

use super::checksum::ArrayId;
use super::superblocks::Superblocks;
use crate::error::Result;
use std::path::Path;

/// What the superblock of a packed field's file says.
///
/// # Examples
/// ```no_run
/// # fn main() -> ringfield::Result<()> {
/// let info = ringfield::PackedInfo::read("model.rf")?;
/// let engine = ringfield::Engine::builder().page_size(info.page_bytes).build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackedInfo {
    /// Which array it is of: 32 hexadecimal digits.
    pub array: String,
    /// Its number among the members, from 0.
    pub member: u32,
    /// How many members the array has.
    pub members: u32,
    /// How often the array was changed as a whole.
    pub generation: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Pages of this file.
    pub pages: u64,
    /// Pages of its directory, and its levels.
    pub directory_pages: u64,
    /// See `directory_pages`.
    pub directory_levels: u32,
    /// Where the pages begin in this file; page `p` of the array is page `p / members` of member `p % members`.
    pub data_at: u64,
    /// Bytes of this file.
    pub file_bytes: u64,
    /// Bytes of the array: of all members' pages together.
    pub array_bytes: u64,
    /// The program that made it.
    pub creator: String,
    /// What is wrong with one of its two superblocks; [`crate::Verify::repair`] puts it right.
    pub damaged: Option<String>,
}

impl PackedInfo {
    /// Reads the superblocks of the file `path`.
    ///
    /// # Errors
    /// [`crate::Error::Open`]; [`crate::Error::Malformed`] where it is no packed field, or of a version or with features
    /// that are not known.
    pub fn read(path: impl AsRef<Path>) -> Result<PackedInfo> {
        let path = path.as_ref();
        let (superblock, damaged) = Superblocks::read(path)?.chosen(path)?;
        let layout = superblock.layout();
        let part =
            |part: fn(&super::superblock::MemberLayout) -> u64| layout.as_ref().map_or(0, part);
        Ok(PackedInfo {
            array: hex(&superblock.array),
            member: superblock.member,
            members: superblock.members,
            generation: superblock.generation,
            page_bytes: superblock.page_bytes,
            pages: part(|layout| layout.slots),
            directory_pages: part(|layout| layout.shape.nodes),
            directory_levels: part(|layout| layout.shape.levels as u64) as u32,
            data_at: part(|layout| layout.data_at),
            file_bytes: part(|layout| layout.file_bytes),
            array_bytes: superblock.len,
            creator: superblock.creator,
            damaged,
        })
    }

    /// True where the file means to be a packed field, whole or not. False, too, where it cannot be read.
    pub fn is_packed(path: impl AsRef<Path>) -> bool {
        super::superblocks::is_packed(path.as_ref())
    }
}

/// An array's number in words.
pub(crate) fn hex(id: &ArrayId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
