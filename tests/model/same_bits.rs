//! The same bits for every budget, page size, number of threads, size of a batch and backend.

use crate::logits::TOKENS;
use crate::tiny::Tiny;
use crate::writer::Dir;
use crate::{engine, logits};
use ringfield::{
    Arithmetic, BackendKind, Engine, Error, KvFormat, Model, ModelOptions, Sampling,
    SessionOptions, TensorType,
};
use std::path::Path;

const BUDGETS: [(u64, u64); 5] = [
    (4 << 20, 4096),
    (5 << 20, 4096),
    (24 << 20, 4096),
    (5 << 20, 65_536),
    (14 << 20, 1 << 20),
];

const WAYS: [(usize, usize, BackendKind); 4] = [
    (1, 1, BackendKind::Auto),
    (2, 7, BackendKind::Pread),
    (2, 9, BackendKind::Auto),
    (3, 64, BackendKind::Mmap),
];

#[test]
fn logits_do_not_depend_on_where_weights_lie_or_who_multiplies_them() {
    let dir = Dir::new();
    let quantized = Tiny {
        kind: TensorType::Q4_0,
        width: 224,
        feed_forward: 3200,
        ..Tiny::large("qwen3")
    };
    let mixed = Tiny {
        mixed: true,
        ..quantized
    };
    for (tiny, arithmetic) in [
        (Tiny::large("llama"), Arithmetic::Exact),
        (Tiny::large("gemma3"), Arithmetic::Exact),
        (quantized, Arithmetic::Exact),
        (quantized, Arithmetic::EightBit),
        (mixed, Arithmetic::EightBit),
    ] {
        let name = format!("{} {} {arithmetic:?}", tiny.architecture, tiny.mixed);
        let path = dir.write(&format!("{name}.gguf"), &tiny.file().bytes());
        let options = ModelOptions::new().threads(1).arithmetic(arithmetic);
        let expected = logits(Engine::builder(), options, &path, &TOKENS);
        let finite = |bits: &u32| f32::from_bits(*bits).is_finite();
        assert!(expected.iter().flatten().all(finite));
        let mut streamed = 0;
        for (budget, page) in BUDGETS {
            for (threads, batch, backend) in WAYS {
                let builder = Engine::builder()
                    .dram_budget(budget)
                    .page_size(page)
                    .backend(backend);
                let options = options.threads(threads).batch(batch);
                let got = logits(builder, options, &path, &TOKENS);
                assert!(
                    got == expected,
                    "{name}: {budget} bytes, pages of {page}, {threads} threads, batches of {batch}, {backend:?}"
                );
            }
            let engine = engine()
                .dram_budget(budget)
                .page_size(page)
                .build()
                .unwrap();
            let model = Model::open(&engine, &path).unwrap();
            streamed += usize::from(model.plan().streamed_bytes > 0);
        }
        assert!(streamed >= 2, "most budgets hold the whole model");
    }
}

/// A prompt in several batches, an answer, another prompt and another answer, with keys and values in half precision: the
/// tokens, and the bits of the last logits.
fn talk(builder: ringfield::EngineBuilder, options: ModelOptions, path: &Path) -> Vec<u32> {
    let model = Model::open_with(&builder.build().unwrap(), path, options).unwrap();

    let options = SessionOptions::new().kv_format(KvFormat::F16);
    let mut session = model.session(options).unwrap();
    for prompt in [&TOKENS[..], &TOKENS[3..16]] {
        session.feed(prompt).unwrap();
        let answer: Result<Vec<u32>, Error> = session.generate(Sampling::new(), 6).collect();
        answer.unwrap();
    }
    let bits = session.logits().iter().map(|x| x.to_bits());
    session.tokens().iter().copied().chain(bits).collect()
}

#[test]
fn a_conversation_does_not_depend_on_them_either() {
    let dir = Dir::new();
    for tied in [true, false] {
        let tiny = Tiny {
            tied,
            ..Tiny::large("qwen2")
        };
        let path = dir.write("model.gguf", &tiny.file().bytes());
        let options = ModelOptions::new().threads(1);
        let expected = talk(Engine::builder(), options, &path);
        for (budget, page) in BUDGETS {
            for (threads, batch, backend) in WAYS {
                // A window from a page to more than the model.
                for ahead in [1, 300 << 10, 64 << 20] {
                    let builder = Engine::builder()
                        .dram_budget(budget)
                        .page_size(page)
                        .backend(backend);
                    let options = options.threads(threads).batch(batch).read_ahead(ahead);
                    assert!(
                        talk(builder, options, &path) == expected,
                        "{budget} bytes, pages of {page}, {threads} threads, batches of {batch}, {backend:?}, {ahead} ahead"
                    );
                }
            }
        }
    }
}

#[test]
fn a_window_that_reaches_into_a_head_that_is_left_out_does_no_harm() {
    let dir = Dir::new();
    let tiny = Tiny {
        vocabulary: 4000,
        ..Tiny::new("llama")
    };
    let path = dir.write("model.gguf", &tiny.file().bytes());
    let options = ModelOptions::new().threads(1);
    let expected = talk(engine(), options, &path);
    for pool in (300 << 10..1 << 20).step_by(100 << 10) {
        for (threads, batch) in [(1, 1), (1, 5), (2, 7), (1, 64)] {
            let options = options.threads(threads).batch(batch).pool(pool);
            assert!(
                talk(engine(), options, &path) == expected,
                "{pool} bytes, {threads} threads, batches of {batch}"
            );
        }
    }
}

#[test]
fn only_the_last_batch_of_a_prompt_takes_the_head() {
    let dir = Dir::new();
    let tiny = Tiny {
        tied: false,
        ..Tiny::large("llama")
    };
    let path = dir.write("model.gguf", &tiny.file().bytes());
    let head = 4 * tiny.width as u64 * crate::tiny::VOCABULARY as u64;
    for budget in [4 << 20, 64 << 20] {
        let engine = engine().dram_budget(budget).build().unwrap();
        let model = Model::open_with(&engine, &path, ModelOptions::new().batch(4)).unwrap();
        let plan = *model.plan();
        let pass = plan.resident_bytes + plan.streamed_bytes;
        let mut session = model.session(SessionOptions::new()).unwrap();
        session.feed(&TOKENS[..13]).unwrap();
        assert_eq!(model.stats().weight_bytes, 4 * pass - 3 * head);
        session.feed_with(&TOKENS[..8], |_| ()).unwrap();
        assert_eq!(model.stats().weight_bytes, 6 * pass - 3 * head);
        let streamed = model.stats().streamed_bytes;
        assert!(
            streamed <= 6 * plan.streamed_bytes && streamed + 3 * head >= 6 * plan.streamed_bytes
        );
    }
}

#[test]
fn as_many_threads_compute_as_the_pool_has_room_for() {
    let dir = Dir::new();
    let path = dir.write("model.gguf", &Tiny::large("llama").file().bytes());
    let builder = engine().page_size(1 << 20).dram_budget(64 << 20);
    let engine = builder.build().unwrap();
    let mut fewer = 0;
    for pool in (4..16).map(|mib| mib << 20) {
        let options = ModelOptions::new().pool(pool);
        let open = |options| Model::open_with(&engine, &path, options);
        let two = open(options.threads(2)).err();
        if open(options.threads(1)).is_ok() && matches!(two, Some(Error::PoolTooSmall { .. })) {
            assert_eq!(open(options).unwrap().plan().threads, 1);
            fewer += 1;
        }
    }
    assert!(fewer > 0, "no pool has room for one thread and not for two");
}
