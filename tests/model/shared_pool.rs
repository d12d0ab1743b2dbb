//! A model is not alone in its engine's pool.

use crate::engine;
use crate::tiny::Tiny;
use crate::writer::Dir;
use ringfield::{Engine, Error, Field, Model, ModelOptions, Sampling, SessionOptions, View};
use std::path::PathBuf;

const PAGE: u64 = 4096;

fn large(dir: &Dir) -> PathBuf {
    dir.write("model.gguf", &Tiny::large("llama").file().bytes())
}

fn text(model: &Model, prompt: &[u32]) -> Result<Vec<u32>, Error> {
    let mut session = model.session(SessionOptions::new())?;
    session.feed(prompt)?;
    session.generate(Sampling::new(), 12).collect()
}

/// Views of a page each, as many as there is room for.
fn pin_all(field: &Field) -> Vec<View<'_>> {
    let pages = field.len() / PAGE;
    let view = |page| field.read(page * PAGE..page * PAGE + 1).ok();
    (0..pages).map_while(view).collect()
}

#[test]
fn models_that_share_a_pool_by_parts_do_not_disturb_each_other() {
    let dir = Dir::new();
    let path = large(&dir);
    let engine = engine().dram_budget(12 << 20).build().unwrap();
    let half = ModelOptions::new().pool(4 << 20);
    let first = Model::open_with(&engine, &path, half).unwrap();
    let second = Model::open_with(&engine, &path, half).unwrap();
    for model in [&first, &second] {
        let plan = model.plan();
        assert!(plan.streamed_bytes > 0 && plan.resident_bytes < 4 << 20);
    }
    let alone = Model::open(&Engine::builder().build().unwrap(), &path).unwrap();
    std::thread::scope(|scope| {
        let two = scope.spawn(|| text(&second, &[7, 8, 9]));
        for _ in 0..5 {
            assert_eq!(text(&first, &[1, 2]), text(&alone, &[1, 2]));
        }
        assert_eq!(two.join().unwrap(), text(&alone, &[7, 8, 9]));
    });
}

#[test]
fn a_second_model_in_a_pool_that_the_first_has_taken_is_an_error_that_says_so() {
    let dir = Dir::new();
    let path = large(&dir);
    let other = dir.write("other.gguf", &Tiny::large("qwen3").file().bytes());
    let engine = engine().dram_budget(6 << 20).build().unwrap();
    let first = Model::open(&engine, &path).unwrap();
    let before = text(&first, &[1, 2]);
    let error = Model::open(&engine, &other).unwrap_err();
    assert!(matches!(error, Error::PoolPinned { .. }), "{error}");
    assert_eq!(text(&first, &[1, 2]), before);
    drop(first);
    Model::open(&engine, &other).unwrap();
}

#[test]
fn views_that_leave_no_room_for_a_pass_fail_it_and_not_the_next() {
    let dir = Dir::new();
    let path = large(&dir);
    let other = dir.write("views", &vec![1; 16 << 20]);
    let engine = engine().dram_budget(8 << 20).build().unwrap();
    let options = ModelOptions::new().pool(2 << 20).threads(1);
    let model = Model::open_with(&engine, &path, options).unwrap();
    let alone = Model::open(&Engine::builder().build().unwrap(), &path).unwrap();
    let expected = text(&alone, &[1, 2]);
    let field = engine.open(other).unwrap();
    let mut session = model.session(SessionOptions::new()).unwrap();

    // Before anything was read ahead.
    let mut views = pin_all(&field);
    let error = session.feed(&[1, 2]).unwrap_err();
    assert!(matches!(error, Error::PoolPinned { .. }), "{error}");
    assert!(session.tokens().is_empty());

    // Room for less than the window: what could not be asked for ahead is asked for again when it is its turn.
    views.truncate(views.len().saturating_sub((512 << 10) / PAGE as usize));
    session.feed(&[1, 2]).unwrap();
    drop(views);
    let got: Result<Vec<u32>, Error> = session.generate(Sampling::new(), 12).collect();
    assert_eq!(got, expected);
}
