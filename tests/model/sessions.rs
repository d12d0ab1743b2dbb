//! Texts in progress: room, errors that change nothing, cancelling, several at once.

use crate::engine;
use crate::tiny::{Tiny, VOCABULARY};
use crate::writer::Dir;
use ringfield::{Error, Finish, Model, Sampling, Session, SessionOptions};
use std::time::{Duration, Instant};

fn model(dir: &Dir) -> Model {
    let path = dir.write("model.gguf", &Tiny::new("llama").file().bytes());
    Model::open(&engine().build().unwrap(), path).unwrap()
}

fn greedy(session: &mut Session, count: usize) -> Vec<u32> {
    session
        .generate(Sampling::new(), count)
        .map(Result::unwrap)
        .collect()
}

#[test]
fn a_text_goes_on_the_same_whether_it_is_asked_for_at_once_or_in_parts() {
    let dir = Dir::new();
    let model = model(&dir);
    let mut whole = model.session(SessionOptions::new()).unwrap();
    whole.feed(&[5, 6, 7]).unwrap();
    let expected = greedy(&mut whole, 12);
    let mut parts = model.session(SessionOptions::new()).unwrap();
    parts.feed(&[5]).unwrap();
    parts.feed(&[6, 7]).unwrap();
    let mut got = greedy(&mut parts, 5);
    got.extend(greedy(&mut parts, 0));
    got.extend(greedy(&mut parts, 7));
    assert_eq!(got, expected);
    // What was generated is part of the text that a prompt goes on with.
    parts.feed(&[9]).unwrap();
    assert_eq!(parts.tokens(), [&[5, 6, 7][..], &expected, &[9]].concat());
}

#[test]
fn a_full_context_ends_a_text_and_refuses_a_prompt() {
    let dir = Dir::new();
    let model = model(&dir);
    let mut session = model.session(SessionOptions::new().context(10)).unwrap();
    let error = session.feed(&[1; 11]).unwrap_err();
    let Error::ContextFull {
        need: 11,
        room: 10,
        positions: 10,
    } = error
    else {
        panic!("{error}");
    };
    assert!(session.tokens().is_empty() && session.logits().is_empty());
    session.feed(&[1; 8]).unwrap();
    let mut generation = session.generate(Sampling::new(), 100);
    // Two that are run, and one more that their logits give.
    assert_eq!(generation.by_ref().map(Result::unwrap).count(), 3);
    assert_eq!(generation.finish(), Some(Finish::ContextFull));
    assert!(generation.next().is_none());
    assert!(matches!(
        session.feed(&[1]),
        Err(Error::ContextFull { room: 0, .. })
    ));
}

#[test]
fn a_context_larger_than_its_budget_is_refused_with_what_would_fit() {
    let dir = Dir::new();
    let model = model(&dir);
    let small = SessionOptions::new().kv_budget(10_000);
    let fits = model.session(small).unwrap();
    assert!(fits.context() > 0 && fits.kv_bytes() <= 10_000);
    let error = model
        .session(small.context(fits.context() + 1))
        .unwrap_err();
    assert!(
        error.to_string().contains(&fits.context().to_string()),
        "{error}"
    );
    assert!(model.session(small.kv_budget(0)).is_err());
}

#[test]
fn a_token_outside_the_vocabulary_is_refused_before_anything_is_run() {
    let dir = Dir::new();
    let mut session = model(&dir).session(SessionOptions::new()).unwrap();
    let error = session.feed(&[1, VOCABULARY as u32]).unwrap_err();
    assert!(matches!(error, Error::NoSuchToken { .. }), "{error}");
    assert!(session.tokens().is_empty());
}

#[test]
fn nothing_was_said_so_nothing_follows() {
    let dir = Dir::new();
    let mut session = model(&dir).session(SessionOptions::new()).unwrap();
    let mut generation = session.generate(Sampling::new(), 5);
    assert!(generation.next().is_none());
    assert_eq!(generation.finish(), Some(Finish::NothingToSay));
}

