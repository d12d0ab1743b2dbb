//! The checksum of a page, mixed with where it belongs: XXH3, 64 bits
//! (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>).
//!
//! A checksum over the bytes alone finds flipped bits. One whose seed holds the array, the page's number and its version
//! also finds a page that lies at another's place, in another array, or that was there before.

use twox_hash::XxHash3_64;

/// Which array: sixteen random bytes.
pub(crate) type ArrayId = [u8; 16];

/// The checksum of `bytes` as version `version` of unit `unit` (a page's number, or a directory page's with the highest
/// bit set) of an array.
pub(crate) fn page_checksum(bytes: &[u8], array: &ArrayId, unit: u64, version: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed(array, unit, version), bytes)
}

fn seed(array: &ArrayId, unit: u64, version: u64) -> u64 {
    let mut place = [0; 32];
    place[..16].copy_from_slice(array);
    place[16..24].copy_from_slice(&unit.to_le_bytes());
    place[24..].copy_from_slice(&version.to_le_bytes());
    XxHash3_64::oneshot(&place)
}

/// The checksum of bytes that say themselves where they belong: superblocks.
pub(crate) fn plain_checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

#[cfg(test)]
mod tests {
    use super::{page_checksum, plain_checksum};

    #[test]
    fn the_function_is_xxh3_as_its_specification_has_it() {
        // XXH3_64bits of no bytes and of "a" with seed 0, by the reference implementation, version 0.8.4.
        assert_eq!(plain_checksum(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(plain_checksum(b"a"), 0xe6c6_32b6_1e96_4e1f);
    }

    #[test]
    fn the_same_bytes_elsewhere_have_another_checksum() {
        let (bytes, array) = ([7u8; 4096], [1u8; 16]);
        let here = page_checksum(&bytes, &array, 3, 1);
        for (array, unit, version) in [([2u8; 16], 3, 1), (array, 4, 1), (array, 3, 2)] {
            assert_ne!(page_checksum(&bytes, &array, unit, version), here);
        }
        let mut flipped = bytes;
        flipped[4095] ^= 1;
        assert_ne!(page_checksum(&flipped, &array, 3, 1), here);
    }
}
