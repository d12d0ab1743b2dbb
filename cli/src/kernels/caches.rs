//! The sizes of the processor's caches, as Linux tells them.

use std::fs;
use std::path::Path;

/// What the first processor has; `None` where nobody says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Caches {
    pub(super) l2_bytes: Option<usize>,
    /// The one before memory.
    pub(super) last_bytes: Option<usize>,
}

impl Caches {
    pub(super) fn of_this_machine() -> Caches {
        Caches::in_dir(Path::new("/sys/devices/system/cpu/cpu0/cache"))
    }

    /// Reads `dir/index*/{level,type,size}`. sysfs-devices-system-cpu(5)
    fn in_dir(dir: &Path) -> Caches {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut caches: Vec<(u32, usize)> = entries
            .filter_map(|entry| {
                let read = |name: &str| fs::read_to_string(entry.path().join(name)).ok();
                let level = read("level")?.trim().parse().ok()?;
                let holds_data = read("type")?.trim() != "Instruction";
                holds_data.then_some((level, bytes(read("size")?.trim())?))
            })
            .collect();
        caches.sort_unstable();
        let l2 = caches.iter().find(|(level, _)| *level == 2);
        Caches {
            l2_bytes: l2.map(|(_, bytes)| *bytes),
            last_bytes: caches.last().map(|(_, bytes)| *bytes),
        }
    }
}

/// `1024K`, `32M`.
fn bytes(size: &str) -> Option<usize> {
    let shift = match size.as_bytes().last()? {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => return size.parse().ok(),
    };
    let number: usize = size.get(..size.len() - 1)?.parse().ok()?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_of_data_are_found_by_their_level() {
        let dir = tempfile::tempdir().expect("a directory");
        for (index, level, kind, size) in [
            ("index3", "3\n", "Unified\n", "32768K\n"),
            ("index0", "1\n", "Data\n", "48K\n"),
            ("index1", "2\n", "Instruction\n", "64K\n"),
            ("index2", "2\n", "Unified\n", "2M\n"),
            ("index4", "4\n", "Unified\n", "unknown\n"),
        ] {
            let index = dir.path().join(index);
            fs::create_dir(&index).expect("made");
            for (name, text) in [("level", level), ("type", kind), ("size", size)] {
                fs::write(index.join(name), text).expect("written");
            }
        }
        let caches = Caches::in_dir(dir.path());
        assert_eq!(caches.l2_bytes, Some(2 << 20));
        assert_eq!(caches.last_bytes, Some(32 << 20));
        assert_eq!(
            Caches::in_dir(&dir.path().join("absent")),
            Caches::default()
        );
    }
}
