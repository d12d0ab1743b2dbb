//! Opening a file for direct reads, and knowing it again.

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

/// An open file and how it may be read.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// Offsets and lengths of reads are multiples of this, in bytes; 1 for buffered reads.
    pub(crate) align: u32,
    /// Reads bypass the page cache.
    pub(crate) direct: bool,
    /// Why they do not, or why the file is not mapped where it was to be; empty where all is as it was wanted.
    pub(crate) why_buffered: &'static str,
    /// `st_dev` of the file, or `st_rdev` of a block device.
    pub(crate) device: u64,
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
        let (direct, align, why) = match sys::direct_io(buffered.as_fd()) {
            _ if !direct => (false, 1, why_unmapped(buffered.as_fd())),
            DirectIo::Refused => (false, 1, "the file system does not support direct I/O"),
            DirectIo::Aligned { memory, offset }
                if u64::from(offset) > frame_bytes || u64::from(memory) > frame_bytes =>
            {
                (false, 1, "its direct I/O alignment is larger than a page")
            }
            DirectIo::Aligned { offset, .. } => (true, offset.max(512), ""),
            // Nobody says; 4 KiB suits every device in use, and the first read proves it or not.
            DirectIo::Unknown => (true, 4096, ""),
        };
        let (file, direct, align, why) = if direct {
            match open(libc::O_DIRECT) {
                Ok(file) => (file, true, align, why),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    (buffered, false, 1, "the file system refused O_DIRECT")
                }
                Err(e) => return Err(e.into()),
            }
        } else {
            (buffered, false, 1, why)
        };
        let metadata = file.metadata()?;
        let (len, device) = if metadata.file_type().is_block_device() {
            (sys::block_device_len(file.as_fd())?, metadata.rdev())
        } else {
            (metadata.len(), metadata.dev())
        };
        Ok(OpenFile {
            identity: Identity::of(&metadata, len),
            path: path.to_path_buf(),
            file,
            align,
            direct,
            why_buffered: why,
            device,
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
        })
    }

    /// The descriptor reads go to.
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

    /// Compares the open file with what it was at `open`.
    pub(crate) fn changed(&self) -> Option<String> {
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
