//! Memory limits: the one this process is under, and one for a process of our own where this user
//! may make a control group (cgroups(7)), in both versions of the interface.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// A control group with a memory limit, removed when dropped.
pub(crate) struct Group {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    fn limit_file(self) -> &'static str {
        match self {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        }
    }
}

impl Group {
    /// Makes a group that may hold `limit_bytes`, page cache included.
    ///
    /// # Errors
    /// Why that cannot be, in words for the user.
    pub(crate) fn create(name: &str, limit_bytes: u64) -> Result<Group, String> {
        let (mounts, own) = (read("/proc/self/mounts"), read("/proc/self/cgroup"));
        let mut why = "no memory controller is mounted".to_owned();
        for (parent, version) in hierarchy(&mounts, &own) {
            if !has_controller(&parent, version) {
                continue;
            }
            match Group::below(&parent, version, name, limit_bytes) {
                Ok(group) => return Ok(group),
                Err(e) => why = format!("no group below {}: {e}", parent.display()),
            }
        }
        Err(why)
    }

    fn below(
        parent: &Path,
        version: Version,
        name: &str,
        limit_bytes: u64,
    ) -> std::io::Result<Group> {
        let dir = parent.join(name);
        fs::create_dir(&dir)?;
        // From here on dropping removes it.
        let group = Group { dir, version };
        fs::write(
            group.dir.join(version.limit_file()),
            limit_bytes.to_string(),
        )?;
        // Swapping would make the limit soft; where it cannot be forbidden it stays possible.
        let _ = match version {
            Version::V1 => fs::write(group.dir.join("memory.swappiness"), "0"),
            Version::V2 => fs::write(group.dir.join("memory.swap.max"), "0"),
        };
        Ok(group)
    }

    /// The file that a process writes `0` to in order to enter.
    pub(crate) fn entrance(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// The most memory the group has held, where this kernel counts it.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        fs::read_to_string(self.dir.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.version {
            Version::V1 => "cgroup v1",
            Version::V2 => "cgroup v2",
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..50 {
            match fs::remove_dir(&self.dir) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                    thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// The tightest limit on this process's memory, in bytes, if there is one.
pub(crate) fn memory_limit() -> Option<u64> {
    let (mounts, own) = (read("/proc/self/mounts"), read("/proc/self/cgroup"));
    let limits = hierarchy(&mounts, &own)
        .into_iter()
        .filter_map(|(dir, version)| {
            let text = fs::read_to_string(dir.join(version.limit_file())).ok()?;
            text.trim().parse::<u64>().ok()
        });
    // Without a limit version 2 says `max` and version 1 a number near 2^63.
    limits.filter(|&bytes| bytes < 1 << 60).min()
}

/// A budget that a command chooses by itself: `wanted`, or half of a smaller limit, as the process
/// has memory beside it.
pub(crate) fn budget_bytes(wanted: u64) -> u64 {
    memory_limit().map_or(wanted, |limit| wanted.min(limit / 2))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The group of this process and those above it, the nearest first.
fn hierarchy(mounts: &str, own: &str) -> Vec<(PathBuf, Version)> {
    let mut found = Vec::new();
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        let (Some(at), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let version = match kind {
            "cgroup" if options.split(',').any(|o| o == "memory") => Version::V1,
            "cgroup2" => Version::V2,
            _ => continue,
        };
        let path = own_path(own, version).unwrap_or("/");
        // Inside a container the path may be the host's, which is not mounted here: only the
        // root is found then.
        for ancestor in Path::new(path).ancestors() {
            let dir = Path::new(at).join(ancestor.strip_prefix("/").unwrap_or(ancestor));
            found.push((dir, version));
        }
    }
    found
}

fn own_path(own: &str, version: Version) -> Option<&str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        match version {
            Version::V1 => controllers.split(',').any(|c| c == "memory"),
            Version::V2 => controllers.is_empty(),
        }
        .then_some(path)
    })
}

/// Whether groups below `dir` have memory limits.
fn has_controller(dir: &Path, version: Version) -> bool {
    match version {
        Version::V1 => dir.join(version.limit_file()).exists(),
        // Version 2 gives a controller to the groups below only where that was asked for.
        Version::V2 => fs::read_to_string(dir.join("cgroup.subtree_control"))
            .is_ok_and(|controllers| controllers.split_whitespace().any(|c| c == "memory")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/x\n0::/user.slice/s\n";
        assert_eq!(own_path(own, Version::V1), Some("/a/b"));
        assert_eq!(own_path(own, Version::V2), Some("/user.slice/s"));
        assert_eq!(own_path("", Version::V2), None);
    }

    #[test]
    fn a_group_keeps_its_limit_and_goes_when_dropped() {
        let name = format!("ringfield-test-{}", std::process::id());
        let group = match Group::create(&name, 64 << 20) {
            Ok(group) => group,
            Err(why) => return println!("SKIPPED: {why}"),
        };
        let dir = group.dir.clone();
        assert!(group.entrance().exists());
        assert!(Group::below(dir.parent().expect("a parent"), group.version, &name, 1).is_err());
        drop(group);
        assert!(!dir.exists());
    }
}
