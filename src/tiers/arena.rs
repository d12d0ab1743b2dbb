//! The pinned memory that every page of every field is read into: one mapping, taken whole at `build()`.

use super::huge_pages;
use crate::ring::grant::Grant;
use crate::ring::locked_memory;
use crate::ring::sys;
use std::borrow::Cow;
use std::io;

/// Which pages of the processor's memory management back the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HugePages {
    /// Explicit huge pages where enough are reserved, else transparent ones, else plain ones. The default.
    ///
    /// Explicit ones are not charged to the memory cgroup; transparent ones are.
    #[default]
    Auto,
    /// Explicit (`MAP_HUGETLB`) ones or an error row in the report and plain ones.
    Explicit,
    /// Transparent ones (`MADV_HUGEPAGE`); no privilege needed.
    Transparent,
    /// Plain pages. Reads of 64 KiB and more take up to twice as long: the kernel walks each 4 KiB page.
    Off,
}

const HUGE_PAGE_BYTES: usize = 2 << 20;
pub(super) const EXPLICIT: &str = "explicit 2 MiB pages";
pub(super) const TRANSPARENT: &str = "transparent huge pages";
pub(super) const PLAIN: &str = "plain pages";
/// Arena bytes behind the last frame, for probing reads.
pub(crate) const SCRATCH_BYTES: usize = 64 << 10;

/// Memory that never moves, is not inherited by a forked child, and goes away with its owner.
#[derive(Debug)]
pub(crate) struct Arena {
    base: *mut u8,
    bytes: usize,
    frames_bytes: usize,
}

