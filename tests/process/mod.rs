//! What this process holds and has used, as the kernel tells it.
#![allow(dead_code)]

use std::fs;
use std::time::{Duration, Instant};

/// A number of /proc/self/status, such as `VmLck`, in its unit (KiB for memory).
pub(crate) fn status(name: &str) -> u64 {
    number_in(&fs::read_to_string("/proc/self/status").unwrap(), name)
}

/// A number of /proc/self/io.
pub(crate) fn io(name: &str) -> u64 {
    number_in(&fs::read_to_string("/proc/self/io").unwrap(), name)
}

pub(crate) fn number_in(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next())
        .map_or(0, |number| number.parse().unwrap())
}

/// Things that can leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) descriptors: usize,
    pub(crate) mappings: usize,
    pub(crate) threads: usize,
    /// Locked and pinned memory, in KiB.
    pub(crate) locked_kib: u64,
    /// Explicit huge pages, in KiB.
    pub(crate) huge_kib: u64,
}

impl Held {
    pub(crate) fn now() -> Held {
        Held {
            // The directory that is being read is one of them, always.
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            mappings: fs::read_to_string("/proc/self/maps")
                .unwrap()
                .lines()
                .count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            locked_kib: status("VmLck") + status("VmPin"),
            huge_kib: status("HugetlbPages"),
        }
    }

    /// What is held once nothing changes any more: the kernel takes down rings and threads after the call that ends them.
    pub(crate) fn settled() -> Held {
        let mut held = Held::now();
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(100));
            let now = Held::now();
            if now == held {
                break;
            }
            held = now;
        }
        held
    }

    pub(crate) fn within(&self, before: &Held, mappings: usize) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.locked_kib <= before.locked_kib
            && self.huge_kib <= before.huge_kib
            && self.mappings <= before.mappings + mappings
    }

    /// Fails where more is held than `before`. The kernel takes rings and threads down after the call that ends them, so
    /// this waits a little; the memory allocator may keep `mappings` of its own.
    #[track_caller]
    pub(crate) fn assert_nothing_leaked(before: &Held, mappings: usize) {
        let started = Instant::now();
        loop {
            let now = Held::now();
            if now.within(before, mappings) {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "leaked: {before:?} became {now:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
