//! Whether there are processors to spin on.
//!
//! Sleeping and being woken costs 5 to 20 µs, of which a short look at a memory word saves most, as long as nobody else
//! wants the processor. Where somebody does, the spinner delays the very thread it waits for. So waiters spin only while
//! fewer threads are runnable in the whole machine than it has processors, sampled from `/proc/loadavg` (proc(5), fourth
//! field) every few milliseconds.

use super::sys;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How long a sample holds, in nanoseconds.
const SAMPLE_NS: u64 = 4_000_000;
/// Looks between two readings of the clock.
const LOOKS: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct SpinGate {
    loadavg: Option<File>,
    processors: u32,
    open: AtomicBool,
    sampled_ns: AtomicU64,
}

impl SpinGate {
    /// A gate that is closed for good where spinning is not wanted.
    pub(crate) fn new(wanted: bool) -> SpinGate {
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        let loadavg = (wanted && processors > 1).then(|| File::open("/proc/loadavg").ok());
        SpinGate {
            loadavg: loadavg.flatten(),
            processors,
            open: AtomicBool::new(false),
            sampled_ns: AtomicU64::new(0),
        }
    }

    /// Looks at `done` for up to `patience_ns` where the gate is open; true once it is.
    pub(crate) fn spin(&self, patience_ns: u64, mut done: impl FnMut() -> bool) -> bool {
        let start_ns = sys::now_ns();
        if !self.is_open(start_ns) {
            return false;
        }
        loop {
            for _ in 0..LOOKS {
                if done() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if sys::now_ns() - start_ns >= patience_ns {
                return false;
            }
        }
    }

    fn is_open(&self, now_ns: u64) -> bool {
        let Some(loadavg) = &self.loadavg else {
            return false;
        };
        let sampled_ns = self.sampled_ns.load(Relaxed);
        if now_ns.saturating_sub(sampled_ns) > SAMPLE_NS
            && self
                .sampled_ns
                .compare_exchange(sampled_ns, now_ns, Relaxed, Relaxed)
                .is_ok()
        {
            let runnable = runnable_threads(loadavg);
            // The asking thread is one of them.
            self.open
                .store(runnable.is_some_and(|n| n <= self.processors), Relaxed);
        }
        self.open.load(Relaxed)
    }
}

fn runnable_threads(loadavg: &File) -> Option<u32> {
    let mut text = [0u8; 64];
    let len = loadavg.read_at(&mut text, 0).ok()?;
    runnable_in(std::str::from_utf8(text.get(..len)?).ok()?)
}

fn runnable_in(text: &str) -> Option<u32> {
    text.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::runnable_in;

    #[test]
    fn the_fourth_field_begins_with_the_runnable_threads() {
        assert_eq!(runnable_in("0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!(runnable_in("0.20 0.18"), None);
        assert_eq!(runnable_in(""), None);
    }
}
