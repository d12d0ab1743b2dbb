//! What a read must have returned: computable from its place, or known from a plain `pread`.
//!
//! Every read of the demo is checked in full by the same code whoever made it, fast enough (tens
//! of GB/s) that the check does not decide what is measured.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::direct;
use crate::error::{Context, Error, Result};
use crate::interrupt;

/// Reads start at multiples of this, and it is the unit of checking.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// The expected content of a file.
pub(crate) enum Content {
    /// Each 4 KiB block holds one arithmetic sequence of 64-bit words from a start that no other
    /// block has, so that a read of the wrong place, a shifted or a stale one never passes.
    Pattern,
    /// One 64-bit digest for each 4 KiB block of a file that somebody else made.
    Digests(Vec<u64>),
}

/// Bytes of a file read by `pread` at a time to take its digests.
const PASS_BYTES: usize = 4 << 20;

impl Content {
    /// Whether `bytes` are the file's at `offset` (a multiple of 4 KiB).
    pub(crate) fn matches(&self, offset: u64, bytes: &[u8]) -> bool {
        if !offset.is_multiple_of(BLOCK_BYTES as u64) {
            return false;
        }
        let first = offset / BLOCK_BYTES as u64;
        let mut blocks = (first..).zip(bytes.chunks(BLOCK_BYTES));
        match self {
            Content::Pattern => blocks.all(|(block, bytes)| is_pattern(block, bytes)),
            Content::Digests(digests) => blocks.all(|(block, bytes)| {
                usize::try_from(block)
                    .ok()
                    .and_then(|block| digests.get(block))
                    == Some(&digest(bytes))
            }),
        }
    }

    /// Takes the digests of `len` bytes of a file, from `begin` (a multiple of 4 KiB) on, by plain reads past the page
    /// cache.
    ///
    /// # Errors
    /// A file that cannot be read, or an interrupt.
    pub(crate) fn of_file(
        path: &Path,
        begin: u64,
        len: u64,
        progress: impl Fn(u64),
    ) -> Result<Content> {
        let (file, _) = direct::open(path).at("cannot open", path)?;
        let mut buffer = direct::Buffer::new(PASS_BYTES);
        let mut digests = Vec::new();
        let mut offset = 0;
        while offset < len {
            interrupt::check()?;
            let want = (len - offset).min(PASS_BYTES as u64);
            // Asked for whole, because direct I/O takes whole sectors only; the end is cut off.
            let got = read_full(&file, buffer.bytes(), begin + offset).at("cannot read", path)?;
            if (got as u64) < want {
                return Err(Error::message(format!(
                    "{} is shorter than it was: it changed",
                    path.display()
                )));
            }
            let want = usize::try_from(want).unwrap_or(PASS_BYTES);
            digests.extend(buffer.bytes()[..want].chunks(BLOCK_BYTES).map(digest));
            offset += want as u64;
            progress(offset);
        }
        Ok(Content::Digests(digests))
    }

    /// Digests as another process of this program takes them over.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Content::Pattern => Vec::new(),
            Content::Digests(digests) => digests.iter().flat_map(|d| d.to_le_bytes()).collect(),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Content {
        if bytes.is_empty() {
            return Content::Pattern;
        }
        Content::Digests(words(bytes).collect())
    }
}

/// Reads until `buffer` is full or the file ends.
pub(crate) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // After the odd end of a file the next offset is no multiple of a sector.
            Err(e) if done > 0 && e.raw_os_error() == Some(libc::EINVAL) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Odd, so that the words of a block are all different; its bits look random.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Writes the pattern for `offset` (a multiple of 4 KiB) into `bytes`.
pub(crate) fn fill(offset: u64, bytes: &mut [u8]) {
    let first = offset / BLOCK_BYTES as u64;
    for (block, bytes) in (first..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
        let mut word = splitmix64(block);
        for eight in bytes.chunks_mut(8) {
            eight.copy_from_slice(&word.to_le_bytes()[..eight.len()]);
            word = word.wrapping_add(STEP);
        }
    }
}

