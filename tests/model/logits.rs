//! Logits of small models against a float64 forward pass that shares no code with this one.
//!
//! The files in `expected/` are made by `scripts/reference.py`, from the models that a run with `RINGFIELD_KEEP_MODELS=DIR`
//! leaves in a directory:
//! `scripts/reference.py logits DIR/NAME.gguf --tokens 5,17,3,90,41,8,8,77,2,60,33,19,4,88,51,12,70,29,1,95 --out NAME.npy`,
//! then every tenth number of the last row as text.

use crate::tiny::{Rope, Tiny};
use crate::writer::Dir;
use crate::{engine, logits};
use ringfield::{Arithmetic, ModelOptions};

pub(crate) const TOKENS: [u32; 20] = [
    5, 17, 3, 90, 41, 8, 8, 77, 2, 60, 33, 19, 4, 88, 51, 12, 70, 29, 1, 95,
];

fn variants() -> Vec<Tiny> {
    let llama = Tiny::new("llama");
    vec![
        llama,
        Tiny {
            tied: false,
            ..llama
        },
        Tiny {
            rope: Rope::Factors,
            ..llama
        },
        Tiny {
            rope: Rope::Linear,
            ..llama
        },
        Tiny {
            rope: Rope::Yarn,
            ..llama
        },
        Tiny::new("qwen2"),
        Tiny::new("qwen3"),
        Tiny::new("gemma3"),
        Tiny {
            named_windows: true,
            rope: Rope::Linear,
            ..Tiny::new("gemma3")
        },
    ]
}

#[test]
fn every_architecture_gives_the_logits_of_a_float64_forward_pass() {
    let dir = Dir::new();
    let mut wrong = Vec::new();
    for tiny in variants() {
        let name = tiny.name();
        let bytes = tiny.file().bytes();
        let path = dir.write(&format!("{name}.gguf"), &bytes);
        if let Ok(keep) = std::env::var("RINGFIELD_KEEP_MODELS") {
            std::fs::write(format!("{keep}/{name}.gguf"), &bytes).unwrap();
        }
        let options = ModelOptions::new().arithmetic(Arithmetic::Exact);
        let all = logits(engine(), options, &path, &TOKENS);
        let expected = std::fs::read_to_string(format!(
            "{}/tests/model/expected/{name}.txt",
            env!("CARGO_MANIFEST_DIR")
        ));
        let expected = expected.unwrap_or_default();
        let expected: Vec<f64> = expected
            .split_whitespace()
            .map(|x| x.parse().unwrap())
            .collect();
        let got: Vec<f64> = all
            .last()
            .unwrap()
            .iter()
            .step_by(10)
            .map(|&bits| f64::from(f32::from_bits(bits)))
            .collect();
        let close = got
            .iter()
            .zip(&expected)
            .all(|(got, expected)| (got - expected).abs() <= 1e-4);
        if !close || got.len() != expected.len() {
            wrong.push(format!("{name}: {got:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
