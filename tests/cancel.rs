//! A read can be forgotten at any time: its frame belongs to the engine until the device has answered, and then comes back.
#![cfg(test)]

mod child;
mod content;
mod executor;
mod fuse;
mod process;

use child::{alone, skipped};
use content::{FieldFile, Random};
use executor::{Count, block_on, poll};
use fuse::Fuse;
use process::Held;
use ringfield::{BackendKind, Engine, Error, Field};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

const PAGE: u64 = 16 << 10;

fn engine(backend: BackendKind) -> Engine {
    Engine::builder()
        .dram_budget(5 << 20)
        .page_size(PAGE)
        .backend(backend)
        .inline_reads(false)
        .build()
        .unwrap()
}

/// Fails unless no read is in flight any more and every frame can be had at once: none is pinned, none was lost.
#[track_caller]
fn assert_all_frames_are_back(field: &Field) {
    let engine = field.engine();
    let started = Instant::now();
    while engine.stats().frames_loading > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{}",
            engine.stats()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let all = engine.frames() * PAGE;
    drop(field.read(0..all).unwrap());
    drop(field.read(field.len() - all..field.len()).unwrap());
}

#[test]
fn a_future_that_is_never_polled_reads_nothing() {
    let file = FieldFile::new(12 << 20);
    let engine = engine(BackendKind::Auto);
    let field = engine.open(&file.path).unwrap();
    for at in 0..1000 {
        drop(field.read_async(at * 1000..at * 1000 + 5000));
    }
    assert_eq!((engine.stats().ios, engine.stats().misses), (0, 0));
    assert_all_frames_are_back(&field);
}

#[test]
fn futures_dropped_after_any_number_of_polls_leave_nothing_behind() {
    let file = FieldFile::new(12 << 20);
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let engine = engine(backend);
        let field = engine.open(&file.path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (field, file) = (&field, &file);
                scope.spawn(move || {
                    let mut random = Random(thread + 1);
                    // More futures than there are places for waiting reads.
                    for _ in 0..1500 {
                        let start = random.below(file.len - 4 * PAGE);
                        let end = start + 1 + random.below(3 * PAGE);
                        let mut future = Box::pin(field.read_async(start..end));
                        for _ in 0..random.below(4) {
                            match poll(future.as_mut(), Waker::noop()) {
                                std::task::Poll::Pending => std::thread::yield_now(),
                                // Many reads were given up and are still out: their places are not free yet.
                                std::task::Poll::Ready(Err(Error::Busy { .. })) => {
                                    std::thread::sleep(Duration::from_millis(1));
                                    break;
                                }
                                std::task::Poll::Ready(view) => {
                                    file.check(&view.unwrap());
                                    break;
                                }
                            }
                        }
                    }
                });
            }
        });
        assert_all_frames_are_back(&field);
        // Every place for a waiting read came back too.
        let mut futures = Vec::new();
        for page in 0..engine.frames() {
            let mut future = Box::pin(field.read_async(page * PAGE..page * PAGE + 1));
            let polled = poll(future.as_mut(), Waker::noop());
            assert!(
                !matches!(polled, std::task::Poll::Ready(Err(_))),
                "{polled:?}"
            );
            futures.push(future);
        }
        drop(futures);
        assert_all_frames_are_back(&field);
        let stats = engine.stats();
        assert_eq!((stats.failed_pages, stats.frames_lost), (0, 0), "{stats}");
    }
}

#[test]
fn a_read_in_flight_goes_on_in_the_engines_memory_when_its_future_is_dropped() {
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let mut fuse = match Fuse::start() {
            Ok(fuse) => fuse,
            Err(why) => skipped!("no FUSE: {why}"),
        };
        let engine = engine(backend);
        let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let far = 50 * PAGE;
        let mut dropped = Box::pin(field.read_async(far..far + 2 * PAGE));
        assert!(poll(dropped.as_mut(), &waker).is_pending());
        let mut kept = Box::pin(field.read_async(far + 1..far + 9));
        assert!(poll(kept.as_mut(), Waker::noop()).is_pending());
        fuse.wait_for_held(1);
        drop(dropped);
        // Nobody is told any more, and the waker is not kept.
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1);
        assert_eq!(engine.stats().frames_loading, 2);

        // The same pages, asked for again by another way, do not make another read.
        std::thread::scope(|scope| {
            let blocked = scope.spawn(|| field.read(far..far + 2 * PAGE).unwrap().to_vec());
            while engine.stats().hits < 3 {
                std::thread::yield_now();
            }
            fuse.release();
            assert!(blocked.join().unwrap() == content::bytes(fuse::SEED, far, far + 2 * PAGE));
        });
        assert_eq!(
            block_on(kept).unwrap().to_vec(),
            content::bytes(fuse::SEED, far + 1, far + 9)
        );
        assert_eq!(count.woken(), 0);
        assert_eq!((engine.stats().misses, engine.stats().hits), (2, 3));
        assert_all_frames_are_back(&field);
    }
}