fn is_pattern(block: u64, bytes: &[u8]) -> bool {
    let word = |number: usize| splitmix64(block).wrapping_add(STEP.wrapping_mul(number as u64));
    let (lines, rest) = bytes.as_chunks::<64>();
    // Eight words at a time and no early end: vector additions and comparisons only.
    let mut expected: [u64; 8] = std::array::from_fn(word);
    let mut wrong = [0; 8];
    for line in lines {
        for (place, found) in words(line).enumerate() {
            wrong[place] |= found ^ expected[place];
            expected[place] = expected[place].wrapping_add(STEP.wrapping_mul(8));
        }
    }
    let tail = expected.iter().flat_map(|word| word.to_le_bytes());
    wrong == [0; 8] && rest.iter().copied().eq(tail.take(rest.len()))
}

/// A 64-bit digest of at most 4 KiB: four independent multiply-rotate lanes, then mixed.
fn digest(bytes: &[u8]) -> u64 {
    let mut lanes = [1, 2, 3, bytes.len() as u64].map(splitmix64);
    let chunks = bytes.chunks_exact(32);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(words(chunk)) {
            *lane = (lane.rotate_left(29) ^ word).wrapping_mul(STEP);
        }
    }
    for &byte in rest {
        lanes[0] = (lanes[0].rotate_left(29) ^ u64::from(byte)).wrapping_mul(STEP);
    }
    lanes
        .into_iter()
        .fold(0, |mixed, lane| splitmix64(mixed ^ lane))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word))
}

/// Steele, Lea and Flood's mixer ("Fast splittable pseudorandom number generators", 2014).
pub(crate) fn splitmix64(n: u64) -> u64 {
    let mut z = n.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        fill(offset, &mut bytes);
        bytes
    }

    fn any_bit_flip_shows(content: &Content, bytes: &mut [u8]) {
        assert!(content.matches(0, bytes));
        for at in [0, 7, 8, 4095, 4096, 5000, bytes.len() - 1] {
            bytes[at] ^= 0x10;
            assert!(!content.matches(0, bytes), "byte {at}");
            bytes[at] ^= 0x10;
        }
    }

    #[test]
    fn a_changed_byte_never_passes() {
        let mut bytes = pattern(0, 3 * BLOCK_BYTES + 13);
        any_bit_flip_shows(&Content::Pattern, &mut bytes);
        let digests = Content::Digests(bytes.chunks(BLOCK_BYTES).map(digest).collect());
        any_bit_flip_shows(&digests, &mut bytes);
    }

    #[test]
    fn another_place_of_the_file_never_passes() {
        let bytes = pattern(8 << 20, BLOCK_BYTES);
        assert!(Content::Pattern.matches(8 << 20, &bytes));
        assert!(!Content::Pattern.matches((8 << 20) + 4096, &bytes));
        assert!(!Content::Pattern.matches(4, &bytes));
        assert!(!Content::Pattern.matches(0, &[0; BLOCK_BYTES]));
    }

    #[test]
    fn digests_of_a_file_with_an_odd_end_travel_between_processes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("odd");
        let bytes = pattern(0, PASS_BYTES + 5001);
        std::fs::write(&path, &bytes).expect("written");
        let content = Content::of_file(&path, 0, bytes.len() as u64, |_| {}).expect("digests");
        let content = Content::from_bytes(&content.to_bytes());
        assert!(content.matches(0, &bytes));
        assert!(!content.matches(0, &bytes[..bytes.len() - 1]));
        assert!(Content::of_file(&path, 0, bytes.len() as u64 + 1, |_| {}).is_err());
        let later = Content::of_file(&path, 8192, 4096, |_| {}).expect("digests");
        assert!(later.matches(0, &bytes[8192..12288]) && !later.matches(0, &bytes[..4096]));
    }
}
