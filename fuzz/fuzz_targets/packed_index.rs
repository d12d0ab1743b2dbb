//! The tensor index of a packed field: any bytes are an index or a typed error.
#![no_main]

libfuzzer_sys::fuzz_target!(|index: &[u8]| {
    let _ = ringfield::sim::parse_packed_index(index, 1 << 30, 4096);
});
