//! What each row format's blocks are worth, bit for bit: against gguf.quants.dequantize, and element by element.

use crate::plain;
use crate::products::every_isa;
use ringfield::kernels::RowFormat;
use sha2::{Digest, Sha256};

/// Of 3000 blocks of each type, what `scripts/block-sums.py` prints (gguf 0.19 of PyPI).
const SUMS: [(RowFormat, &str); 16] = [
    (
        RowFormat::F32,
        "91509166a47f55e646ad0fa0fceb97c9bdf92e6553e0f473da0c016029597e51",
    ),
    (
        RowFormat::F16,
        "d1c98b5bf2d8eb191d88be327b7c8997c1da9184c4cc73fec8d97f7d9915a5de",
    ),
    (
        RowFormat::Bf16,
        "8065ab0850323561c482ae9c582f4cc68f33abd97dc5c03d004e98d9ec0b875f",
    ),
    (
        RowFormat::Q4_0,
        "9e5fdca0a6364ba04fbf2ab02ade77586076e2cce44e9ae83846c519422fcab7",
    ),
    (
        RowFormat::Q4_1,
        "a8105214fc53ad8651313fe4ebf4300bf028270391a1d064e15da6de74c93832",
    ),
    (
        RowFormat::Q5_0,
        "1563973ececab5a9e94e1d6cbda41729c9950af5f6e7d6c7193d9ebf1ed26a82",
    ),
    (
        RowFormat::Q5_1,
        "5896ed4af73fc217affec63154a490bf303770afac8d6179346371eb7d6996fb",
    ),
    (
        RowFormat::Q8_0,
        "4ccfb9eea0fcd3e51fbd105b36400fdc0ca31da813535d1631e35eb739d2afdd",
    ),
    (
        RowFormat::Q2_K,
        "2579f63b46ba805470dc1ac21d7dd4e0224cee07f9ed9193cc81c9e034bd4f50",
    ),
    (
        RowFormat::Q3_K,
        "874e04e7228ae0f0fed7793b1ec057a29f31254e9791c10410907bb4099ccc34",
    ),
    (
        RowFormat::Q4_K,
        "77de52483dd06a779e7dc003094bf953c5a83224828dde2dad9cea1fa4070ad0",
    ),
    (
        RowFormat::Q5_K,
        "9e6e97a065c3af86e5e8ca0fa17889cb3ce13eb4462cfce5e4c13676d38167e2",
    ),
    (
        RowFormat::Q6_K,
        "c4abfc2a108cf6d26984b701b55d77d34900aed06859712c9a26a15ff35ff045",
    ),
    (
        RowFormat::IQ4_NL,
        "8363aedacb2fe2eae2ee3f1007aaaef5bc59ba608bd73e3462ff360934a2115c",
    ),
    (
        RowFormat::IQ4_XS,
        "f72191824cc0b98f48d33454735b4be7a4891a38711c2b5d04745f1e443c959f",
    ),
    (
        RowFormat::MXFP4,
        "c6f48c07647e11aa93da585e9b9d438abee6deb9f13272c8fb1e89e5d519af24",
    ),
];
const BLOCKS: usize = 3000;

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// As many blocks as `scripts/block-sums.py` makes, which take every bit pattern.
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
            for (block, elements) in blocks.zip(elements).take(200) {
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
