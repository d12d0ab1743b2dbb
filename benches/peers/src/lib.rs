//! What the comparisons share: types, weights, statistics.

pub mod candle;
pub mod distance;
pub mod llama;

use llama_cpp_sys_2 as ggml;
use ringfield::kernels::{Isa, Kernels, RowFormat};

/// Formats of floats that are not 32-bit floats, and what ggml calls them.
pub const FLOATS: [(RowFormat, ggml::ggml_type); 2] = [
    (RowFormat::F16, ggml::GGML_TYPE_F16),
    (RowFormat::Bf16, ggml::GGML_TYPE_BF16),
];

/// Packed formats, and what ggml calls them.
pub const PACKED: [(RowFormat, ggml::ggml_type); 13] = [
    (RowFormat::Q4_0, ggml::GGML_TYPE_Q4_0),
    (RowFormat::Q4_1, ggml::GGML_TYPE_Q4_1),
    (RowFormat::Q5_0, ggml::GGML_TYPE_Q5_0),
    (RowFormat::Q5_1, ggml::GGML_TYPE_Q5_1),
    (RowFormat::Q8_0, ggml::GGML_TYPE_Q8_0),
    (RowFormat::Q2_K, ggml::GGML_TYPE_Q2_K),
    (RowFormat::Q3_K, ggml::GGML_TYPE_Q3_K),
    (RowFormat::Q4_K, ggml::GGML_TYPE_Q4_K),
    (RowFormat::Q5_K, ggml::GGML_TYPE_Q5_K),
    (RowFormat::Q6_K, ggml::GGML_TYPE_Q6_K),
    (RowFormat::IQ4_NL, ggml::GGML_TYPE_IQ4_NL),
    (RowFormat::IQ4_XS, ggml::GGML_TYPE_IQ4_XS),
    (RowFormat::MXFP4, ggml::GGML_TYPE_MXFP4),
];

/// Weights as a model has them: the sum of twelve uniform numbers is nearly normal.
pub fn weights(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len)
        .map(|_| (0..12).map(|_| uniform()).sum::<f32>() * 0.02)
        .collect()
}

/// The median and the quartiles beside it.
pub fn spread(mut of: Vec<f64>) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    (of[of.len() / 2], of[of.len() / 4], of[of.len() * 3 / 4])
}

/// Those of the instruction set that the first argument names, or of the widest.
pub fn kernels() -> Kernels {
    match std::env::args().nth(1) {
        None => Kernels::new(),
        Some(name) => Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .and_then(Kernels::with)
            .expect("an instruction set of this processor"),
    }
}
