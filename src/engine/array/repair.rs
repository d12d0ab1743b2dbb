//! Putting a damaged superblock right from the other copy.

use super::superblock::{Copy, Superblock};
use super::superblocks::Superblocks;
use crate::error::{Error, Result};
use std::fs::{OpenOptions, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes the copy that is damaged, or of an older generation, anew from the other; says what was wrong with it.
///
/// # Errors
/// [`Error::Locked`] where somebody has the file open; [`Error::Open`]; [`Error::Malformed`] where neither copy is whole.
pub(super) fn repair(path: &Path) -> Result<String> {
    let failed = |e: &std::io::Error| Error::Open {
        path: path.to_path_buf(),
        errno: e.raw_os_error().unwrap_or(libc::EIO),
    };
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Locked {
                path: path.to_path_buf(),
                holder: "that reads it",
            });
        }
        Err(TryLockError::Error(e)) => return Err(failed(&e)),
    }
    // Read once more: now nobody changes it.
    let both = Superblocks::read(path)?;
    let (copies, file_bytes) = (both.copies.clone(), both.file_bytes);
    let (whole, damaged) = both.chosen(path)?;
    let Some(damaged) = damaged else {
        return Ok(format!("{}: both superblocks are whole", path.display()));
    };
    for (copy, read) in Copy::BOTH.into_iter().zip(&copies) {
        if !matches!(read, Ok(read) if *read == whole) {
            write(&file, &whole, copy, file_bytes).map_err(|e| failed(&e))?;
        }
    }
    Ok(format!(
        "{}: {damaged}; written anew from the other",
        path.display()
    ))
}

fn write(
    file: &std::fs::File,
    superblock: &Superblock,
    copy: Copy,
    file_bytes: u64,
) -> std::io::Result<()> {
    file.write_all_at(&superblock.encode(copy), copy.at(file_bytes))?;
    file.sync_all()
}
