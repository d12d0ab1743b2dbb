//! Files whose every byte says where it belongs, so that any range can be checked without keeping the file.
#![allow(dead_code)]

use ringfield::View;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The eight bytes at `offset`, a multiple of 8, of file `seed` (the finalizer of SplitMix64, public domain).
fn word(seed: u64, offset: u64) -> [u8; 8] {
    let mut z = (offset + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(seed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// The bytes `start..end` of file `seed`.
pub(crate) fn bytes(seed: u64, start: u64, end: u64) -> Vec<u8> {
    let first = start - start % 8;
    let mut bytes = Vec::with_capacity((end - first) as usize + 8);
    let mut at = first;
    while at < end {
        bytes.extend_from_slice(&word(seed, at));
        at += 8;
    }
    bytes.drain(..(start - first) as usize);
    bytes.truncate((end - start) as usize);
    bytes
}

/// Writes a file of `len` bytes.
pub(crate) fn write(path: &Path, seed: u64, len: u64) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut at = 0;
    while at < len {
        let end = len.min(at + (1 << 20));
        file.write_all(&bytes(seed, at, end)).unwrap();
        at = end;
    }
    // Written out, so that the reads of a test are not accounted together with the writes before them.
    file.into_inner().unwrap().sync_all().unwrap();
}

/// A file that goes away with its directory.
pub(crate) struct FieldFile {
    pub(crate) path: PathBuf,
    pub(crate) seed: u64,
    pub(crate) len: u64,
    _dir: tempfile::TempDir,
}

impl FieldFile {
    /// A file of `len` bytes on the disk of the build directory: direct I/O is not to be had everywhere in /tmp.
    pub(crate) fn new(len: u64) -> FieldFile {
        FieldFile::in_dir(
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            len,
        )
    }

    pub(crate) fn in_dir(dir: tempfile::TempDir, len: u64) -> FieldFile {
        let path = dir.path().join("field");
        let seed = len ^ 0x5eed;
        write(&path, seed, len);
        FieldFile {
            path,
            seed,
            len,
            _dir: dir,
        }
    }

    pub(crate) fn bytes(&self, start: u64, end: u64) -> Vec<u8> {
        bytes(self.seed, start, end)
    }

    /// Fails where a view is not what the file has there.
    #[track_caller]
    pub(crate) fn check(&self, view: &View<'_>) {
        let start = view.start();
        let expected = self.bytes(start, start + view.len() as u64);
        assert!(
            view.chunks().flatten().eq(&expected),
            "wrong bytes in {start}..+{}",
            view.len()
        );
    }

    /// Fails unless everything of the file reads right, in steps of `step` bytes.
    #[track_caller]
    pub(crate) fn check_all(&self, field: &ringfield::Field, step: u64) {
        let mut at = 0;
        while at < self.len {
            let end = self.len.min(at + step);
            self.check(&field.read(at..end).unwrap());
            at = end;
        }
    }
}

/// A sequence that looks random and is the same every time (xorshift64*, public domain).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
