//! A file that has its name only once it is whole: until then it has none, or where the file system cannot do that, another.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// See the module. Dropped before [`NewFile::publish`], it leaves nothing behind.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    /// The name it has meanwhile, where it must have one.
    partial: Option<PathBuf>,
}

impl NewFile {
    /// A file of `len` bytes that will be called `path`. Its blocks are allocated now, where the file system can.
    ///
    /// # Errors
    /// [`Error::Create`]: the path exists, the directory does not, or there is no room.
    pub(super) fn create(path: &Path, len: u64, replace: bool) -> Result<NewFile> {
        let create = || -> io::Result<NewFile> {
            if !replace && path.symlink_metadata().is_ok() {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
            // What cannot be replaced is found out before it is written, not after.
            if path.is_dir() {
                return Err(io::Error::from_raw_os_error(libc::EISDIR));
            }
            let new = NewFile::unnamed(path).or_else(|_| NewFile::named(path))?;
            new.file.set_len(len)?;
            allocate(&new.file, len)?;
            Ok(new)
        };
        create().map_err(|e| failed(path, &e))
    }

    /// A file without a name (`O_TMPFILE`): if this process is killed, the kernel removes it.
    fn unnamed(path: &Path) -> io::Result<NewFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .mode(0o666)
            .open(directory_of(path))?;
        // Its name will be made through /proc: without it there is no way to one.
        if !proc_path(&file).exists() {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        Ok(NewFile {
            file,
            path: path.to_path_buf(),
            partial: None,
        })
    }

    fn named(path: &Path) -> io::Result<NewFile> {
        let partial = beside(path, "partial");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&partial)?;
        Ok(NewFile {
            file,
            path: path.to_path_buf(),
            partial: Some(partial),
        })
    }

    /// Its descriptor, once more.
    pub(super) fn descriptor(&self) -> Result<File> {
        self.file.try_clone().map_err(|e| failed(&self.path, &e))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Cuts it to `len` bytes.
    pub(super) fn truncate(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|e| failed(&self.path, &e))
    }

    /// Waits until all of it would survive a loss of power.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| failed(&self.path, &e))
    }

    /// Gives it its name, and waits until that would survive too.
    pub(super) fn publish(mut self, replace: bool) -> Result<()> {
        let path = self.path.clone();
        let mut publish = || -> io::Result<()> {
            match (&self.partial, replace) {
                // Its other name goes when this is dropped.
                (Some(partial), false) => std::fs::hard_link(partial, &path)?,
                (None, false) => link(&self.file, &path)?,
                (Some(partial), true) => {
                    std::fs::rename(partial, &path)?;
                    self.partial = None;
                }
                (None, true) => {
                    let partial = beside(&path, "partial");
                    link(&self.file, &partial)?;
                    self.partial = Some(partial.clone());
                    std::fs::rename(&partial, &path)?;
                    self.partial = None;
                }
            }
            File::open(directory_of(&path))?.sync_all()
        };
        publish().map_err(|e| failed(&path, &e))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // It may be gone; nobody is left to tell.
            let _ = std::fs::remove_file(partial);
        }
    }
}

fn failed(path: &Path, e: &io::Error) -> Error {
    Error::Create {
        path: path.to_path_buf(),
        errno: e.raw_os_error().unwrap_or(libc::EIO),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name beside `path` that nothing else has.
fn beside(path: &Path, what: &str) -> PathBuf {
    use std::hash::{BuildHasher, RandomState};
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let random = RandomState::new().hash_one(path);
    name.push(format!(".{what}-{random:016x}"));
    path.with_file_name(name)
}

fn proc_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives a file without a name one that nothing else has.
fn link(file: &File, path: &Path) -> io::Result<()> {
    crate::ring::sys::link_descriptor(&proc_path(file), path)
}

/// Allocates a file's blocks, so that a lack of room shows now; file systems that cannot find out when it is written.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    match crate::ring::sys::allocate(file, len) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => Ok(()),
        allocated => allocated,
    }
}