#[test]
fn of_many_that_wait_for_one_page_those_that_stay_are_woken_once_by_the_waker_they_gave_last() {
    let mut fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let engine = engine(BackendKind::Auto);
    let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
    let counts: Vec<_> = (0..30).map(|_| Arc::new(Count::default())).collect();
    let first = Arc::new(Count::default());
    let mut futures: Vec<_> = (0..30)
        .map(|_| Some(Box::pin(field.read_async(99_000..99_010))))
        .collect();
    for (future, count) in futures.iter_mut().zip(&counts) {
        let future = future.as_mut().unwrap();
        // Polled by one task, then moved to another.
        assert!(poll(future.as_mut(), &Waker::from(first.clone())).is_pending());
        assert!(poll(future.as_mut(), &Waker::from(count.clone())).is_pending());
    }
    fuse.wait_for_held(1);
    for k in (0..30).step_by(3) {
        futures[k] = None;
    }
    fuse.release();
    let started = Instant::now();
    while counts.iter().map(|count| count.woken()).sum::<u32>() < 20 {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "a waiter was forgotten"
        );
        std::thread::yield_now();
    }
    for (k, future) in futures.into_iter().enumerate() {
        assert_eq!(counts[k].woken(), u32::from(future.is_some()));
        if let Some(mut future) = future {
            match poll(future.as_mut(), Waker::noop()) {
                std::task::Poll::Ready(view) => {
                    assert_eq!(
                        view.unwrap().to_vec(),
                        content::bytes(fuse::SEED, 99_000, 99_010)
                    );
                }
                std::task::Poll::Pending => panic!("woken for nothing"),
            }
        }
    }
    assert_eq!(first.woken(), 0);
    assert_eq!(engine.stats().ios, 1);
    assert_all_frames_are_back(&field);
}

#[test]
fn a_batch_dropped_or_cleared_with_reads_in_flight_gives_its_frames_back_and_can_be_used_again() {
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let mut fuse = match Fuse::start() {
            Ok(fuse) => fuse,
            Err(why) => skipped!("no FUSE: {why}"),
        };
        let engine = engine(backend);
        let held = engine.open(fuse.file("held", 12 << 20)).unwrap();
        let file = FieldFile::new(3 << 20);
        let field = engine.open(&file.path).unwrap();
        let mut batch = engine.batch(16).unwrap();
        let mut dropped = engine.batch(8).unwrap();
        for k in 1..9 {
            batch
                .submit(&held, k * 100_000..k * 100_000 + 30_000, k)
                .unwrap();
            dropped
                .submit(&held, k * 90_000..k * 90_000 + 40_000, k)
                .unwrap();
        }
        batch.flush();
        dropped.flush();
        fuse.wait_for_held(2);
        drop(dropped);
        batch.clear();
        assert_eq!((batch.pending(), batch.wait(1)), (0, 0));
        assert!(batch.next().is_none());
        // Used again while the old reads are still out.
        for tag in 0..10 {
            batch
                .submit(&field, tag * 50_000..tag * 50_000 + 60_000, tag)
                .unwrap();
        }
        let mut seen = 0;
        while batch.wait(1) > 0 {
            while let Some(ready) = batch.next() {
                file.check(&ready.view().unwrap());
                assert!(ready.tag() < 10);
                seen += 1;
            }
        }
        assert_eq!(seen, 10);
        fuse.release();
        assert_all_frames_are_back(&held);
        // Late answers do not show up as results.
        assert_eq!(batch.wait(1), 0);
    }
}

