//! Which device a file lives on, and what the kernel says about it.

use std::fs;
use std::path::{Path, PathBuf};

/// A device with a submission loop of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// Key of the loop: the whole disk's number, or the `st_dev` of a file system without one.
    pub(crate) number: u64,
    /// Such as `vda`, or `0:42` for a file system that is not on one block device.
    pub(crate) name: String,
    /// Requests that the block layer queues before a submitter blocks (`queue/nr_requests`).
    pub(crate) requests_max: Option<u32>,
    /// Largest read that the driver takes unsplit, in bytes (`queue/max_sectors_kb`).
    pub(crate) io_bytes_max: Option<u64>,
    /// Largest read that a driver takes unsplit whatever its memory looks like, in bytes (`queue/max_segments`).
    pub(crate) scattered_bytes_max: Option<u64>,
    /// The driver has queues that can be polled (`queue/io_poll`).
    pub(crate) polls: Option<bool>,
}

impl Device {
    /// The device behind `st_dev`, through sysfs; file systems without a block device of their own (overlay, btrfs,
    /// network) are a device each.
    pub(crate) fn of(st_dev: u64) -> Device {
        let (major, minor) = (libc::major(st_dev), libc::minor(st_dev));
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let Some(disk) = whole_disk(&link) else {
            return Device {
                number: st_dev,
                name: format!("{major}:{minor}"),
                requests_max: None,
                io_bytes_max: None,
                scattered_bytes_max: None,
                polls: None,
            };
        };
        let number = fs::read_to_string(disk.join("dev"))
            .ok()
            .and_then(|text| {
                let (major, minor) = text.trim().split_once(':')?;
                Some(libc::makedev(major.parse().ok()?, minor.parse().ok()?))
            })
            .unwrap_or(st_dev);
        Device {
            number,
            name: disk.file_name().map_or_else(
                || format!("{major}:{minor}"),
                |name| name.to_string_lossy().into(),
            ),
            requests_max: number_in(&disk.join("queue/nr_requests")),
            io_bytes_max: number_in(&disk.join("queue/max_sectors_kb")).map(|kib: u64| kib << 10),
            // A segment is at least a page of the system.
            scattered_bytes_max: number_in(&disk.join("queue/max_segments"))
                .map(|segments: u64| segments * 4096),
            polls: number_in(&disk.join("queue/io_poll")).map(|polls: u32| polls != 0),
        }
    }
}

fn whole_disk(link: &Path) -> Option<PathBuf> {
    let node = fs::canonicalize(link).ok()?;
    if node.join("partition").exists() {
        node.parent().map(Path::to_path_buf)
    } else {
        Some(node)
    }
}

fn number_in<T: std::str::FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Device;

    #[test]
    fn a_file_system_without_a_block_device_is_a_device_of_its_own() {
        let device = Device::of(libc::makedev(0, 4_000));
        assert_eq!(device.name, "0:4000");
        assert_eq!(device.requests_max, None);
    }
}
