//! The few system calls that neither `std` nor the `io-uring` crate offers, each wrapped once.

use crate::sync::AtomicU32;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Nanoseconds of the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid, writable timespec for the duration of the call; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Allocates the blocks of the first `len` bytes of a file (fallocate(2)).
pub(crate) fn allocate(file: &std::fs::File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: fallocate(2) takes no pointer, and the descriptor is open for the call.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(e);
        }
    }
}

/// Gives the file behind `descriptor`, a link of /proc/self/fd, the name `path`, which nothing else has (open(2),
/// `O_TMPFILE`).
pub(crate) fn link_descriptor(
    descriptor: &std::path::Path,
    path: &std::path::Path,
) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let from = std::ffi::CString::new(descriptor.as_os_str().as_bytes())?;
    let to = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both are strings that end with a zero and outlive the call, which only reads them.
    let rc = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn timespec(wait: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(wait.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: wait.subsec_nanos() as _,
    }
}

/// Sleeps while `word` holds `expected`, at most `timeout`. Returns also on a signal or without a reason: callers loop.
#[cfg(not(loom))]
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let ts = timeout.map(timespec);
    let ts_ptr = ts.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` is a live, aligned u32 and `ts_ptr` is null or points at `ts`, which outlives the call;
    // FUTEX_WAIT only reads both (futex(2)).
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            ts_ptr,
        );
    }
}

/// Wakes up to `count` sleepers of `word`.
#[cfg(not(loom))]
pub(crate) fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: FUTEX_WAKE uses the address as a key only and dereferences nothing (futex(2)).
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        );
    }
}

/// Under the model checker sleeping is spinning with a scheduling point.
#[cfg(loom)]
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _timeout: Option<Duration>) {
    if word.load(crate::sync::Ordering::SeqCst) == expected {
        loom::thread::yield_now();
    }
}

#[cfg(loom)]
pub(crate) fn futex_wake(_word: &AtomicU32, _count: i32) {}

/// Reads at `offset` into `segments`, as preadv(2). Returns the bytes read.
///
/// # Safety
/// Every segment must point at writable memory of its length that nothing else reads or writes during the call.
pub(crate) unsafe fn preadv(
    file: BorrowedFd<'_>,
    segments: &[libc::iovec],
    offset: u64,
) -> io::Result<u32> {
    // SAFETY: the caller vouches for the segments, as preadv(2) wants them.
    unsafe { vectored(libc::preadv, file, segments, offset) }
}

/// Writes `segments` at `offset`, as pwritev(2). Returns the bytes written, which may be fewer.
///
/// # Safety
/// Every segment must point at readable memory of its length that nothing writes during the call.
pub(crate) unsafe fn pwritev(
    file: BorrowedFd<'_>,
    segments: &[libc::iovec],
    offset: u64,
) -> io::Result<u32> {
    // SAFETY: the caller vouches for the segments, as pwritev(2) wants them.
    unsafe { vectored(libc::pwritev, file, segments, offset) }
}

/// preadv(2) or pwritev(2).
type Vectored = unsafe extern "C" fn(
    libc::c_int,
    *const libc::iovec,
    libc::c_int,
    libc::off_t,
) -> libc::ssize_t;

/// # Safety
/// The segments must be as `call` wants them.
unsafe fn vectored(
    call: Vectored,
    file: BorrowedFd<'_>,
    segments: &[libc::iovec],
    offset: u64,
) -> io::Result<u32> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let count = segments.len() as libc::c_int;
    // SAFETY: the descriptor is open for the call (`BorrowedFd`), and the caller vouches for the segments.
    let n = unsafe { call(file.as_raw_fd(), segments.as_ptr(), count, offset) };
    u32::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Length of an open file, in bytes; that of a device is not known here, and nothing lies behind its end.
pub(crate) fn file_len(file: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: an all-zero stat is a valid value, and the call fills it in.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open for the call and `stat` is writable.
    if unsafe { libc::fstat(file.as_raw_fd(), &mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if stat.st_mode & libc::S_IFMT == libc::S_IFBLK {
        Ok(u64::MAX)
    } else {
        Ok(stat.st_size as u64)
    }
}

/// A part of a file in memory, read-only, without read-ahead.
#[derive(Debug)]
pub(crate) struct FileMap {
    base: *mut libc::c_void,
    len: usize,
}

// SAFETY: the mapping is read-only and belongs to this value alone.
unsafe impl Send for FileMap {}

impl FileMap {
    /// Maps `len` bytes from `start` on, a multiple of the system's page; they may lie behind the end of the file.
    pub(crate) fn new(file: BorrowedFd<'_>, start: u64, len: usize) -> io::Result<FileMap> {
        let start = libc::off_t::try_from(start).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                start,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping just made. A refusal costs speed alone.
        unsafe { libc::madvise(base, len, libc::MADV_RANDOM) };
        // SAFETY: as above.
        unsafe { libc::madvise(base, len, libc::MADV_DONTFORK) };
        Ok(FileMap { base, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Asks for `len` bytes from `within` on.
    pub(crate) fn will_need(&self, within: usize, len: usize) {
        let lead = within % 4096;
        let start = self.base.wrapping_byte_add(within - lead);
        // SAFETY: the range lies in the mapping, as in `copy`; the call only starts reads.
        unsafe { libc::madvise(start, len + lead, libc::MADV_WILLNEED) };
    }

    /// Copies `len` bytes from `within` on to `segments`, with process_vm_readv(2) on this process. Returns how many
    /// could be; EFAULT where none.
    ///
    /// # Safety
    /// Every segment must point at writable memory of its length that nothing else reads or writes during the call.
    pub(crate) unsafe fn copy(
        &self,
        within: usize,
        len: usize,
        segments: &[libc::iovec],
    ) -> io::Result<u32> {
        debug_assert!(within + len <= self.len);
        let from = libc::iovec {
            iov_base: self.base.wrapping_byte_add(within),
            iov_len: len,
        };
        // SAFETY: gettid has no preconditions. (The process's first thread may have ended, this one has not.)
        let this_thread = unsafe { libc::gettid() };
        // SAFETY: the caller vouches for the segments; the kernel checks what it reads from and answers EFAULT.
        let n = unsafe {
            libc::process_vm_readv(
                this_thread,
                segments.as_ptr(),
                segments.len() as libc::c_ulong,
                &from,
                1,
                0,
            )
        };
        u32::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it exists.
        unsafe { libc::munmap(self.base, self.len) };
    }
}

/// What `statx` says about direct I/O on an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectIo {
    /// Alignment of memory and of file offsets, in bytes.
    Aligned { memory: u32, offset: u32 },
    /// The file system says that it does not do direct I/O on this file.
    Refused,
    /// The kernel (before 6.1) or the file system does not say.
    Unknown,
}

/// Asks `statx(STATX_DIOALIGN)` (statx(2), Linux 6.1).
pub(crate) fn direct_io(file: BorrowedFd<'_>) -> DirectIo {
    // SAFETY: an all-zero statx is a valid value of this plain C struct.
    let mut stx: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a NUL-terminated empty string with AT_EMPTY_PATH, the descriptor is open and `stx` is writable.
    let rc = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &mut stx,
        )
    };
    if rc != 0 || stx.stx_mask & libc::STATX_DIOALIGN == 0 {
        return DirectIo::Unknown;
    }
    match (stx.stx_dio_mem_align, stx.stx_dio_offset_align) {
        (0, _) | (_, 0) => DirectIo::Refused,
        (memory, offset) => DirectIo::Aligned { memory, offset },
    }
}

/// Bytes of a block device (`BLKGETSIZE64`, `linux/fs.h`).
pub(crate) fn block_device_len(file: BorrowedFd<'_>) -> io::Result<u64> {
    const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
    let mut bytes = 0u64;
    // SAFETY: BLKGETSIZE64 writes one u64 to its argument, which is one.
    let rc = unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64 as _, &mut bytes) };
    if rc == 0 {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How many of the `bytes` from `start` on, a mapping of their own, are backed by transparent huge pages; `None` where the
/// kernel does not say.
pub(crate) fn huge_bytes(start: *const u8, bytes: usize) -> Option<usize> {
    scan_for_huge_pages(start, bytes).or_else(|| {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        huge_bytes_in(&smaps, start as usize..start as usize + bytes)
    })
}

/// The `AnonHugePages` of the mappings that begin in `range` (proc_pid_smaps(5)).
fn huge_bytes_in(smaps: &str, range: std::ops::Range<usize>) -> Option<usize> {
    let (mut inside, mut found) = (false, None);
    for line in smaps.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some((from, _)) = word.split_once('-') {
            if let Ok(from) = usize::from_str_radix(from, 16) {
                inside = range.contains(&from);
            }
        } else if inside && word == "AnonHugePages:" {
            let kib: usize = rest.split_whitespace().next()?.parse().ok()?;
            found = Some(found.unwrap_or(0) + (kib << 10));
        }
    }
    found
}

/// Asks `PAGEMAP_SCAN` (Linux 6.7).
fn scan_for_huge_pages(start: *const u8, bytes: usize) -> Option<usize> {
    /// `struct pm_scan_arg` of `linux/fs.h`.
    #[repr(C)]
    struct Scan {
        size: u64,
        flags: u64,
        start: u64,
        end: u64,
        walk_end: u64,
        regions: u64,
        regions_len: u64,
        max_pages: u64,
        category_inverted: u64,
        category_mask: u64,
        category_anyof_mask: u64,
        return_mask: u64,
    }
    /// `struct page_region`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Region {
        start: u64,
        end: u64,
        categories: u64,
    }
    const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
    const PAGE_IS_HUGE: u64 = 1 << 6;
    let pagemap = std::fs::File::open("/proc/self/pagemap").ok()?;
    let mut regions = [Region {
        start: 0,
        end: 0,
        categories: 0,
    }; 64];
    let end = start as u64 + bytes as u64;
    let (mut at, mut huge) = (start as u64, 0);
    while at < end {
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            flags: 0,
            start: at,
            end,
            walk_end: 0,
            regions: regions.as_mut_ptr() as u64,
            regions_len: regions.len() as u64,
            max_pages: 0,
            category_inverted: 0,
            category_mask: PAGE_IS_HUGE,
            category_anyof_mask: 0,
            return_mask: PAGE_IS_HUGE,
        };
        // SAFETY: the kernel reads and writes `scan`, and writes at most `regions_len` regions.
        let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut scan) };
        let found = usize::try_from(found).ok()?;
        huge += regions
            .iter()
            .take(found)
            .map(|r| r.end - r.start)
            .sum::<u64>();
        if scan.walk_end <= at {
            return None;
        }
        at = scan.walk_end;
    }
    Some(huge as usize)
}

/// A file that exists in memory only; `name` is for `/proc/self/fd` (memfd_create(2)).
#[cfg(all(feature = "sim", not(loom)))]
pub(crate) fn memory_file(name: &str) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name is a NUL-terminated string that outlives the call; a negative result is checked below.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is a fresh descriptor that nothing else owns.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// Pins the calling thread to `cpus`; an error leaves it where it was.
pub(crate) fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: `cpu` is below CPU_SETSIZE, so the bit lies inside the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: pid 0 is the calling thread, and the set is read for exactly its size.
    let rc = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets the nice level of the calling thread (setpriority(2): on Linux it is an attribute of the thread).
pub(crate) fn set_nice(level: i32) -> io::Result<()> {
    // SAFETY: setpriority takes no pointers; who 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, level) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// [`set_affinity`] where the list names any.
pub(crate) fn set_affinity_if_any(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        Ok(())
    } else {
        set_affinity(cpus)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::huge_bytes_in;

    #[test]
    fn huge_pages_are_counted_of_the_mappings_in_the_range() {
        let smaps = "55d0c000-55d2d000 rw-p 00000000 00:00 0 [heap]\n\
            Size: 132 kB\nAnonHugePages:      2048 kB\nVmFlags: rd wr\n\
            7f0000200000-7f0000600000 rw-p 00000000 00:00 0\n\
            Size: 4096 kB\nAnonHugePages:      4096 kB\n\
            7f0000600000-7f0000800000 rw-p 00000000 00:00 0\nAnonHugePages:         0 kB\n";
        let range = |from: usize, to: usize| huge_bytes_in(smaps, from..to);
        assert_eq!(range(0x7f00_0020_0000, 0x7f00_0080_0000), Some(4 << 20));
        assert_eq!(range(0x7f00_0060_0000, 0x7f00_0080_0000), Some(0));
        assert_eq!(range(0x1000, 0x2000), None);
    }
}
