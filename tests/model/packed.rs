//! Models in packed fields: the same bits as in the files that were packed.

use crate::engine;
use crate::logits;
use crate::logits::TOKENS;
use crate::tiny::Tiny;
use crate::writer::Dir;
use ringfield::{
    Arithmetic, BackendKind, Engine, Gguf, KvFormat, Model, ModelOptions, Pack, SessionOptions,
    TensorType,
};
use std::path::PathBuf;

/// The bits of the logits after every token, and whether something was read again and again.
fn packed_logits(
    engine: &Engine,
    options: ModelOptions,
    paths: &[PathBuf],
) -> (Vec<Vec<u32>>, bool) {
    let field = engine.open_array(paths).unwrap();
    let model = Model::of(Gguf::of(&field).unwrap(), options).unwrap();
    let options = SessionOptions::new().kv_format(KvFormat::F32);
    let mut session = model.session(options).unwrap();
    let mut all = Vec::new();
    let look = |logits: &[f32]| all.push(logits.iter().map(|x| x.to_bits()).collect());
    session.feed_with(&TOKENS, look).unwrap();
    (all, model.plan().streamed_bytes > 0)
}

#[test]
fn logits_of_a_packed_model_are_those_of_its_files() {
    let dir = Dir::new();
    let quantized = Tiny {
        kind: TensorType::Q4_0,
        width: 224,
        feed_forward: 3200,
        ..Tiny::large("qwen3")
    };
    let mut streamed = 0;
    for (name, tiny, arithmetic) in [
        ("llama", Tiny::large("llama"), Arithmetic::Exact),
        ("gemma3", Tiny::large("gemma3"), Arithmetic::Exact),
        ("qwen3", quantized, Arithmetic::EightBit),
    ] {
        let path = dir.write(&format!("{name}.gguf"), &tiny.file().bytes());
        let options = ModelOptions::new().threads(1).arithmetic(arithmetic);
        let expected = logits(Engine::builder(), options, &path, &TOKENS);
        for (members, page) in [(1, 4096u64), (3, 4096), (1, 256 << 10), (3, 256 << 10)] {
            let paths: Vec<PathBuf> = (0..members)
                .map(|k| dir.path().join(format!("{name}.{page}.{members}.{k}")))
                .collect();
            let pack = Pack::new([&path]).page_size(page);
            pack.run(&paths, |_| true).unwrap();
            for (budget, threads, batch, backend) in [
                (5 << 20, 1, 1, BackendKind::Auto),
                (9 << 20, 2, 7, BackendKind::Pread),
                (64 << 20, 2, 64, BackendKind::Auto),
                (12 << 20, 1, 9, BackendKind::Mmap),
            ] {
                // Large pages need a pool of some.
                let budget = budget + 8 * page;
                let engine = engine()
                    .dram_budget(budget)
                    .page_size(page)
                    .backend(backend);
                let options = options.threads(threads).batch(batch);
                let (got, again) = packed_logits(&engine.build().unwrap(), options, &paths);
                assert!(
                    got == expected,
                    "{name}: pages of {page} on {members}, {budget} bytes, {threads} threads, {backend:?}"
                );
                streamed += u32::from(again);
            }
        }
    }
    assert!(streamed > 8, "most budgets hold the whole model");
}
