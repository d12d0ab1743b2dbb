//! Opening a file for direct reads and writes, and knowing it again.

use crate::ring::sys::{self, DirectIo};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What makes a file this file and this content, as far as the file system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) len: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata, len: u64) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            len,
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// What differs in `now`, in words; `None` where nothing does.
    pub(crate) fn difference(&self, now: &Identity) -> Option<String> {
        if self.len != now.len {
            return Some(format!(
                "its length went from {} to {} bytes",
                self.len, now.len
            ));
        }
        if self.mtime != now.mtime {
            return Some("it was written to (mtime changed)".into());
        }
        if (self.device, self.inode) != (now.device, now.inode) {
            return Some("it was replaced by another file".into());
        }
        (self.ctime != now.ctime).then(|| "its inode changed (ctime)".into())
    }
}

/// Why a path cannot be a field.
#[derive(Debug)]
pub(crate) enum OpenFault {
    /// Neither a regular file nor a block device; what it is instead.
    Kind(&'static str),
    Os(io::Error),
}

impl From<io::Error> for OpenFault {
    fn from(e: io::Error) -> OpenFault {
        OpenFault::Os(e)
    }
}

/// An open file and how it may be read or written.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// Offsets and lengths of reads and writes are multiples of this, in bytes; 1 for buffered ones.
    pub(crate) align: u32,
    /// Reads and writes bypass the page cache.
    pub(crate) direct: bool,
    /// Why they do not, or why the file is not mapped where it was to be; empty where all is as it was wanted.
    pub(crate) why_buffered: &'static str,
    /// `st_dev` of the file, or `st_rdev` of a block device.
    pub(crate) device: u64,
    /// This engine writes to it: what changes in it is its own doing.
    pub(crate) written: bool,
}

impl OpenFile {
    /// Opens `path` for reading; where `direct` is wanted directly, if the file system allows it and `frame_bytes` suits
    /// its alignment.
    ///
    /// Never blocks on a FIFO: the path is opened with `O_PATH` first, looked at, and then reopened by descriptor.
    pub(crate) fn open(path: &Path, frame_bytes: u64, direct: bool) -> Result<OpenFile, OpenFault> {
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(path)?;
        let metadata = handle.metadata()?;
        let kind = metadata.file_type();
        if !(kind.is_file() || kind.is_block_device()) {
            return Err(OpenFault::Kind(kind_name(&kind)));
        }
        let reopened = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        // Without /proc the path itself is opened; O_NONBLOCK keeps a FIFO put there meanwhile from blocking.
        let target = if reopened.exists() { &reopened } else { path };
        let open = |flags: i32| {
            let flags = flags | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
            let open = |flags| {
                OpenOptions::new()
                    .read(true)
                    .custom_flags(flags)
                    .open(target)
            };
            // Only a file's owner may spare its access time (open(2)); it saves about 2 % of a read.
            match open(flags | libc::O_NOATIME) {
                Err(e) if e.raw_os_error() == Some(libc::EPERM) => open(flags),
                opened => opened,
            }
        };
        let buffered = open(0)?;
        let grant = if direct {
            grant(buffered.as_fd(), frame_bytes)
        } else {
            Err(why_unmapped(buffered.as_fd()))
        };
        OpenFile::with(buffered, path, grant, || open(libc::O_DIRECT))
    }

