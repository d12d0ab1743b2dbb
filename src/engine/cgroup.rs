//! The memory limit of the control group this process is in (cgroups(7)); both versions of the interface.

use std::fs;
use std::path::{Path, PathBuf};

/// The tightest limit from this process's group up to the root, in bytes; `None` where there is none.
pub(crate) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (kind, file) = if controllers.is_empty() {
            ("cgroup2", "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            ("cgroup", "memory.limit_in_bytes")
        } else {
            continue;
        };
        if let Some(mount) = mount_point(&mounts, kind) {
            limits.extend(limits_up(&mount, path, file));
        }
    }
    limits.into_iter().min()
}

fn mount_point(mounts: &str, kind: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let memory = kind == "cgroup2" || right.clone().nth(2)?.split(',').any(|o| o == "memory");
        (right.next()? == kind && memory)
            .then(|| PathBuf::from(left.split(' ').nth(4).unwrap_or("/")))
    })
}

fn limits_up(mount: &Path, group: &str, file: &str) -> Vec<u64> {
    let mut dir = mount.join(group.trim_start_matches('/'));
    let mut limits = Vec::new();
    loop {
        if let Ok(text) = fs::read_to_string(dir.join(file))
            && let Ok(bytes) = text.trim().parse::<u64>()
            // Version 1 writes "no limit" as a number near 2^63.
            && bytes < 1 << 62
        {
            limits.push(bytes);
        }
        if dir == mount || !dir.pop() {
            return limits;
        }
    }
}
