//! A plan is exact knowledge: it is read in its order, as far as there is room, kept until it has been read, and forgotten
//! when another takes its place.
#![cfg(test)]

mod child;
mod content;
mod fuse;

use child::skipped;
use content::FieldFile;
use fuse::Fuse;
use ringfield::{BackendKind, Engine, EngineBuilder, Field, FieldRange, OpenOptions, Prefetch};
use std::time::{Duration, Instant};

const PAGE: u64 = 16 << 10;

fn builder() -> EngineBuilder {
    Engine::builder().dram_budget(4 << 20).page_size(PAGE)
}

fn page(field: &Field, page: u64) -> FieldRange {
    field.at(page * PAGE..(page + 1) * PAGE)
}

/// Waits until nothing is being read.
#[track_caller]
fn settle(engine: &Engine) {
    let started = Instant::now();
    while engine.stats().frames_loading > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{}",
            engine.stats()
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Reads `pages` one by one, as a host that computes in between; returns how many it had to wait for.
#[track_caller]
fn read_in_turn(file: &FieldFile, field: &Field, pages: impl Iterator<Item = u64>) -> u64 {
    let engine = field.engine();
    let before = engine.stats().misses;
    for page in pages {
        settle(&engine);
        file.check(
            &field
                .read(page * PAGE..file.len.min((page + 1) * PAGE))
                .unwrap(),
        );
    }
    engine.stats().misses - before
}

#[test]
fn a_plan_is_read_in_its_order() {
    let mut fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let engine = builder()
        .backend(BackendKind::Pread)
        .queue_depth(1)
        .build()
        .unwrap();
    let (one, two) = (fuse.file("plain", 20 << 20), fuse.file("plain", 21 << 20));
    let (one, two) = (engine.open(one).unwrap(), engine.open(two).unwrap());
    let order = [700, 3, 900, 5, 1, 650, 44];
    let mut ranges: Vec<_> = order.iter().map(|&k| page(&one, k)).collect();
    ranges.push(two.at(555 * PAGE..557 * PAGE));
    ranges.push(page(&one, 333));
    let plan = engine.plan(&ranges);
    assert!(plan.is_queued());
    assert_eq!(plan.queued(), 10);
    settle(&engine);
    let expected = order.into_iter().chain([555, 333]).map(|k| k * PAGE);
    assert!(fuse.reads().into_iter().eq(expected));
}

#[test]
fn what_does_not_fit_is_deferred_and_follows_as_the_host_reads() {
    let file = FieldFile::new(12 << 20);
    let pages = file.len / PAGE;
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let engine = builder().backend(backend).build().unwrap();
        let field = engine.open(&file.path).unwrap();
        assert!(pages > engine.frames() * 3);
        let plan = engine.plan(&[field.at(0..file.len / 2), field.at(file.len / 2..u64::MAX)]);
        let at_first = plan.queued();
        assert!(!plan.is_queued());
        assert!(at_first <= engine.frames() * 3 / 4 && at_first > engine.frames() / 2);
        settle(&engine);
        assert_eq!(engine.stats().frames_resident, at_first);
        // Every page is there before it is asked for, although the host only ever hits.
        let missed = read_in_turn(&file, &field, 0..pages);
        assert_eq!(missed, 0);
        assert!(plan.is_queued());
        let stats = engine.stats();
        assert_eq!(
            (stats.prefetch_useful, stats.prefetch_wasted),
            (pages, 0),
            "{stats}"
        );
        assert_eq!(stats.read_bytes, file.len);
    }
}

#[test]
fn planned_pages_outlast_any_flood_until_they_have_been_read() {
    let file = FieldFile::new(12 << 20);
    let engine = builder().build().unwrap();
    let field = engine.open(&file.path).unwrap();
    let half = engine.frames() / 2;
    // Some were there before the plan was made, and are old already.
    read_in_turn(&file, &field, 0..10);
    read_in_turn(&file, &field, 100..100 + engine.frames() - 12);
    engine.plan(&[field.at(0..half * PAGE)]);
    settle(&engine);
    let flood = 200..600;
    read_in_turn(&file, &field, flood.clone());
    assert_eq!(
        read_in_turn(&file, &field, 0..half),
        0,
        "{}",
        engine.stats()
    );
    // Now they are pages like any other.
    read_in_turn(&file, &field, flood);
    assert_eq!(read_in_turn(&file, &field, 0..half), half);
}

