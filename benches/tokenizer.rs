//! What text costs: opening a vocabulary, encoding ordinary text, decoding it, and a long run of one character.
//!
//! `cargo bench --bench tokenizer`, with the models of `scripts/get-models.sh`. The text is this repository's own: English
//! prose, tables and source code.

#![allow(clippy::expect_used)]

mod support;

use ringfield::{EncodeOptions, Engine, Gguf, Tokenizer};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;
use support::{rounds, spread};

const TEXT_BYTES: usize = 4 << 20;
const RUN_BYTES: usize = 10 << 20;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for file in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "src/engine/builder.rs",
    ] {
        text.push_str(&std::fs::read_to_string(root.join(file)).expect("a file of ours"));
    }
    let text = text.repeat(TEXT_BYTES.div_ceil(text.len()));
    let run = "a".repeat(RUN_BYTES);

    for name in [
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "gemma-3-270m-q4_k_m.gguf",
    ] {
        let path = root.join("models").join(name);
        if !path.exists() {
            println!("models/{name} is not here: scripts/get-models.sh takes it");
            continue;
        }
        let engine = Engine::builder().dram_budget(24 << 20).build();
        let engine = engine.expect("an engine");
        let open = || {
            let model = Gguf::open(&engine, &path).expect("a model");
            let start = Instant::now();
            let tokenizer = Tokenizer::open(&model).expect("a tokenizer");
            (start.elapsed().as_secs_f64(), tokenizer)
        };
        let (_, tokenizer) = open();
        let encode = |text: &str| {
            let start = Instant::now();
            let tokens = tokenizer
                .encode(text, EncodeOptions::new())
                .expect("tokens");
            (start.elapsed().as_secs_f64(), tokens)
        };
        let (_, tokens) = encode(&text);
        let decode = || {
            let mut decoder = tokenizer.decoder();
            let start = Instant::now();
            for &token in &tokens {
                black_box(decoder.push(token).expect("text"));
            }
            start.elapsed().as_secs_f64()
        };

        let mut results: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds() {
            let [opened, encoded, decoded, ran] = &mut results;
            opened.push(open().0 * 1e3);
            encoded.push(text.len() as f64 / encode(&text).0 / 1e6);
            decoded.push(text.len() as f64 / decode() / 1e6);
            ran.push(RUN_BYTES as f64 / encode(&run).0 / 1e6);
        }
        println!("{name}: {tokenizer:?}");
        let what = [
            "open, ms",
            "encode ordinary text, MB/s",
            "decode it, MB/s",
            "encode 10 MiB of `a`, MB/s",
        ];
        for (what, results) in what.iter().zip(results) {
            println!("  {what:28} {}", spread(results));
        }
    }
}