#[test]
fn a_batch_cleared_after_its_reads_ended_does_not_take_them_for_the_next_ones() {
    let file = FieldFile::new(12 << 20);
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let engine = engine(backend);
        let field = engine.open(&file.path).unwrap();
        let mut batch = engine.batch(8).unwrap();
        let mut random = Random(1);
        let mut submit = |batch: &mut ringfield::Batch| {
            for tag in 0..8 {
                let start = random.below(file.len - 50_000);
                batch.submit(&field, start..start + 50_000, tag).unwrap();
            }
            batch.flush();
        };
        for _ in 0..50 {
            submit(&mut batch);
            while engine.stats().frames_loading > 0 {
                std::thread::yield_now();
            }
            // Their results lie ready but were not looked at.
            batch.clear();
            submit(&mut batch);
            let mut seen = 0;
            while batch.wait(1) > 0 {
                while let Some(ready) = batch.next() {
                    file.check(&ready.view().unwrap());
                    seen += 1;
                }
            }
            assert_eq!(seen, 8);
        }
        assert_all_frames_are_back(&field);
    }
}

#[test]
fn a_field_closed_with_prefetches_queued_and_in_flight_gives_its_frames_and_its_descriptor_back() {
    alone(
        "a_field_closed_with_prefetches_queued_and_in_flight_gives_its_frames_and_its_descriptor_back",
        || {
            let file = FieldFile::new(12 << 20);
            for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
                let engine = engine(backend);
                let open_and_close = |rounds: u64| {
                    for round in 0..rounds {
                        let field = engine.open(&file.path).unwrap();
                        let start = round * 10_000;
                        field.prefetch(&[start..start + 600_000, start..start + 100]);
                        if round % 3 == 0 {
                            file.check(&field.read(start..start + 1000).unwrap());
                        }
                    }
                };
                // Threads take memory of their own when they first run.
                open_and_close(50);
                std::thread::sleep(Duration::from_millis(50));
                let before = Held::now();
                open_and_close(200);
                Held::assert_nothing_leaked(&before, 16);
                let field = engine.open(&file.path).unwrap();
                assert_all_frames_are_back(&field);
                let stats = engine.stats();
                assert_eq!(stats.frames_lost, 0);
            }
        },
    );
}

#[test]
fn a_read_that_joins_a_prefetch_which_is_then_dropped_still_ends() {
    let mut fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let engine = engine(BackendKind::Auto);
    let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
    let queued = field.prefetch(std::slice::from_ref(&(PAGE..2 << 20)));
    assert!(queued > 30);
    let far = 90 * PAGE;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| field.read(far..far + 5).unwrap().to_vec());
        fuse.wait_for_held(1);
        fuse.release();
        assert_eq!(
            reader.join().unwrap(),
            content::bytes(fuse::SEED, far, far + 5)
        );
    });
    drop(field);
    let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
    assert_all_frames_are_back(&field);
}

#[test]
fn a_future_that_waits_for_room_can_be_dropped_and_another_gets_the_room() {
    let mut fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let engine = engine(BackendKind::Auto);
    let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
    // Views pin a quarter, prefetches in flight have the rest.
    let file = FieldFile::new(12 << 20);
    let other = engine.open(&file.path).unwrap();
    let quarter = engine.frames() - engine.frames() * 3 / 4;
    let views: Vec<_> = (0..quarter)
        .map(|page| other.read(page * PAGE..page * PAGE + 1).unwrap())
        .collect();
    field.prefetch(std::slice::from_ref(&(PAGE..12 << 20)));
    let count = Arc::new(Count::default());
    let mut dropped = Box::pin(other.read_async(11 << 20..(11 << 20) + 5));
    let mut kept = Box::pin(other.read_async(10 << 20..(10 << 20) + 5));
    assert!(poll(dropped.as_mut(), &Waker::from(count.clone())).is_pending());
    assert!(poll(kept.as_mut(), &Waker::from(count.clone())).is_pending());
    drop(dropped);
    assert_eq!((Arc::strong_count(&count), count.woken()), (2, 0));
    fuse.release();
    file.check(&block_on(kept).unwrap());
    drop(views);
    assert_all_frames_are_back(&field);
}

#[test]
fn a_panic_in_a_waker_does_not_take_the_device_with_it() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a waker's own trouble"));
        }
    }
    let file = FieldFile::new(12 << 20);
    let engine = engine(BackendKind::Auto);
    let field = engine.open(&file.path).unwrap();
    for page in 0..50 {
        let mut future = Box::pin(field.read_async(page * PAGE..page * PAGE + 9));
        let _ = poll(future.as_mut(), &Waker::from(Arc::new(Panics)));
        file.check(&field.read(page * PAGE..page * PAGE + 9).unwrap());
    }
    assert!(!matches!(field.read(0..9), Err(Error::Read { .. })));
    assert_all_frames_are_back(&field);
}
