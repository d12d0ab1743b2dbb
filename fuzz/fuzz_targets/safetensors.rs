//! The safetensors header parser: any bytes are a header or a typed error.
#![no_main]

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    let _ = ringfield::sim::parse_safetensors(file);
});