#[test]
fn a_plan_outranks_what_was_read_ahead_on_a_guess() {
    let file = FieldFile::new(12 << 20);
    let engine = builder().build().unwrap();
    let field = engine.open(&file.path).unwrap();
    let all = 0..file.len;
    let guessed = field.prefetch(std::slice::from_ref(&all)) as u64;
    assert_eq!(guessed, engine.frames() - engine.frames() / 4);
    settle(&engine);
    // A guess does not push out a guess.
    assert_eq!(
        field.prefetch(std::slice::from_ref(&(400 * PAGE..500 * PAGE))),
        0
    );
    let plan = engine.plan(&[field.at(500 * PAGE..580 * PAGE)]);
    assert_eq!((plan.queued(), plan.is_queued()), (80, true));
    assert_eq!(read_in_turn(&file, &field, 500..580), 0);
}

#[test]
fn a_demand_read_gets_its_room_even_when_all_is_planned() {
    let file = FieldFile::new(12 << 20);
    let engine = builder().build().unwrap();
    let field = engine.open(&file.path).unwrap();
    engine.plan(&[field.at(0..file.len)]);
    settle(&engine);
    let all = engine.frames() * PAGE;
    file.check(&field.read(file.len - all..file.len).unwrap());
}

#[test]
fn another_plan_takes_the_place_of_the_first_and_what_was_not_issued_is_never_read() {
    for cancel in [false, true] {
        let mut fuse = match Fuse::start() {
            Ok(fuse) => fuse,
            Err(why) => skipped!("no FUSE: {why}"),
        };
        let engine = builder()
            .backend(BackendKind::Pread)
            .queue_depth(1)
            .build()
            .unwrap();
        let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
        let scattered =
            |first: u64| -> Vec<_> { (0..20).map(|k| page(&field, first + k * 7)).collect() };
        let first = engine.plan(&scattered(10));
        fuse.wait_for_held(1);
        let second = if cancel {
            first.cancel();
            None
        } else {
            let second = engine.plan(&scattered(300)[..5]);
            assert_eq!((first.queued(), first.is_queued()), (0, true));
            // An old handle has no say any more.
            first.cancel();
            Some(second)
        };
        fuse.release();
        settle(&engine);
        let mut expected = vec![10 * PAGE];
        if let Some(second) = second {
            assert_eq!(second.queued(), 5);
            expected.extend((0..5).map(|k| (300 + k * 7) * PAGE));
        }
        assert_eq!(fuse.reads(), expected);
        // Nothing is protected or in the way: every frame can be had.
        drop(field.read(0..engine.frames() * PAGE).unwrap());
    }
}

#[test]
fn pages_of_a_plan_that_was_replaced_are_protected_no_longer() {
    let file = FieldFile::new(12 << 20);
    let engine = builder().build().unwrap();
    let field = engine.open(&file.path).unwrap();
    let some = engine.frames() / 4;
    let old = engine.plan(&[field.at(0..some * PAGE)]);
    settle(&engine);
    let new = engine.plan(&[field.at(100 * PAGE..(100 + some) * PAGE)]);
    settle(&engine);
    read_in_turn(&file, &field, 300..700);
    assert_eq!(read_in_turn(&file, &field, 100..100 + some), 0);
    assert_eq!(read_in_turn(&file, &field, 0..some), some);
    new.cancel();
    old.cancel();
}