#[test]
fn a_session_can_be_cancelled_from_another_thread_and_others_go_on() {
    let dir = Dir::new();
    let path = dir.write(
        "model.gguf",
        &Tiny {
            layers: 40,
            width: 320,
            feed_forward: 960,
            ..Tiny::new("llama")
        }
        .file()
        .bytes(),
    );
    let model = Model::open(&engine().build().unwrap(), path).unwrap();
    let mut session = model.session(SessionOptions::new().context(60)).unwrap();
    let mut other = model.session(SessionOptions::new().context(60)).unwrap();
    other.feed(&[1, 2]).unwrap();
    let expected = greedy(
        &mut model
            .session(SessionOptions::new())
            .map(|mut s| {
                s.feed(&[1, 2]).unwrap();
                s
            })
            .unwrap(),
        4,
    );
    session.feed(&[1]).unwrap();
    let cancel = session.cancel_handle();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        cancel.cancel();
    });
    let started = Instant::now();
    let mut finish = None;
    // Until it is cancelled, however fast it is.
    while started.elapsed() < Duration::from_secs(20) && finish.is_none() {
        let mut generation = session.generate(Sampling::new(), 1);
        generation.by_ref().for_each(drop);
        finish = generation
            .finish()
            .filter(|finish| *finish != Finish::Count);
    }
    thread.join().unwrap();
    assert!(
        matches!(finish, Some(Finish::Cancelled | Finish::ContextFull)),
        "{finish:?}"
    );
    assert!(matches!(
        session.feed(&[1]),
        Err(Error::Cancelled | Error::ContextFull { .. })
    ));
    assert_eq!(greedy(&mut other, 4), expected);
}

#[test]
fn a_session_that_was_cancelled_says_so() {
    let dir = Dir::new();
    let mut session = model(&dir).session(SessionOptions::new()).unwrap();
    session.feed(&[1]).unwrap();
    session.cancel_handle().cancel();
    assert_eq!(session.feed(&[2]), Err(Error::Cancelled));
    let mut generation = session.generate(Sampling::new(), 5);
    // The prompt's logits give one without a pass.
    assert_eq!(generation.by_ref().count(), 1);
    assert_eq!(generation.finish(), Some(Finish::Cancelled));
}

#[test]
fn sessions_of_one_model_do_not_disturb_each_other() {
    let dir = Dir::new();
    let model = model(&dir);
    let prompts = [[3, 4, 5], [50, 51, 52], [9, 9, 9]];
    let alone: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| {
            let mut session = model.session(SessionOptions::new()).unwrap();
            session.feed(prompt).unwrap();
            greedy(&mut session, 10)
        })
        .collect();
    let together: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = prompts
            .iter()
            .map(|prompt| {
                let mut session = model.session(SessionOptions::new()).unwrap();
                scope.spawn(move || {
                    session.feed(prompt).unwrap();
                    greedy(&mut session, 10)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_another() {
    let dir = Dir::new();
    let model = model(&dir);
    let text = |sampling: Sampling| {
        let mut session = model.session(SessionOptions::new()).unwrap();
        session.feed(&[5, 6, 7]).unwrap();
        session
            .generate(sampling, 20)
            .map(Result::unwrap)
            .collect::<Vec<u32>>()
    };
    let warm = Sampling::new().temperature(1.5);
    assert_eq!(text(warm.clone().seed(1)), text(warm.clone().seed(1)));
    assert_ne!(text(warm.clone().seed(1)), text(warm.clone().seed(2)));
    // One of one is the likeliest.
    assert_eq!(text(warm.clone().top_k(1)), text(Sampling::new()));
    assert_eq!(text(warm.clone().top_p(0.0)), text(Sampling::new()));
    assert_eq!(text(warm.min_p(1.0)), text(Sampling::new()));
}
