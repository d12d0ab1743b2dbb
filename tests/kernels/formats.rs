//! What each row format's blocks are worth, bit for bit: against gguf.quants.dequantize, and element by element.

use crate::plain;
use crate::products::every_isa;
use ringfield::kernels::RowFormat;
use sha2::{Digest, Sha256};

/// Of 600 blocks of each type, what `scripts/dequantize-reference.py` prints (gguf 0.19 of PyPI).
const SUMS: [(RowFormat, &str); 16] = [
    (
        RowFormat::F32,
        "8452f2f924d5c39f93b56d015fca74625b042fdde297de27c17f7841877ff1e6",
    ),
    (
        RowFormat::F16,
        "73e2b486fdafe43d9dc94d2ad33d4e1f2670f7e7ed7966d525445987b3bd9dbd",
    ),
    (
        RowFormat::Bf16,
        "1765466ba756556ad991929fdfe725768596bd55a95af6f86ed6dd7b5866e27b",
    ),
    (
        RowFormat::Q4_0,
        "5a42f8454c735f765f09596f29288e7dfe58531c4ab13ed721f10d86fede8020",
    ),
    (
        RowFormat::Q4_1,
        "2a736f4946cf08ec50fc3c3c9ca4ccc518c8fd0be4b8d76050dfff06d46dde6a",
    ),
    (
        RowFormat::Q5_0,
        "58f4152544d22a09af560a55e7086f3b2b2916d0d404b7da8b7c4ffb9ea53969",
    ),
    (
        RowFormat::Q5_1,
        "5722426259785c45a8b9dd348013a8ec37bb9e6da84cf08901ad55665f059087",
    ),
    (
        RowFormat::Q8_0,
        "1443ba47590148188fca223df6dcd19997bd379842824e61994cc729ba9ffd70",
    ),
    (
        RowFormat::Q2_K,
        "082d6d0a046dd377e17824662d94b9771f42c44c1b103fde4f454916e8976120",
    ),
    (
        RowFormat::Q3_K,
        "f9687639aee868e52a7967ceb21f4e1cd1aa2ebd612eb437bbd8a257a171e59a",
    ),
    (
        RowFormat::Q4_K,
        "3941a6344f45c8585cf588fc084a5b84ce94a3cddb01c64447d1997a4f9ae16e",
    ),
    (
        RowFormat::Q5_K,
        "aa9bc75255dfac3a2308b8500d6ede03376bcecbd932d4f29d26b1d1eb600808",
    ),
    (
        RowFormat::Q6_K,
        "df173368672226e9926efadbdda72f0526773e54c73849d1e53b45720ce91e2a",
    ),
    (
        RowFormat::IQ4_NL,
        "de7b77dca2bbbb03032696a6a94a9b5a1a179c34b0190d6efd64f751094c0f98",
    ),
    (
        RowFormat::IQ4_XS,
        "1eb2b3f85a9dec6d3f421de50075eeb87e665cbcd84c6b21aa5f1d7a335d5bde",
    ),
    (
        RowFormat::MXFP4,
        "b7c1e721bada02e55ead56ec6138b765d5bca8e5e04308ea62291811a2c73ebc",
    ),
];
const BLOCKS: usize = 600;

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// As many blocks as `scripts/dequantize-reference.py` makes, which take every bit pattern.
fn blocks(format: RowFormat) -> Vec<u8> {
    let len = BLOCKS * format.block_bytes();
    let sums = (0..len.div_ceil(32)).flat_map(|k| Sha256::digest(format!("{format} {k}")));
    sums.take(len).collect()
}

/// A number's bits. There is one NaN: which one comes of an operation depends on the processor.
fn bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }
}

#[test]
fn blocks_of_any_bits_are_worth_what_gguf_says_on_every_instruction_set() {
    assert!(SUMS.iter().map(|(format, _)| *format).eq(RowFormat::ALL));
    for (format, sum) in SUMS {
        let packed = blocks(format);
        let mut out = vec![0.0; BLOCKS * format.block_elements()];
        for kernels in every_isa() {
            out.fill(0.5);
            kernels.dequantize(format, &packed, &mut out).unwrap();
            let elements = out.chunks_exact(format.block_elements());
            let blocks = packed.chunks_exact(format.block_bytes());
            for (block, elements) in blocks.zip(elements).take(100) {
                for (i, &element) in elements.iter().enumerate() {
                    let plain = plain::element(format, block, i);
                    assert_eq!(
                        bits(element),
                        bits(plain),
                        "{format} {i} {element} {plain} {block:?} {}",
                        kernels.isa()
                    );
                }
            }
            let mut ours = Sha256::new();
            for &x in &out {
                ours.update(bits(x).to_le_bytes());
            }
            assert_eq!(hex(ours), sum, "{format} {}", kernels.isa());
        }
    }
}
