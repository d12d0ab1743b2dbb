//! The sysctl `kernel.io_uring_disabled`: one switch for the whole machine, so a test that turns it runs beside none
//! that needs io_uring, in whatever process, and it is turned back even where the test is killed.
#![allow(dead_code)]

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// While this is held, no other test turns the switch; `None` where there is none.
pub(crate) fn left_alone() -> Option<File> {
    let switch = File::open(SYSCTL).ok()?;
    switch.lock_shared().unwrap();
    Some(switch)
}

/// The switch, turned; turned back when this is dropped.
pub(crate) struct Turned {
    /// Turns it back when its standard input ends.
    keeper: Child,
    before: String,
    _lock: File,
}

impl Turned {
    /// Waits until no test needs io_uring, and keeps those that start from it.
    ///
    /// # Errors
    /// Why it cannot be turned here.
    pub(crate) fn to(value: u8) -> Result<Turned, String> {
        let lock = File::open(SYSCTL).map_err(|_| format!("no {SYSCTL} (Linux 6.6)"))?;
        lock.lock().unwrap();
        let before = fs::read_to_string(SYSCTL).unwrap();
        // In a group of its own: Ctrl-C ends the test and not the keeper.
        let keeper = Command::new("sh")
            .args(["-c", "cat; echo $0 > $1", before.trim(), SYSCTL])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let turned = Turned {
            keeper,
            before,
            _lock: lock,
        };
        match fs::write(SYSCTL, value.to_string()) {
            Ok(()) => Ok(turned),
            Err(e) => Err(format!("{SYSCTL} cannot be set: {e}")),
        }
    }
}

impl Drop for Turned {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        if !std::thread::panicking() {
            assert_eq!(fs::read_to_string(SYSCTL).unwrap(), self.before);
        }
    }
}