// SAFETY: the arena is plain memory; who may touch which frame at what time is the page-state machine's business
// (`frame.rs`), and every access goes through raw pointers.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps and faults in `frames_bytes` and the scratch behind them.
    ///
    /// # Errors
    /// Where the memory cannot be mapped or faulted in.
    pub(crate) fn new(frames_bytes: usize, huge: HugePages) -> io::Result<(Arena, Vec<Grant>)> {
        let bytes = (frames_bytes + SCRATCH_BYTES).next_multiple_of(HUGE_PAGE_BYTES);
        let mut grants = Vec::new();
        let explicit = match huge {
            HugePages::Auto | HugePages::Explicit => Some(map(bytes, libc::MAP_HUGETLB)),
            HugePages::Transparent | HugePages::Off => None,
        };
        let refused = explicit.as_ref().and_then(|mapped| mapped.as_ref().err());
        let (arena, granted) = match explicit {
            Some(Ok(base)) => {
                let arena = Arena {
                    base,
                    bytes,
                    frames_bytes,
                };
                (arena, EXPLICIT)
            }
            _ => {
                let arena = Arena::map_aligned(bytes, frames_bytes)?;
                let granted = match huge {
                    HugePages::Off => {
                        arena.advise(libc::MADV_NOHUGEPAGE);
                        PLAIN
                    }
                    _ if arena.advise(libc::MADV_HUGEPAGE) => TRANSPARENT,
                    _ => PLAIN,
                };
                (arena, granted)
            }
        };
        // A child of fork() must not inherit pages that the kernel writes to: copy-on-write would move them away from
        // the parent (madvise(2), MADV_DONTFORK).
        let kept_from_fork = arena.advise(libc::MADV_DONTFORK);
        arena.fault_in()?;
        let resident = arena.lock();
        grants.push(huge_pages::grant(
            huge,
            arena.huge_pages_granted(granted),
            refused,
        ));
        grants.push(match resident {
            Ok(()) => Grant::full("pool kept resident", "locked"),
            Err(e) => Grant::less(
                "pool kept resident",
                "locked",
                "no, unless registered",
                format!("mlock: {e}; locked-memory limit {}", locked_memory::limit()),
                format!(
                    "{}; matters only where the machine swaps",
                    locked_memory::FIX
                ),
            ),
        });
        if !kept_from_fork {
            grants.push(Grant::less(
                "pool kept from fork",
                "yes",
                "no",
                "madvise(MADV_DONTFORK) failed",
                "do not fork while reads are in flight",
            ));
        }
        Ok((arena, grants))
    }

    /// No memory: for frames whose bytes nobody looks at.
    #[cfg(any(test, loom))]
    pub(crate) fn none() -> Arena {
        Arena {
            base: std::ptr::null_mut(),
            bytes: 0,
            frames_bytes: 0,
        }
    }

    /// What of the wish for huge pages is so, once all memory is faulted in.
    fn huge_pages_granted(&self, granted: &'static str) -> Cow<'static, str> {
        // madvise(2) says yes also where transparent huge pages are switched off, or none is free.
        let huge_bytes = match granted {
            TRANSPARENT => sys::huge_bytes(self.base, self.bytes).unwrap_or(self.bytes),
            _ => self.bytes,
        };
        match huge_bytes {
            0 => PLAIN.into(),
            part if part < self.bytes => format!(
                "{TRANSPARENT} for {} % of the pool",
                part / (self.bytes / 100)
            )
            .into(),
            _ => granted.into(),
        }
    }

    /// Maps plain memory at an address that huge pages can back.
    fn map_aligned(bytes: usize, frames_bytes: usize) -> io::Result<Arena> {
        let mapped = map(bytes + HUGE_PAGE_BYTES, 0)?;
        let skip = mapped.align_offset(HUGE_PAGE_BYTES);
        let base = mapped.wrapping_add(skip);
        let rest = HUGE_PAGE_BYTES - skip;
        for (at, len) in [(mapped, skip), (base.wrapping_add(bytes), rest)] {
            if len > 0 {
                // SAFETY: the range lies in the mapping made above, outside of what the arena keeps, and is page-aligned.
                unsafe { libc::munmap(at.cast(), len) };
            }
        }
        Ok(Arena {
            base,
            bytes,
            frames_bytes,
        })
    }

    fn advise(&self, advice: i32) -> bool {
        // SAFETY: the range is this arena's own mapping, and none of the advices used gives up its contents.
        unsafe { libc::madvise(self.base.cast(), self.bytes, advice) == 0 }
    }

    fn lock(&self) -> io::Result<()> {
        // SAFETY: the range is this arena's own mapping.
        match unsafe { libc::mlock(self.base.cast(), self.bytes) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes the first fault of every page now, on several threads, rather than on the first reads.
    fn fault_in(&self) -> io::Result<()> {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8);
        let share = (self.bytes / threads).next_multiple_of(HUGE_PAGE_BYTES);
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for start in (0..self.bytes).step_by(share.max(HUGE_PAGE_BYTES)) {
                let len = share.min(self.bytes - start);
                running.push(scope.spawn(move || self.fault_in_part(start, len)));
            }
            running.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("faulting memory in failed")))
            })
        })
    }

    fn fault_in_part(&self, start: usize, len: usize) -> io::Result<()> {
        let part = self.base.wrapping_add(start);
        // SAFETY: the range lies in this arena's mapping; MADV_POPULATE_WRITE (Linux 5.14) keeps its contents.
        if unsafe { libc::madvise(part.cast(), len, libc::MADV_POPULATE_WRITE) } == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        if e.raw_os_error() != Some(libc::EINVAL) {
            return Err(e);
        }
        for at in (0..len).step_by(4096) {
            // SAFETY: `at` is inside the mapping, which nothing else touches before the engine is built.
            unsafe { part.wrapping_add(at).write_volatile(0) };
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Bytes mapped, scratch and rounding included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory behind the last frame, [`SCRATCH_BYTES`] long.
    pub(crate) fn scratch(&self) -> *mut u8 {
        self.base
            .wrapping_add(self.frames_bytes.next_multiple_of(4096))
    }

    /// Bytes that an arena for `frames_bytes` of frames takes.
    pub(crate) fn bytes_for(frames_bytes: u64) -> u64 {
        (frames_bytes + SCRATCH_BYTES as u64).next_multiple_of(HUGE_PAGE_BYTES as u64)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        // SAFETY: the mapping is this arena's own; its owner lives as long as any frame may be read or written.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

fn map(bytes: usize, flags: i32) -> io::Result<*mut u8> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(base.cast())
    }
}
