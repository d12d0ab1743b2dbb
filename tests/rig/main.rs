//! What only NVMe controllers can show, and device-mapper targets: run by `rig/run` in a guest with four controllers.
//!
//! `/rig/disk0` to `disk3` are ext4 on one controller each, `/rig/virtio` is ext4 on a disk without polling.
#![cfg(test)]

#[path = "../content/mod.rs"]
mod content;

mod array;
mod array_removal;
mod device_mapper;
mod mapped;
mod polling;
mod removal;
mod several;

use content::bytes;
use std::path::{Path, PathBuf};

/// A field of `len` bytes on a file system of the rig.
struct RigFile {
    path: PathBuf,
    seed: u64,
    len: u64,
}

impl RigFile {
    fn new(dir: &str, len: u64) -> RigFile {
        let path = Path::new(dir).join(format!("field-{len}"));
        let seed = len ^ dir.len() as u64;
        content::write(&path, seed, len);
        RigFile { path, seed, len }
    }

    /// Fails unless everything reads right, many at once and one by one.
    #[track_caller]
    fn check_all(&self, field: &ringfield::Field) {
        let engine = field.engine();
        let step = 50_000;
        let ranges: Vec<_> = (0..self.len / step)
            .map(|k| k * step..(k + 1) * step)
            .collect();
        let mut batch = engine.batch(16).unwrap();
        for some in ranges.chunks(16) {
            field.read_many(some, &mut batch).unwrap();
            for (k, range) in some.iter().enumerate() {
                let view = batch.view(k).unwrap();
                assert!(
                    view.to_vec() == bytes(self.seed, range.start, range.end),
                    "{range:?}"
                );
            }
        }
        for range in ranges.iter().step_by(7) {
            let view = field.read(range.clone()).unwrap();
            assert!(
                view.to_vec() == bytes(self.seed, range.start, range.end),
                "{range:?}"
            );
        }
    }
}
