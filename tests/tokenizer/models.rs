//! The two real models of `scripts/get-models.sh`, where they are there.

use ringfield::{Engine, Gguf, Tokenizer};
use std::path::{Path, PathBuf};

pub(crate) const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
pub(crate) const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

/// Where the model is, where it is there.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models")
        .join(name);
    path.exists().then_some(path)
}

/// The path of a model, or the end of the test.
macro_rules! model_or_skip {
    ($name:expr) => {
        match crate::models::path($name) {
            Some(path) => path,
            None => crate::child::skipped!(
                "models/{} is not here: scripts/get-models.sh takes it",
                $name
            ),
        }
    };
}
pub(crate) use model_or_skip;

/// A tokenizer, by an engine of 24 MiB that is gone afterwards.
pub(crate) fn tokenizer(path: &Path) -> Tokenizer {
    let engine = Engine::builder().dram_budget(24 << 20).build().unwrap();
    let model = Gguf::open(&engine, path).unwrap();
    Tokenizer::open(&model).unwrap()
}