#[test]
fn a_planned_page_that_is_asked_for_early_goes_first() {
    let mut fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let engine = builder()
        .backend(BackendKind::Pread)
        .queue_depth(1)
        .build()
        .unwrap();
    let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
    let plan: Vec<_> = (0..12).map(|k| page(&field, 10 + k * 5)).collect();
    engine.plan(&plan);
    fuse.wait_for_held(1);
    let urgent = 10 + 9 * 5;
    let before = engine.stats().hits;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            field
                .read(urgent * PAGE..urgent * PAGE + 7)
                .unwrap()
                .to_vec()
        });
        while engine.stats().hits == before {
            std::thread::yield_now();
        }
        // It is at the loop's door; a moment later it is in.
        std::thread::sleep(Duration::from_millis(30));
        fuse.release();
        let expected = content::bytes(fuse::SEED, urgent * PAGE, urgent * PAGE + 7);
        assert_eq!(reader.join().unwrap(), expected);
    });
    settle(&engine);
    let order = [0u64, 9, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11].map(|k| (10 + k * 5) * PAGE);
    assert_eq!(fuse.reads(), order);
    assert_eq!(
        (engine.stats().prefetch_late, engine.stats().misses),
        (1, 0)
    );
}

#[test]
fn plans_of_nothing_of_ranges_outside_and_of_closed_fields_are_harmless() {
    let file = FieldFile::new(12 << 20);
    let engine = builder().build().unwrap();
    drop(engine.open(&file.path).unwrap());
    let with_nothing_open = engine.stats().metadata_left_bytes;
    let field = engine.open(&file.path).unwrap();
    assert!(engine.plan(&[]).is_queued());
    let outside = [
        field.at(file.len..u64::MAX),
        field.at(5..5),
        FieldRange::clone(&field.at(std::ops::Range { start: 9, end: 3 })),
        field.at(file.len - 1..u64::MAX),
    ];
    let plan = engine.plan(&outside);
    assert_eq!((plan.queued(), plan.is_queued()), (1, true));
    settle(&engine);

    // The plan does not keep its field open; what is left of it ends.
    let plan = engine.plan(&[field.at(0..file.len)]);
    assert!(!plan.is_queued());
    drop((field, outside));
    assert_eq!(engine.stats().metadata_left_bytes, with_nothing_open);
    let field = engine.open(&file.path).unwrap();
    read_in_turn(&file, &field, 0..20);
    let other = engine.plan(&[field.at(0..9)]);
    assert!(other.is_queued());
    plan.cancel();
}

#[test]
fn extents_can_be_planned() {
    let file = FieldFile::new(12 << 20);
    let engine = builder().build().unwrap();
    let options = OpenOptions::new().extent(100_000).extent_base(77);
    let field = engine.open_with(&file.path, options).unwrap();
    let expert = |k: u64| 77 + k * 100_000..77 + (k + 1) * 100_000;
    let routed = [90u64, 3, 77, 12];
    let plan = engine.plan(&routed.map(|k| field.at(expert(k))));
    assert_eq!(plan.queued(), 4);
    settle(&engine);
    for k in routed {
        let view = field.read(expert(k)).unwrap();
        assert!(view.as_slice().is_some());
        file.check(&view);
    }
    assert_eq!(
        (engine.stats().misses, engine.stats().prefetch_useful),
        (0, 4)
    );
}

#[test]
fn an_engine_that_may_not_read_ahead_reads_only_what_is_asked_for() {
    let file = FieldFile::new(2 << 20);
    for prefetch in [Prefetch::Off, Prefetch::Hints] {
        let engine = builder().prefetch(prefetch).build().unwrap();
        let field = engine.open(&file.path).unwrap();
        let queued = field.prefetch(&[0..5 * PAGE, 5 * PAGE..10 * PAGE]);
        let plan = engine.plan(&[page(&field, 20), page(&field, 21)]);
        assert!(plan.is_queued(), "a host that waits for this must not wait");
        settle(&engine);
        let stats = engine.stats();
        if prefetch == Prefetch::Off {
            assert_eq!(
                (queued, plan.queued(), stats.read_bytes),
                (0, 0, 0),
                "{stats}"
            );
        } else {
            assert_eq!((queued, plan.queued()), (10, 2));
            assert_eq!(stats.read_bytes, 12 * PAGE, "{stats}");
        }
        plan.cancel();
        file.check(&field.read(20 * PAGE..21 * PAGE).unwrap());
    }
}
