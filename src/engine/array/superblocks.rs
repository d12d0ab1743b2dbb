//! The two superblocks of a file: reading both, and deciding between them.

use super::FORMAT;
use super::superblock::{Copy, Refusal, SUPERBLOCK_BYTES, Superblock};
use crate::error::{Error, Result};
use crate::ring::sys;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What both copies of a file say.
#[derive(Debug)]
pub(crate) struct Superblocks {
    pub(crate) copies: [std::result::Result<Superblock, Refusal>; 2],
    pub(crate) file_bytes: u64,
    /// Device and inode of the file that was read.
    pub(crate) inode: (u64, u64),
}

/// True where a file means to be a packed field; false where it cannot be read, too: whoever opens it finds out why.
pub(crate) fn is_packed(path: &Path) -> bool {
    Superblocks::read(path).is_ok_and(|both| both.is_packed())
}

impl Superblocks {
    /// Reads both copies.
    ///
    /// # Errors
    /// [`Error::Open`] where the file cannot be opened or read.
    pub(crate) fn read(path: &Path) -> Result<Superblocks> {
        let read = || -> std::io::Result<Superblocks> {
            // Never waits for the other end of a FIFO.
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
                .open(path)?;
            Superblocks::of(&file)
        };
        read().map_err(|e| Error::Open {
            path: path.to_path_buf(),
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        })
    }

    fn of(file: &File) -> std::io::Result<Superblocks> {
        let metadata = file.metadata()?;
        let file_bytes = match metadata.file_type().is_block_device() {
            true => sys::block_device_len(file.as_fd())?,
            false => metadata.len(),
        };
        let mut refused = None;
        let copies = Copy::BOTH.map(|copy| {
            let mut bytes = [0; SUPERBLOCK_BYTES as usize];
            match file.read_exact_at(&mut bytes, copy.at(file_bytes)) {
                Ok(()) => {}
                // A file that is shorter than a superblock holds none.
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                    let there = file_bytes.min(SUPERBLOCK_BYTES);
                    return Superblock::decode(&bytes[..there as usize], copy);
                }
                Err(e) => refused = Some(e),
            }
            Superblock::decode(&bytes, copy)
        });
        match refused {
            // One copy that can be read is enough.
            Some(e) if copies.iter().all(std::result::Result::is_err) => Err(e),
            _ => Ok(Superblocks {
                copies,
                file_bytes,
                inode: (metadata.dev(), metadata.ino()),
            }),
        }
    }

    /// Both copies of a file that lies in memory.
    #[cfg(feature = "sim")]
    pub(crate) fn in_memory(file: &[u8]) -> Superblocks {
        let bytes = |at: u64| file.get(at as usize..).unwrap_or_default();
        let file_bytes = file.len() as u64;
        Superblocks {
            copies: Copy::BOTH.map(|copy| Superblock::decode(bytes(copy.at(file_bytes)), copy)),
            file_bytes,
            inode: (0, 0),
        }
    }

    /// True where the file means to be a packed field.
    pub(crate) fn is_packed(&self) -> bool {
        self.copies.iter().any(|copy| match copy {
            Ok(_) => true,
            Err(refusal) => !refusal.no_magic,
        })
    }

    /// The superblock to go by, and what is wrong with the other copy.
    ///
    /// # Errors
    /// [`Error::Malformed`] where neither can be believed, where they contradict each other, and where the file is not as
    /// long as they say.
    pub(crate) fn chosen(self, path: &Path) -> Result<(Superblock, Option<String>)> {
        let malformed = |at: u64, what: String| Error::Malformed {
            path: path.to_path_buf(),
            format: FORMAT,
            at,
            what,
        };
        let file_bytes = self.file_bytes;
        let (superblock, other) = match self.copies {
            [Ok(first), Ok(last)] if first == last => (first, None),
            [Ok(first), Ok(last)] => {
                let older = |copy: &str, by: &Superblock| {
                    format!("the {copy} superblock is of generation {}", by.generation)
                };
                match first.generation.cmp(&last.generation) {
                    std::cmp::Ordering::Greater => (first, Some(older("last", &last))),
                    std::cmp::Ordering::Less => (last, Some(older("first", &first))),
                    std::cmp::Ordering::Equal => {
                        let what = "its two superblocks are of one generation and differ";
                        return Err(malformed(0, what.into()));
                    }
                }
            }
            [Ok(first), Err(e)] => (first, Some(format!("the last superblock {}", e.what))),
            [Err(e), Ok(last)] => (last, Some(format!("the first superblock {}", e.what))),
            [Err(first), Err(last)] => {
                // The one that at least begins as one says more.
                let (copy, refusal) = match first.no_magic && !last.no_magic {
                    true => (Copy::Last, last),
                    false => (Copy::First, first),
                };
                let what = format!("the {copy} superblock {}", refusal.what);
                return Err(malformed(copy.at(file_bytes) + refusal.at, what));
            }
        };
        let layout = superblock.layout().map(|layout| layout.file_bytes);
        match layout {
            Some(wanted) if wanted == file_bytes => Ok((superblock, other)),
            wanted => {
                let wanted = wanted.unwrap_or(0);
                let how = if file_bytes < wanted {
                    "cut short"
                } else {
                    "too long"
                };
                let what = format!("{how}: {file_bytes} bytes, and its superblock says {wanted}");
                Err(malformed(file_bytes.min(wanted), what))
            }
        }
    }
}
