//! Reads through a mapping of the file: what the page cache offers where nothing else is wanted.
//!
//! A bounded window of the file is mapped with read-ahead off, and the bytes are copied out of it with
//! `process_vm_readv` on this very process. Copying in user space would do the same until the file is truncated: then it
//! ends the host with SIGBUS, where the system call answers EFAULT.

use crate::ring::sys;
use std::io;
use std::os::fd::BorrowedFd;

/// Address space of one thread's window, in bytes: some reads of the largest size.
const WINDOW_BYTES: usize = 16 << 20;
const PAGE_BYTES: u64 = 4096;

/// The part of a file that one thread has mapped.
#[derive(Debug, Default)]
pub(crate) struct Window {
    mapped: Option<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    map: sys::FileMap,
    /// Number of the file: descriptors are used again, numbers are not.
    file: u64,
    start: u64,
}

impl Window {
    /// Reads at `offset` of `fd` into `segments`, as [`sys::preadv`] does. `file` is a number that no other file has.
    ///
    /// # Safety
    /// As for [`sys::preadv`].
    pub(crate) unsafe fn read(
        &mut self,
        fd: BorrowedFd<'_>,
        file: u64,
        segments: &[libc::iovec],
        offset: u64,
    ) -> io::Result<u32> {
        let wanted: u64 = segments.iter().map(|segment| segment.iov_len as u64).sum();
        let there = sys::file_len(fd)?.saturating_sub(offset).min(wanted);
        if there == 0 {
            return Ok(0);
        }
        let (map, within) = self.map(fd, file, offset, there as usize)?;
        if there > PAGE_BYTES {
            // One read of the device, not one for each page.
            map.will_need(within, there as usize);
        }
        // SAFETY: the caller vouches for the segments.
        let copied = unsafe { map.copy(within, there as usize, segments) };
        // A file that was cut meanwhile shows zeros up to the end of its last page: they are not its bytes.
        let still_there = sys::file_len(fd)?.saturating_sub(offset);
        match copied {
            Ok(n) => Ok(u64::from(n).min(still_there) as u32),
            Err(e) if e.raw_os_error() != Some(libc::EFAULT) => Err(e),
            Err(_) if still_there < there => Ok(0),
            // The page is in the file and cannot be had: the device failed.
            Err(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.mapped.is_some()
    }

    /// Unmaps: nobody reads now, and a mapping keeps a deleted file's blocks.
    pub(crate) fn close(&mut self) {
        self.mapped = None;
    }

    /// A mapping that has `len` bytes from `offset` on, and where in it they begin.
    fn map(
        &mut self,
        fd: BorrowedFd<'_>,
        file: u64,
        offset: u64,
        len: usize,
    ) -> io::Result<(&sys::FileMap, usize)> {
        let fits = self.mapped.as_ref().is_some_and(|mapped| {
            mapped.file == file
                && offset >= mapped.start
                && offset + len as u64 <= mapped.start + mapped.map.len() as u64
        });
        if !fits {
            // The old one goes first: there are never two.
            self.mapped = None;
            let start = offset - offset % PAGE_BYTES;
            let len = WINDOW_BYTES.max(len + PAGE_BYTES as usize);
            self.mapped = Some(Mapped {
                map: sys::FileMap::new(fd, start, len)?,
                file,
                start,
            });
        }
        match &self.mapped {
            Some(mapped) => Ok((&mapped.map, (offset - mapped.start) as usize)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
