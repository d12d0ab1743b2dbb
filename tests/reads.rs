//! The bytes a caller gets are the bytes of the file.

use ringfield::{BackendKind, Engine};
use std::io::Write;

fn content(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut at = 0u64;
    while bytes.len() < len {
        let mut z = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes.extend_from_slice(&(z ^ (z >> 27)).to_le_bytes());
        at += 8;
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn every_range_of_every_length_is_the_files() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = dir.path().join("field");
    for backend in [BackendKind::Uring, BackendKind::Pread] {
        for len in [1usize, 511, 512, 4096, 4097, 100_000, 3_000_001] {
            let bytes = content(len);
            std::fs::File::create(&path)
                .unwrap()
                .write_all(&bytes)
                .unwrap();
            let engine = Engine::builder()
                .dram_budget(16 << 20)
                .page_size(4096)
                .backend(backend)
                .build()
                .unwrap();
            let field = engine.open(&path).unwrap();
            for (a, b) in [
                (0, len),
                (0, 1),
                (len - 1, len),
                (len / 3, len / 2),
                (len / 2, len),
                (0, 0),
                (len, len),
            ] {
                let view = field.read(a as u64..b as u64).unwrap();
                assert_eq!(view.to_vec(), &bytes[a..b], "{len} {a}..{b}");
            }
        }
    }
}
