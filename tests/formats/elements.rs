//! What the tensors of the two real models of `scripts/get-models.sh` are worth, where they are there.

use crate::child::skipped;
use ringfield::kernels::Kernels;
use ringfield::{Engine, Gguf, Tensor};
use sha2::{Digest, Sha256};
use std::path::Path;

/// `scripts/dequantize-reference.py models/NAME | sha256sum`: a line of each tensor's name and the sum of its elements
/// by gguf.quants.dequantize (gguf 0.19 of PyPI).
const SUMS: [(&str, &str); 2] = [
    (
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "75464958aec263402cdab49a69ee00ba6ab551ac04cc7fd36e7dc5cbc9b87cf0",
    ),
    (
        "gemma-3-270m-q4_k_m.gguf",
        "d3f294f556bcf167e160fa0494ff584689d80007038447f8fa8a22a65a31a870",
    ),
];

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The sum of a tensor's elements, read and dequantized row by row.
fn sum(kernels: Kernels, tensor: &Tensor) -> String {
    let format = tensor.kind().row_format().unwrap();
    let len = tensor.shape()[0] as usize;
    let row_bytes = format.row_bytes(len).unwrap() as u64;
    let (mut packed, mut elements) = (vec![0; row_bytes as usize], vec![0.0; len]);
    let mut bytes = vec![0; 4 * len];
    let mut ours = Sha256::new();
    for start in tensor.range().step_by(row_bytes as usize) {
        let view = tensor.field().read(start..start + row_bytes).unwrap();
        let mut at = 0;
        for chunk in view.chunks() {
            packed[at..at + chunk.len()].copy_from_slice(chunk);
            at += chunk.len();
        }
        kernels.dequantize(format, &packed, &mut elements).unwrap();
        for (to, element) in bytes.chunks_exact_mut(4).zip(&elements) {
            assert!(!element.is_nan(), "{}", tensor.name());
            to.copy_from_slice(&element.to_le_bytes());
        }
        ours.update(&bytes);
    }
    hex(ours)
}

#[test]
fn every_element_of_real_models_has_the_bits_that_gguf_gives_it() {
    for (name, expected) in SUMS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("models")
            .join(name);
        if !path.exists() {
            skipped!("models/{name} is not here: scripts/get-models.sh takes it");
        }
        let engine = Engine::builder().dram_budget(64 << 20).build().unwrap();
        let model = Gguf::open(&engine, &path).unwrap();
        let mut all = Sha256::new();
        for tensor in model.tensors() {
            let tensor = tensor.unwrap();
            let sum = sum(Kernels::new(), &tensor);
            all.update(format!("{} {sum}\n", tensor.name()));
        }
        assert_eq!(hex(all), expected, "{name}");
    }
}
