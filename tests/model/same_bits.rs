//! The same bits for every budget, page size, number of threads, size of a batch and backend.

use crate::logits::TOKENS;
use crate::tiny::Tiny;
use crate::writer::Dir;
use crate::{engine, logits};
use ringfield::{BackendKind, Engine, ModelOptions};

#[test]
fn logits_do_not_depend_on_where_weights_lie_or_who_multiplies_them() {
    let dir = Dir::new();
    for architecture in ["llama", "gemma3"] {
        let tiny = Tiny {
            // Rows that straddle pages of any size.
            width: 200,
            feed_forward: 600,
            layers: 7,
            ..Tiny::new(architecture)
        };
        let path = dir.write(&format!("{architecture}.gguf"), &tiny.file().bytes());
        let options = ModelOptions::new().threads(1);
        let expected = logits(Engine::builder(), options, &path, &TOKENS);
        let mut streamed = 0;
        for (budget, page) in [
            (4 << 20, 4096),
            (5 << 20, 4096),
            (24 << 20, 4096),
            (5 << 20, 65_536),
            (14 << 20, 1 << 20),
        ] {
            for (threads, batch, backend) in [
                (1, 1, BackendKind::Auto),
                (2, 7, BackendKind::Pread),
                (3, 64, BackendKind::Mmap),
            ] {
                let builder = Engine::builder()
                    .dram_budget(budget)
                    .page_size(page)
                    .backend(backend);
                let options = options.threads(threads).batch(batch);
                let got = logits(builder, options, &path, &TOKENS);
                assert!(
                    got == expected,
                    "{architecture}: {budget} bytes, pages of {page}, {threads} threads, batches of {batch}, {backend:?}"
                );
            }
            let engine = engine()
                .dram_budget(budget)
                .page_size(page)
                .build()
                .unwrap();
            let model = ringfield::Model::open(&engine, &path).unwrap();
            streamed += usize::from(model.plan().streamed_bytes > 0);
        }
        assert!(streamed >= 2, "most budgets hold the whole model");
    }
}
