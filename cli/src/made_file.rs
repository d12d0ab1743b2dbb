//! A file that a command makes for itself and removes whatever happens.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::content;
use crate::direct::Buffer;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::os;
use crate::size::Size;

const CHUNK_BYTES: u64 = 4 << 20;

/// Removed when dropped: at the end, on an error and after Ctrl-C.
pub(crate) struct MadeFile {
    path: PathBuf,
}

impl MadeFile {
    /// Makes a file of `len` bytes holding [`content::Content::Pattern`], durable and uncached.
    /// Never replaces a file that is there.
    ///
    /// # Errors
    /// A disk without room, a system call that failed, or an interrupt; nothing is left then.
    pub(crate) fn create(path: PathBuf, len: u64, progress: impl Fn(u64)) -> Result<MadeFile> {
        check_room(&path, len)?;
        let (file, direct) = create_new(&path).at("cannot make", &path)?;
        let made = MadeFile { path };
        made.write(&file, direct, len, progress)?;
        os::drop_cache(&file);
        Ok(made)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, file: &File, direct: bool, len: u64, progress: impl Fn(u64)) -> Result<()> {
        let mut buffer = Buffer::new(CHUNK_BYTES as usize);
        let mut offset = 0;
        while offset < len {
            interrupt::check()?;
            let bytes = buffer.bytes();
            content::fill(offset, bytes);
            let end = (offset + CHUNK_BYTES).min(len);
            // Direct I/O writes whole sectors; what is too much is cut off below.
            let write = if direct {
                end.next_multiple_of(4096)
            } else {
                end
            } - offset;
            let write = usize::try_from(write).unwrap_or(bytes.len());
            file.write_all_at(&bytes[..write], offset)
                .at("cannot write", &self.path)?;
            offset = end;
            progress(offset);
        }
        file.set_len(len).at("cannot write", &self.path)?;
        file.sync_data().at("cannot write", &self.path)
    }
}

impl Drop for MadeFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Opened with `O_DIRECT` where the file system has it, so that making the file fills no cache.
fn create_new(path: &Path) -> io::Result<(File, bool)> {
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(flags)
            .open(path)
    };
    match open(libc::O_DIRECT) {
        Ok(file) => Ok((file, true)),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            // The failed open may have made it.
            let _ = fs::remove_file(path);
            Ok((open(0)?, false))
        }
        Err(e) => Err(e),
    }
}

fn check_room(path: &Path, len: u64) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let free = os::free_bytes(dir).at("cannot look at", dir)?;
    if len > free {
        return Err(Error::message(format!(
            "{} has {} free, the file needs {}",
            dir.display(),
            Size(free),
            Size(len)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;

    #[test]
    fn the_file_holds_the_pattern_and_goes_when_dropped() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("made");
        let len = CHUNK_BYTES + 4097;
        let made = MadeFile::create(path.clone(), len, |_| {}).expect("made");
        let bytes = fs::read(&path).expect("read");
        assert_eq!(bytes.len() as u64, len);
        assert!(Content::Pattern.matches(0, &bytes));
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_there_is_never_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("precious");
        fs::write(&path, "mine").expect("written");
        assert!(MadeFile::create(path.clone(), 4096, |_| {}).is_err());
        assert_eq!(fs::read(&path).expect("read"), b"mine");
    }

    #[test]
    fn a_disk_without_room_is_said_before_anything_is_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("huge");
        let Err(error) = MadeFile::create(path.clone(), 1 << 60, |_| {}) else {
            panic!("must be refused");
        };
        assert!(
            error
                .to_string()
                .contains("free, the file needs 1048576 TiB"),
            "{error}"
        );
        assert!(!path.exists());
    }
}
