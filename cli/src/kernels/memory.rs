//! Memory for measurements of arithmetic, here and in `benches/kernels.rs`: huge pages alone change a rate by a third.

use std::io;

/// Memory in pages of one kind, every page of it written.
///
/// Each byte is from 0x30 to 0x3f, at random. So wherever a format has its scales, and whatever floats they are, they are
/// normal numbers below two: the same bytes do for rows of every format.
pub(crate) struct Memory {
    at: *mut u8,
    len: usize,
}

impl Memory {
    /// `len` bytes, a multiple of eight; in huge pages if asked for and granted ([`Memory::huge_bytes`]).
    ///
    /// # Errors
    /// What `mmap(2)` answers.
    pub(crate) fn new(len: usize, huge: bool) -> io::Result<Memory> {
        // SAFETY: a new private mapping of its own.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let advice = if huge {
            libc::MADV_HUGEPAGE
        } else {
            libc::MADV_NOHUGEPAGE
        };
        // SAFETY: advice on that mapping. Where it is refused, `huge_bytes` tells.
        unsafe { libc::madvise(at, len, advice) };
        let memory = Memory { at: at.cast(), len };
        // SAFETY: the mapping is that long, writable, zero, and nobody else has it.
        let words = unsafe { std::slice::from_raw_parts_mut(memory.at.cast::<u64>(), len / 8) };
        // xorshift64 (Marsaglia 2003).
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for word in words {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            *word = random & 0x0f0f_0f0f_0f0f_0f0f | 0x3030_3030_3030_3030;
        }
        Ok(memory)
    }

    pub(crate) fn floats(&self) -> &[f32] {
        // SAFETY: the mapping is that long and lives as long as `self`; nobody writes to it any more.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.len / 4) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: as in `floats`.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }

    /// Bytes of it that are in huge pages. proc_pid_smaps(5)
    pub(crate) fn huge_bytes(&self) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let from = format!("{:x}-", self.at as usize);
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&from));
        let line = lines.find_map(|line| line.strip_prefix("AnonHugePages:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok())
            .map_or(0, |kib: usize| kib << 10)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is `self`'s own, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}
