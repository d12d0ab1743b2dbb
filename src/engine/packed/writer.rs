//! Writing the members of a new array: pages with their checksums, then the directories, then the superblocks, then the
//! names.

use super::new_file::NewFile;
use super::window::WriteWindow;
use crate::engine::Engine;
use crate::engine::array::checksum::page_checksum;
use crate::engine::array::directory::{ENTRY_BYTES, Entry, Node, Place};
use crate::engine::array::superblock::{Copy, Superblock};
use crate::error::{Error, Result};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// All pages of a new array are of this version.
const VERSION: u64 = 1;

/// See the module.
pub(super) struct ArrayWriter {
    superblock: Superblock,
    files: Vec<NewFile>,
    window: WriteWindow,
    /// Entries of each member's directory pages, level by level: those of its pages first.
    entries: Vec<Vec<Entry>>,
    spared_bytes: u64,
}

impl ArrayWriter {
    /// Makes the members, without a name.
    pub(super) fn create(
        engine: &Engine,
        superblock: Superblock,
        paths: &[PathBuf],
        replace: bool,
    ) -> Result<ArrayWriter> {
        let mut files = Vec::with_capacity(paths.len());
        let mut entries = Vec::with_capacity(paths.len());
        for (number, path) in paths.iter().enumerate() {
            let member = Superblock {
                member: number as u32,
                ..superblock.clone()
            };
            let layout = member.layout().ok_or_else(|| Error::InvalidOption {
                option: "pack",
                value: format!("{} bytes", superblock.len),
                why: "more than a file can hold".into(),
            })?;
            files.push(NewFile::create(path, layout.file_bytes, replace)?);
            entries.push(Vec::with_capacity(layout.slots as usize));
        }
        let descriptors = files
            .iter()
            .map(|file| Ok((file.descriptor()?, file.path().to_path_buf())))
            .collect::<Result<_>>()?;
        let field = engine.core.new_array(&superblock, descriptors)?;
        Ok(ArrayWriter {
            superblock,
            files,
            window: WriteWindow::new(field),
            entries,
            spared_bytes: 0,
        })
    }

    pub(super) fn page_bytes(&self) -> u64 {
        self.superblock.page_bytes
    }

    pub(super) fn pages(&self) -> u64 {
        self.superblock.len.div_ceil(self.superblock.page_bytes)
    }

    /// Bytes of all members.
    pub(super) fn bytes(&self) -> u64 {
        let members =
            (0..self.superblock.members).filter_map(|member| self.member(member).layout());
        members.map(|layout| layout.file_bytes).sum()
    }

    fn member(&self, member: u32) -> Superblock {
        Superblock {
            member,
            ..self.superblock.clone()
        }
    }

    /// Writes the next page; `fill` puts it together.
    pub(super) fn write(
        &mut self,
        page: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let entry = self.write_unit(page, fill)?;
        let member = (page % u64::from(self.superblock.members)) as usize;
        if let Some(entries) = self.entries.get_mut(member) {
            entries.push(entry);
        }
        Ok(())
    }

    fn write_unit(
        &mut self,
        unit: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Entry> {
        let array = &self.superblock.array;
        self.window.write(unit, |bytes| {
            fill(bytes)?;
            let stored = Entry::worth_storing(bytes);
            self.spared_bytes += bytes.len() as u64 - stored;
            let checksum = page_checksum(&bytes[..stored as usize], array, unit, VERSION);
            Ok((Entry::present(checksum, VERSION, stored), stored))
        })
    }

    /// Waits until everything that was written is safe.
    fn settle(&mut self) -> Result<()> {
        self.window.finish()?;
        self.window.field().shared.sync()
    }

    /// Writes the directories, the superblocks and the names. Returns how many bytes of the members are not stored.
    pub(super) fn finish(mut self, replace: bool) -> Result<u64> {
        self.settle()?;
        let members = self.superblock.members;
        let mut superblocks = Vec::with_capacity(members as usize);
        for member in 0..members {
            let mut superblock = self.member(member);
            superblock.root = self.write_directory(&superblock)?;
            superblocks.push(superblock);
        }
        self.settle()?;
        for (file, superblock) in self.files.iter().zip(&superblocks) {
            let bytes = superblock.layout().map_or(0, |layout| layout.file_bytes);
            for copy in Copy::BOTH {
                let written = file
                    .file()
                    .write_all_at(&superblock.encode(copy), copy.at(bytes));
                written.map_err(|e| Error::Create {
                    path: file.path().to_path_buf(),
                    errno: e.raw_os_error().unwrap_or(libc::EIO),
                })?;
            }
        }
        for file in &self.files {
            file.sync()?;
        }
        let mut published = Vec::with_capacity(self.files.len());
        for file in self.files {
            let path = file.path().to_path_buf();
            if let Err(e) = file.publish(replace) {
                // Some members alone are of no use. Where they took the place of others, those are gone already.
                for path in published.iter().filter(|_| !replace) {
                    let _ = std::fs::remove_file(path);
                }
                return Err(e);
            }
            published.push(path);
        }
        Ok(self.spared_bytes)
    }

    /// Writes a member's directory from the leaves up; returns the entry of its topmost page.
    fn write_directory(&mut self, superblock: &Superblock) -> Result<Entry> {
        let Some(layout) = superblock.layout() else {
            return Ok(Entry::default());
        };
        let member = superblock.member;
        let mut below = std::mem::take(&mut self.entries[member as usize]);
        let fan_out = (superblock.page_bytes / ENTRY_BYTES) as usize;
        for level in 0..layout.shape.levels {
            let mut above = Vec::with_capacity(below.len().div_ceil(fan_out));
            for (k, entries) in below.chunks(fan_out).enumerate() {
                let first_slot = (k as u64).saturating_mul(layout.shape.pages_below(level));
                let node = Node {
                    member,
                    number: layout.shape.above(first_slot, level),
                };
                let entry = self.write_unit(node.unit(), |bytes| {
                    for (place, entry) in bytes.chunks_mut(ENTRY_BYTES as usize).zip(
                        entries
                            .iter()
                            .copied()
                            .chain(std::iter::repeat(Entry::default())),
                    ) {
                        place.copy_from_slice(&entry.to_bytes());
                    }
                    Ok(())
                })?;
                above.push(entry);
            }
            below = above;
        }
        debug_assert_eq!(layout.shape.place_of(0), Place::Superblock);
        Ok(below.first().copied().unwrap_or_default())
    }
}
