//! Row formats element by element, from their descriptions in ggml-common.h: slow, and shares nothing with the library.

use ringfield::kernels::RowFormat;

/// IEEE half precision, by its definition.
fn half(bits: u16) -> f32 {
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match bits >> 10 & 0x1f {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1024.0 + fraction) * 2f64.powi(i32::from(exponent) - 25),
    };
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    (sign * magnitude) as f32
}

/// The half at a byte of the block.
pub(crate) fn half_at(block: &[u8], at: usize) -> f32 {
    half(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// `count` bits of the block's bytes from bit `first` of byte `at` on.
fn bits(block: &[u8], at: usize, first: usize, count: u32) -> i32 {
    i32::from(block[at + first / 8] >> (first % 8)) & ((1 << count) - 1)
}

/// The nibble of element `i` of 32 whose nibbles begin at byte `at`.
fn nibble(block: &[u8], at: usize, i: usize) -> i32 {
    bits(block, at + i % 16, 4 * (i / 16), 4)
}

const IQ4: [i32; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
const E2M1: [i32; 8] = [0, 1, 2, 3, 4, 6, 8, 12];

/// The six-bit scale and offset `j` of Q4_K and Q5_K, as `get_scale_min_k4` of ggml-quants.c describes them.
fn scale_and_offset(block: &[u8], j: usize) -> (i32, i32) {
    let q = &block[4..16];
    let byte = |k: usize| i32::from(q[k]);
    if j < 4 {
        (byte(j) & 63, byte(j + 4) & 63)
    } else {
        (
            (byte(j + 4) & 15) + (byte(j - 4) / 64) * 16,
            byte(j + 4) / 16 + (byte(j) / 64) * 16,
        )
    }
}

/// Element `i` of a block.
pub(crate) fn element(format: RowFormat, block: &[u8], i: usize) -> f32 {
    let scaled = |d: f32, scale: i32, level: i32| d * scale as f32 * level as f32;
    let offset = |d: f32, level: i32, m: f32| d * level as f32 + m;
    let k_quant = |level: i32, (scale, min): (i32, i32), d: usize| {
        let (d, m) = (half_at(block, d), half_at(block, d + 2));
        d * scale as f32 * level as f32 - m * min as f32
    };
    match format {
        RowFormat::F32 => f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
        RowFormat::F16 => half_at(block, 0),
        RowFormat::Bf16 => f32::from_le_bytes([0, 0, block[0], block[1]]),
        RowFormat::Q4_0 => scaled(half_at(block, 0), 1, nibble(block, 2, i) - 8),
        RowFormat::Q4_1 => offset(half_at(block, 0), nibble(block, 4, i), half_at(block, 2)),
        RowFormat::Q5_0 => {
            let level = nibble(block, 6, i) + 16 * bits(block, 2, i, 1);
            scaled(half_at(block, 0), 1, level - 16)
        }
        RowFormat::Q5_1 => {
            let level = nibble(block, 8, i) + 16 * bits(block, 4, i, 1);
            offset(half_at(block, 0), level, half_at(block, 2))
        }
        RowFormat::Q8_0 => scaled(half_at(block, 0), 1, i32::from(block[2 + i] as i8)),
        RowFormat::Q2_K => {
            let level = bits(block, 16 + 32 * (i / 128) + i % 32, 2 * (i / 32 % 4), 2);
            let scale = i32::from(block[i / 16]);
            k_quant(level, (scale % 16, scale / 16), 80)
        }
        RowFormat::Q3_K => {
            let low = bits(block, 32 + 32 * (i / 128) + i % 32, 2 * (i / 32 % 4), 2);
            let level = low + 4 * bits(block, i % 32, i / 32, 1) - 4;
            let j = i / 16;
            let scale = bits(block, 96 + j % 8, 4 * (j / 8), 4)
                + 16 * bits(block, 104 + j % 4, 2 * (j / 4), 2);
            scaled(half_at(block, 108), scale - 32, level)
        }
        RowFormat::Q4_K => {
            let level = bits(block, 16 + 32 * (i / 64) + i % 32, 4 * (i / 32 % 2), 4);
            k_quant(level, scale_and_offset(block, i / 32), 0)
        }
        RowFormat::Q5_K => {
            let low = bits(block, 48 + 32 * (i / 64) + i % 32, 4 * (i / 32 % 2), 4);
            let level = low + 16 * bits(block, 16 + i % 32, i / 32, 1);
            k_quant(level, scale_and_offset(block, i / 32), 0)
        }
        RowFormat::Q6_K => {
            let low = bits(block, 64 * (i / 128) + i % 64, 4 * (i / 64 % 2), 4);
            let high = bits(block, 128 + 32 * (i / 128) + i % 32, 2 * (i / 32 % 4), 2);
            let scale = i32::from(block[192 + i / 16] as i8);
            scaled(half_at(block, 208), scale, low + 16 * high - 32)
        }
        RowFormat::IQ4_NL => scaled(half_at(block, 0), 1, IQ4[nibble(block, 2, i) as usize]),
        RowFormat::IQ4_XS => {
            let j = i / 32;
            let scale = bits(block, 4 + j / 2, 4 * (j % 2), 4) + 16 * bits(block, 2, 2 * j, 2);
            let level = IQ4[nibble(block, 8 + 16 * j, i % 32) as usize];
            scaled(half_at(block, 0), scale - 32, level)
        }
        RowFormat::MXFP4 => {
            let code = nibble(block, 1, i) as usize;
            let level = if code < 8 {
                E2M1[code]
            } else {
                -E2M1[code - 8]
            };
            let d = 2f64.powi(i32::from(block[0]) - 128) as f32;
            scaled(d, 1, level)
        }
        _ => panic!("{format} is not described here"),
    }
}
