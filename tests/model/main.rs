//! Models: what they compute, and that it is the same whatever holds their weights.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad;
#[path = "../child/mod.rs"]
mod child;
mod logits;
mod packed;
mod real;
mod same_bits;
mod sessions;
mod shared_pool;
mod tiny;
#[allow(dead_code)]
#[path = "../formats/writer.rs"]
mod writer;

use ringfield::{Engine, EngineBuilder, KvFormat, Model, ModelOptions, SessionOptions};
use std::path::Path;

pub(crate) fn engine() -> EngineBuilder {
    Engine::builder().dram_budget(8 << 20).page_size(4096)
}

/// The bits of the logits after every token, with keys and values in single precision.
pub(crate) fn logits(
    builder: EngineBuilder,
    options: ModelOptions,
    path: &Path,
    tokens: &[u32],
) -> Vec<Vec<u32>> {
    let engine = builder.build().unwrap();
    let model = Model::open_with(&engine, path, options).unwrap();
    let options = SessionOptions::new().kv_format(KvFormat::F32);
    let mut session = model.session(options).unwrap();
    let mut all = Vec::new();
    session
        .feed_with(tokens, |logits| {
            all.push(logits.iter().map(|x| x.to_bits()).collect())
        })
        .unwrap();
    all
}