    /// Makes a file that was opened for reading and writing, without `O_DIRECT`, one for the engine to write to; where
    /// `direct` is wanted directly, under the conditions of [`OpenFile::open`] and if its length is a multiple of the
    /// alignment: no write reaches behind it.
    ///
    /// Its length is what it is now: who wants to write n bytes has allocated them. `path` is its name in errors.
    pub(crate) fn for_writing(
        file: File,
        path: &Path,
        frame_bytes: u64,
        direct: bool,
    ) -> Result<OpenFile, OpenFault> {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        if !(kind.is_file() || kind.is_block_device()) {
            return Err(OpenFault::Kind(kind_name(&kind)));
        }
        let (len, _) = len_and_device(&file, &metadata)?;
        // The very file, whatever is at its path by now.
        let reopened = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let grant = match grant(file.as_fd(), frame_bytes) {
            _ if !direct => Err(why_unmapped(file.as_fd())),
            Ok(align) if !len.is_multiple_of(u64::from(align)) => {
                Err("its length is not a multiple of its direct I/O alignment")
            }
            Ok(_) if !reopened.exists() => {
                Err("without /proc it cannot be reopened for direct I/O")
            }
            grant => grant,
        };
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_DIRECT | libc::O_CLOEXEC)
                .open(reopened)
        };
        let mut opened = OpenFile::with(file, path, grant, open)?;
        opened.written = true;
        Ok(opened)
    }

    /// The file that `direct` opens, where `grant` has an alignment for it and the file system does not refuse; `buffered`
    /// otherwise.
    fn with(
        buffered: File,
        path: &Path,
        grant: Result<u32, &'static str>,
        direct: impl FnOnce() -> io::Result<File>,
    ) -> Result<OpenFile, OpenFault> {
        let (file, grant) = match grant {
            Ok(align) => match direct() {
                Ok(file) => (file, Ok(align)),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    (buffered, Err("the file system refused O_DIRECT"))
                }
                Err(e) => return Err(e.into()),
            },
            Err(why) => (buffered, Err(why)),
        };
        let metadata = file.metadata()?;
        let (len, device) = len_and_device(&file, &metadata)?;
        Ok(OpenFile {
            identity: Identity::of(&metadata, len),
            path: path.to_path_buf(),
            file,
            align: grant.unwrap_or(1),
            direct: grant.is_ok(),
            why_buffered: grant.err().unwrap_or(""),
            device,
            written: false,
        })
    }

    /// A file of a simulated disk: `file` has its identity, the disk its content.
    #[cfg(all(feature = "sim", not(loom)))]
    pub(crate) fn simulated(
        file: File,
        path: &Path,
        align: u32,
        device: u64,
    ) -> io::Result<OpenFile> {
        let metadata = file.metadata()?;
        Ok(OpenFile {
            identity: Identity::of(&metadata, metadata.len()),
            path: path.to_path_buf(),
            file,
            align,
            direct: align > 1,
            why_buffered: if align > 1 {
                ""
            } else {
                "the simulated disk says so"
            },
            device,
            written: false,
        })
    }

    /// The descriptor reads and writes go to.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Locks the file against writers (flock(2)) until it is closed; false where one has it.
    pub(crate) fn lock_shared(&self) -> io::Result<bool> {
        match self.file.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            // A file system without locks has no writer that holds one.
            Err(TryLockError::Error(e))
                if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOLCK)) =>
            {
                Ok(true)
            }
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Waits until what was written would survive a loss of power (fsync(2)).
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Compares the open file with what it was at `open`. One that this engine writes to is not compared.
    pub(crate) fn changed(&self) -> Option<String> {
        if self.written {
            return None;
        }
        match self.file.metadata() {
            Ok(now) => {
                let len = if now.file_type().is_block_device() {
                    self.identity.len
                } else {
                    now.len()
                };
                self.identity.difference(&Identity::of(&now, len))
            }
            Err(e) => Some(format!("it cannot be looked at any more: {e}")),
        }
    }
}

/// The alignment that direct I/O on a file needs, in bytes, or why there is none.
fn grant(file: BorrowedFd<'_>, frame_bytes: u64) -> Result<u32, &'static str> {
    match sys::direct_io(file) {
        DirectIo::Refused => Err("the file system does not support direct I/O"),
        DirectIo::Aligned { memory, offset }
            if u64::from(offset) > frame_bytes || u64::from(memory) > frame_bytes =>
        {
            Err("its direct I/O alignment is larger than a page")
        }
        DirectIo::Aligned { offset, .. } => Ok(offset.max(512)),
        // Nobody says; 4 KiB suits every device in use, and the first read proves it or not.
        DirectIo::Unknown => Ok(4096),
    }
}

/// Bytes of a file, and the device it is on or is.
fn len_and_device(file: &File, metadata: &Metadata) -> io::Result<(u64, u64)> {
    if metadata.file_type().is_block_device() {
        Ok((sys::block_device_len(file.as_fd())?, metadata.rdev()))
    } else {
        Ok((metadata.len(), metadata.dev()))
    }
}

/// Why a file cannot be mapped; empty where it can.
fn why_unmapped(file: BorrowedFd<'_>) -> &'static str {
    match sys::FileMap::new(file, 0, 4096) {
        Ok(_) => "",
        Err(_) => "the file system does not map this file",
    }
}

fn kind_name(kind: &std::fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "not a file"
    }
}
