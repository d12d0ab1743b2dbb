//! The system calls of the command: memory maps and advice for the rivals, clocks and counters.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// CPU time that this process has used, in all its threads.
pub(crate) fn cpu_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a valid place for one rusage, and RUSAGE_SELF is always answered.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid rusage, so it is initialised whatever the call did.
    let usage = unsafe { usage.assume_init() };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn duration(time: libc::timeval) -> Duration {
    let us = time.tv_sec * 1_000_000 + time.tv_usec;
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// What a process says it will do with a part of a file, through `posix_fadvise(2)`.
#[derive(Clone, Copy)]
pub(crate) enum FileAdvice {
    Random,
    Sequential,
    WillNeed,
    DontNeed,
}

/// Best effort: a file system that takes no advice is no error.
pub(crate) fn advise_file(file: &File, range: Range<u64>, advice: FileAdvice) {
    let advice = match advice {
        FileAdvice::Random => libc::POSIX_FADV_RANDOM,
        FileAdvice::Sequential => libc::POSIX_FADV_SEQUENTIAL,
        FileAdvice::WillNeed => libc::POSIX_FADV_WILLNEED,
        FileAdvice::DontNeed => libc::POSIX_FADV_DONTNEED,
    };
    let start = libc::off_t::try_from(range.start).unwrap_or(0);
    let len = libc::off_t::try_from(range.end - range.start).unwrap_or(0);
    // SAFETY: takes a descriptor that `file` keeps open, and no pointer.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), start, len, advice) };
}

/// Drops the page cache of a file, so that the next reads are the device's.
pub(crate) fn drop_cache(file: &File) {
    // Dirty pages are not dropped; a read-only descriptor may refuse the flush, then there are none.
    let _ = file.sync_data();
    advise_file(file, 0..0, FileAdvice::DontNeed);
}

/// What `madvise(2)` is told about a part of a mapping.
#[derive(Clone, Copy)]
pub(crate) enum MapAdvice {
    Random,
    WillNeed,
}

/// A whole file, mapped shared and read-only.
pub(crate) struct FileMap {
    start: *const u8,
    len: usize,
}

// SAFETY: the mapping is read-only memory that lives until drop; no thread owns it.
unsafe impl Send for FileMap {}
// SAFETY: as above; shared reads need no synchronisation.
unsafe impl Sync for FileMap {}

impl FileMap {
    /// Maps the first `len` bytes of `file`.
    ///
    /// # Errors
    /// What `mmap(2)` answers.
    pub(crate) fn new(file: &File, len: u64) -> io::Result<FileMap> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: a fresh mapping at a place the kernel chooses touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(FileMap {
            start: start.cast(),
            len,
        })
    }

    /// The file's bytes. Nobody may truncate the file meanwhile: that is a rival's weakness, and
    /// the reason why its runs are short, and in the demo in a process of their own.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has `len` readable bytes and lives as long as `self`; the file is
        // one that this program made or that the user offered as constant for the time of the run.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub(crate) fn advise(&self, range: Range<u64>, advice: MapAdvice) {
        let advice = match advice {
            MapAdvice::Random => libc::MADV_RANDOM,
            MapAdvice::WillNeed => libc::MADV_WILLNEED,
        };
        let end = usize::try_from(range.end)
            .unwrap_or(usize::MAX)
            .min(self.len);
        let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end) & !4095;
        // SAFETY: `start <= end <= len`: inside the mapping or one past it.
        let address = unsafe { self.start.add(start) };
        // SAFETY: read-ahead advice on a read-only file mapping never changes its bytes.
        unsafe { libc::madvise(address.cast_mut().cast(), end - start, advice) };
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        // SAFETY: exactly what `mmap` gave; no slice outlives `self`.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.len) };
    }
}

/// Bytes that this user may still write below `dir`.
///
/// # Errors
/// What `statvfs(3)` answers.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a NUL-terminated path and a valid place for one statvfs.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero bytes are a valid statvfs, and the call succeeded.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether `file` is memory (tmpfs) and no disk at all.
pub(crate) fn is_memory(file: &File) -> bool {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: an open descriptor and a valid place for one statfs.
    let status = unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid statfs.
    let stat = unsafe { stat.assume_init() };
    status == 0 && stat.f_type == libc::TMPFS_MAGIC
}

/// Has the kernel end this process when its parent dies, however that happens.
pub(crate) fn die_with_parent() {
    // SAFETY: sets one attribute of this process; takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// The most resident memory this process has had, in bytes (`VmHWM`).
pub(crate) fn peak_resident_bytes() -> u64 {
    kib_in("/proc/self/status", "VmHWM").unwrap_or(0)
}

/// How many io_uring worker threads a process has: each is a read that left the fast path.
pub(crate) fn iowq_threads(pid: &str) -> u32 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let comms = tasks
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("comm")));
    let workers = comms
        .flatten()
        .filter(|comm| comm.starts_with("iou-wrk"))
        .count();
    u32::try_from(workers).unwrap_or(u32::MAX)
}

/// A number of a file of `NAME: NUMBER kB` lines, in bytes.
fn kib_in(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// The most memory that this process has had, with its explicit huge pages of now, which the kernel counts apart.
pub(crate) fn peak_memory_bytes() -> u64 {
    peak_resident_bytes() + kib_in("/proc/self/status", "HugetlbPages").unwrap_or(0)
}

/// Memory that a new program could have without swapping, under the limit of this one's control group.
pub(crate) fn free_memory_bytes() -> u64 {
    let machine = kib_in("/proc/meminfo", "MemAvailable").unwrap_or(1 << 30);
    crate::cgroup::memory_limit().map_or(machine, |limit| limit.min(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_shows_the_file_and_ignores_advice_beyond_it() {
        let file = tempfile::tempfile().expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, b"hello", 0).expect("written");
        let map = FileMap::new(&file, 5).expect("mapped");
        map.advise(0..5, MapAdvice::WillNeed);
        map.advise(u64::MAX - 1..u64::MAX, MapAdvice::Random);
        assert_eq!(map.bytes(), b"hello");
    }

    #[test]
    fn counters_of_this_process_are_sane() {
        assert!(peak_resident_bytes() > 0);
        assert!(free_bytes(Path::new("/")).is_ok());
        assert_eq!(iowq_threads("self"), 0);
        let before = cpu_time();
        while cpu_time() < before + Duration::from_millis(2) {}
    }
}
