//! Bytes changed at random, and what parsing them may cost.
//!
//! `RINGFIELD_MUTATIONS` says how many of each format; a failing one prints the number that makes it again.

use crate::content::Random;
use crate::metered::bytes_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What parsing may take at most: twice the header, of which there is no more than the file, and 1 MiB.
pub(crate) const SLACK_BYTES: usize = 1 << 20;

/// Files of the fuzzer's corpus.
pub(crate) fn committed(format: &str) -> impl Iterator<Item = Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(root.join("fuzz/corpus").join(format))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // A seed means the same mutation on every machine.
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap())
}

/// Parses a mutation of one of `corpus` for each number; `parse` says whether it was right.
pub(crate) fn mutate(corpus: &[Vec<u8>], parse: impl Fn(&[u8]) -> bool) {
    let wanted = std::env::var("RINGFIELD_MUTATIONS").ok();
    let count: u64 = wanted.and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let first = std::env::var("RINGFIELD_MUTATION").ok();
    let first: u64 = first.and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut right = 0u64;
    for seed in first..first + count {
        let bytes = mutation(corpus, seed);
        let mut accepted = false;
        let mut outcome = Ok(());
        let (_, peak) = bytes_of(|| {
            outcome = catch_unwind(AssertUnwindSafe(|| accepted = parse(&bytes)));
        });
        assert!(
            outcome.is_ok(),
            "replay with RINGFIELD_MUTATION={seed} RINGFIELD_MUTATIONS=1"
        );
        assert!(
            peak <= 2 * bytes.len() + SLACK_BYTES,
            "mutation {seed}: {peak} bytes for a file of {}",
            bytes.len()
        );
        right += u64::from(accepted);
    }
    // Neither all nothing nor all the same: the changes reach what lies deep.
    assert!(
        count < 1000 || (right > 0 && right < count),
        "{right} of {count} accepted"
    );
}

/// One of `corpus`, changed in up to three places.
pub(crate) fn mutation(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    const NUMBERS: [u64; 12] = [
        0,
        1,
        7,
        255,
        65_535,
        1 << 20,
        u32::MAX as u64,
        1 << 32,
        1 << 42,
        i64::MAX as u64,
        u64::MAX - 31,
        u64::MAX,
    ];
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.next();
    let mut bytes = corpus[random.below(corpus.len() as u64) as usize].clone();
    for _ in 0..1 + random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let number = NUMBERS[random.below(NUMBERS.len() as u64) as usize].to_le_bytes();
                let width = [4, 8][random.below(2) as usize].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            4 => {
                let end = bytes.len().min(at + random.below(64) as usize);
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() as u64) as usize;
                bytes.splice(to..to, part);
            }
            5 => {
                let end = bytes.len().min(at + random.below(64) as usize);
                bytes.drain(at..end);
            }
            _ => {
                let other = &corpus[random.below(corpus.len() as u64) as usize];
                let from = random.below(other.len() as u64) as usize;
                let end = other.len().min(from + random.below(64) as usize);
                let end_here = bytes.len().min(at + (end - from));
                bytes.splice(at..end_here, other[from..end].iter().copied());
            }
        }
    }
    bytes
}
