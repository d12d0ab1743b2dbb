//! The two real models of `scripts/get-models.sh`, where they are there: logits of a float64 forward pass, and the same
//! bits in every budget from the documented minimum on.
//!
//! The numbers are those of `scripts/reference.py logits models/NAME --tokens …` after the last token, at every twelfth
//! part of the vocabulary, and of `scripts/reference.py generate models/NAME --tokens … -n 10`.

use crate::child::skipped;
use crate::logits;
use ringfield::{
    Arithmetic, BackendKind, Engine, KvFormat, Model, ModelOptions, Sampling, SessionOptions,
};
use std::path::{Path, PathBuf};

struct Real {
    name: &'static str,
    prompt: [u32; 24],
    logits: [f64; 12],
    follows: [u32; 10],
}

impl Real {
    /// `None` where it is not here.
    fn path(&self) -> Option<PathBuf> {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        Some(models.join(self.name)).filter(|path| path.exists())
    }
}

const MODELS: [Real; 2] = [
    Real {
        name: "SmolLM2-135M-Instruct.Q4_1.gguf",
        prompt: [
            19, 8233, 4385, 198, 198, 6340, 99, 8844, 10379, 284, 8844, 3705, 338, 359, 7882, 670,
            3500, 5173, 429, 31598, 99, 28, 2972, 469,
        ],
        logits: [
            6.16482, 8.85099, 5.55292, 10.31204, 4.13919, 5.11821, 7.37502, 2.20764, 4.79571,
            5.20085, -0.44272, 1.68733,
        ],
        follows: [2106, 30, 198, 198, 504, 5646, 314, 1730, 288, 1012],
    },
    Real {
        name: "gemma-3-270m-q4_k_m.gguf",
        prompt: [
            2, 236865, 7610, 3593, 108, 189926, 22823, 18710, 532, 22823, 6192, 600, 659, 12869,
            1082, 6571, 6850, 699, 47801, 236751, 236764, 4888, 822, 1657,
        ],
        logits: [
            -21.25870, 2.16687, -3.37479, -6.61992, -11.43274, -8.59543, -4.96689, -10.24049,
            -6.05172, -4.41364, -4.58137, -4.46834,
        ],
        follows: [
            236761, 108, 236865, 7610, 3593, 108, 236865, 7610, 3593, 108,
        ],
    },
];

/// What the documentation says is enough, at pages of 64 KiB.
const MINIMUM_BYTES: u64 = 24 << 20;

#[test]
fn real_models_give_the_logits_of_a_float64_forward_pass_whatever_the_budget() {
    for real in MODELS {
        let Some(path) = real.path() else {
            skipped!(
                "models/{} is not here: scripts/get-models.sh takes it",
                real.name
            );
        };
        let mut expected = None;
        for (budget, page, backend, threads, batch) in [
            (MINIMUM_BYTES, 65_536, BackendKind::Auto, 2, 64),
            (MINIMUM_BYTES, 4096, BackendKind::Pread, 1, 10),
            (120 << 20, 1 << 20, BackendKind::Mmap, 2, 24),
            (300 << 20, 65_536, BackendKind::Auto, 1, 7),
        ] {
            let builder = Engine::builder()
                .dram_budget(budget)
                .page_size(page)
                .backend(backend);
            let options = ModelOptions::new()
                .arithmetic(Arithmetic::Exact)
                .threads(threads)
                .batch(batch);
            let all = logits(builder, options, &path, &real.prompt);
            let last = all.last().unwrap();
            let picked = last.iter().step_by(last.len() / 12).take(12);
            for (&bits, expected) in picked.zip(real.logits) {
                let got = f64::from(f32::from_bits(bits));
                assert!(
                    (got - expected).abs() <= 1e-3,
                    "{}: {got}, not {expected}",
                    real.name
                );
            }
            let same = expected.get_or_insert(all.clone()) == &all;
            assert!(
                same,
                "{}: other bits with {budget} bytes, pages of {page}, {backend:?}",
                real.name
            );
        }
    }
}

#[test]
fn real_models_go_on_as_a_float64_forward_pass_does() {
    for real in MODELS {
        let Some(path) = real.path() else {
            skipped!(
                "models/{} is not here: scripts/get-models.sh takes it",
                real.name
            );
        };
        let engine = Engine::builder()
            .dram_budget(MINIMUM_BYTES)
            .build()
            .unwrap();
        let exact = ModelOptions::new().arithmetic(Arithmetic::Exact);
        let model = Model::open_with(&engine, &path, exact).unwrap();
        let options = SessionOptions::new().kv_format(KvFormat::F32);
        let mut session = model.session(options).unwrap();
        session.feed(&real.prompt).unwrap();
        let got: Vec<u32> = session
            .generate(Sampling::new(), 10)
            .map(Result::unwrap)
            .collect();
        assert_eq!(got, real.follows, "{}", real.name);
        assert!(model.plan().streamed_bytes > 3 * model.plan().resident_bytes);
    }
}

/// The logits of a row as probabilities.
fn probabilities(bits: &[u32]) -> Vec<f64> {
    let logits = bits.iter().map(|&bits| f64::from(f32::from_bits(bits)));
    let most = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.map(|logit| (logit - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

#[test]
fn eight_bit_activations_change_little() {
    for real in MODELS {
        let Some(path) = real.path() else {
            skipped!(
                "models/{} is not here: scripts/get-models.sh takes it",
                real.name
            );
        };
        let all = |arithmetic: Arithmetic, threads: usize, batch: usize, budget: u64| {
            let builder = Engine::builder().dram_budget(budget);
            let options = ModelOptions::new().arithmetic(arithmetic);
            let options = options.threads(threads).batch(batch);
            logits(builder, options, &path, &real.prompt)
        };
        let exact = all(Arithmetic::Exact, 2, 64, 300 << 20);
        let eight_bit = all(Arithmetic::EightBit, 2, 64, 300 << 20);
        assert!(eight_bit != exact, "it does nothing");
        assert!(eight_bit == all(Arithmetic::EightBit, 1, 5, MINIMUM_BYTES));
        let mut divergence = 0.0;
        for (exact, eight_bit) in exact.iter().zip(&eight_bit) {
            let pairs = probabilities(exact)
                .into_iter()
                .zip(probabilities(eight_bit));
            divergence += pairs
                .filter(|&(p, _)| p > 0.0)
                .map(|(p, q)| p * (p / q).ln())
                .sum::<f64>();
        }
        let mean = divergence / exact.len() as f64;
        assert!((0.0..0.015).contains(&mean), "{}: {mean}", real.name);
    }
}
