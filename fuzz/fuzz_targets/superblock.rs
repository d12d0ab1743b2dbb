//! The superblocks of a packed field: any bytes, with a checksum that fits, are a superblock or a typed error.
#![no_main]

use xxhash_rust::xxh3::xxh3_64;

const BYTES: usize = 4096;
const CHECKSUM_AT: usize = BYTES - 8;
/// Bytes of the file that it is the first superblock of: five pages.
const FILE_BYTES: usize = 5 * BYTES;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file = vec![0; FILE_BYTES];
    let len = bytes.len().min(CHECKSUM_AT);
    file[..len].copy_from_slice(&bytes[..len]);
    let checksum = xxh3_64(&file[..CHECKSUM_AT]);
    file[CHECKSUM_AT..BYTES].copy_from_slice(&checksum.to_le_bytes());
    let _ = ringfield::sim::parse_superblock(&file);
    let _ = ringfield::sim::parse_superblock(bytes);
});
