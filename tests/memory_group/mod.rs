//! A memory cgroup for the processes of a test, in both versions of the interface.
#![allow(dead_code)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Has a limit, and goes away on drop. One test process makes one of each limit.
pub(crate) struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// # Errors
    /// Why there can be none, for a test that is skipped then.
    pub(crate) fn new(limit: u64) -> Result<MemoryGroup, String> {
        let name = format!("ringfield-test-{}-{limit}", std::process::id());
        let mut why = String::new();
        for (root, file) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let group = PathBuf::from(root).join(&name);
            let made = fs::create_dir(&group)
                .and_then(|()| fs::write(group.join(file), limit.to_string()));
            match made {
                Ok(()) => return Ok(MemoryGroup(group)),
                Err(e) => why = format!("{}: {e}", group.display()),
            }
            let _ = fs::remove_dir(&group);
        }
        Err(format!("no memory cgroup can be made: {why}"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What a process writes `0` to in order to enter, for good.
    pub(crate) fn entrance(group: &Path) -> File {
        let entrance = File::options().write(true).open(group.join("cgroup.procs"));
        entrance.unwrap()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
