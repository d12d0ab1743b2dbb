//! The budget is a ceiling: all of it is taken at `build()`, nothing is taken later, and what does not fit is an error that
//! says by how much.
#![cfg(test)]

mod child;
mod content;
mod executor;
mod memory_group;
mod process;

use child::{Child, alone, skipped};
use content::FieldFile;
use memory_group::MemoryGroup;
use ringfield::{Engine, EngineBuilder, Error, HugePages, OpenOptions};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn pinned_memory_never_exceeds_the_budget_and_is_most_of_it() {
    for page in [4 << 10, 64 << 10, 1 << 20] {
        for budget in [24u64 << 20, 40_000_001] {
            let builder = Engine::builder().dram_budget(budget).page_size(page);
            let engine = builder.build().unwrap();
            let stats = engine.stats();
            assert!(stats.pinned_bytes <= budget);
            // The arena comes in steps of 2 MiB.
            assert!(stats.pinned_bytes + (3 << 20) + budget / 32 > budget);
            assert!(stats.frames * page <= stats.pinned_bytes);
            assert_eq!(engine.frames(), stats.frames);
        }
    }
}

#[test]
fn reading_a_file_eight_times_the_budget_takes_no_memory_beyond_it() {
    alone(
        "reading_a_file_eight_times_the_budget_takes_no_memory_beyond_it",
        || {
            for (huge, page) in [
                (HugePages::Off, 4 << 10),
                (HugePages::Transparent, 64 << 10),
                (HugePages::Explicit, 64 << 10),
            ] {
                let budget = 12u64 << 20;
                let file = FieldFile::new(8 * budget);
                let held = || (process::status("VmRSS") + process::status("HugetlbPages")) << 10;
                // Thread stacks, the field's path, histograms: not the engine's data.
                let slack = 3 << 20;
                let before = held();
                let engine = Engine::builder()
                    .dram_budget(budget)
                    .page_size(page)
                    .huge_pages(huge)
                    .build()
                    .unwrap();
                let built = held();
                assert!(built - before <= budget + (1 << 20), "{}", built - before);
                // Taken now, not by the reads.
                assert!(built - before + (2 << 20) > engine.frames() * page);

                let field = engine.open(&file.path).unwrap();
                let mut batch = engine.batch(8).unwrap();
                for start in (0..file.len).step_by(1 << 20) {
                    let parts: Vec<_> = (0..8)
                        .map(|k| start + k * (128 << 10)..start + (k + 1) * (128 << 10))
                        .collect();
                    field.read_many(&parts, &mut batch).unwrap();
                }
                drop(batch);
                for start in (0..file.len).step_by(page as usize * 7) {
                    file.check(&field.read(start..file.len.min(start + 9000)).unwrap());
                }
                let after = held();
                assert!(
                    after - before <= budget + slack,
                    "{} bytes more, of which {} since build",
                    after - before,
                    after - built
                );
                let locked = (process::status("VmLck") << 10).max(process::status("VmPin") << 10);
                assert!(locked <= budget, "{locked} bytes locked");
            }
        },
    );
}

#[test]
fn a_budget_too_small_names_the_minimum_and_the_minimum_works() {
    for page in [4u64 << 10, 64 << 10, 4 << 20] {
        for depth in [1, 32, 4096] {
            let small = |budget| {
                Engine::builder()
                    .page_size(page)
                    .queue_depth(depth)
                    .dram_budget(budget)
            };
            let Err(Error::BudgetTooSmall {
                budget: 1,
                page_size,
                minimum,
            }) = small(1).build()
            else {
                panic!("a pool of one byte was built");
            };
            assert_eq!(page_size, page);
            assert!(matches!(
                small(minimum - 1).build(),
                Err(Error::BudgetTooSmall { minimum: same, .. }) if same == minimum
            ));
            let engine = small(minimum).build().unwrap();
            assert!(engine.frames() >= 8);
            let file = FieldFile::new(100_000);
            file.check_all(&engine.open(&file.path).unwrap(), 4096);
        }
    }
}

#[test]
fn a_budget_over_the_cgroups_limit_is_refused_before_any_memory_is_taken() {
    const LIMIT: u64 = 48 << 20;
    if let Some(group) = child::part() {
        // Made outside: where the files of tests lie in memory, they are charged to whoever makes them.
        let file = FieldFile::new(64 << 20);
        let mut entrance = MemoryGroup::entrance(Path::new(&group));
        entrance.write_all(b"0").unwrap();
        let over = Engine::builder().dram_budget(LIMIT + 1).build();
        let Err(Error::BudgetOverLimit {
            budget,
            limit,
            limit_of,
        }) = over
        else {
            panic!("{over:?}");
        };
        assert_eq!((budget, limit), (LIMIT + 1, LIMIT));
        assert!(limit_of.contains("cgroup"));
        // What fits works under the limit, also where its pages are charged to the group.
        for huge in [HugePages::Off, HugePages::Transparent] {
            let engine = Engine::builder()
                .dram_budget(16 << 20)
                .huge_pages(huge)
                .build();
            let engine = engine.unwrap();
            file.check_all(&engine.open(&file.path).unwrap(), 1 << 20);
        }
        return;
    }
    match MemoryGroup::new(LIMIT) {
        Ok(group) => Child::new(
            "a_budget_over_the_cgroups_limit_is_refused_before_any_memory_is_taken",
            &group.path().display().to_string(),
        )
        .run(),
        Err(why) => skipped!("{why}"),
    }
}

#[test]
fn a_budget_over_the_machines_memory_is_refused() {
    let over = Engine::builder().dram_budget(1 << 60).build();
    let Err(Error::BudgetOverLimit { budget, limit, .. }) = over else {
        panic!("{over:?}");
    };
    assert!(budget == 1 << 60 && limit < 1 << 50);
}

#[test]
fn fields_are_charged_to_the_budget_and_too_many_are_refused_until_some_are_closed() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let engine = Engine::builder()
        .dram_budget(16 << 20)
        .queue_depth(1)
        .metadata_budget(128 << 10)
        .build()
        .unwrap();
    let all = engine.stats().metadata_left_bytes;
    let mut fields = Vec::new();
    let (need, have) = loop {
        let path = dir.path().join(fields.len().to_string());
        fs::write(&path, b"a field").unwrap();
        match engine.open(&path) {
            Ok(field) => fields.push(field),
            Err(Error::MetadataBudget { need, have, .. }) => break (need, have),
            Err(e) => panic!("{e}"),
        }
        assert!(fields.len() < 1000, "nothing is charged");
    };
    assert!(need > have && have == engine.stats().metadata_left_bytes);
    assert!(!fields.is_empty());
    // Those that are open still work, and a closed one makes room.
    assert_eq!(fields[0].read(0..7).unwrap().to_vec(), b"a field");
    let with_ring = engine.stats().metadata_left_bytes;
    let count = fields.len() as u64;
    fields.pop();
    assert!(engine.stats().metadata_left_bytes > with_ring);
    fields.push(engine.open(dir.path().join((count).to_string())).unwrap());
    fields.clear();
    // Only the device's loop is still charged.
    assert!(engine.stats().metadata_left_bytes > with_ring + count * 200);
    assert!(engine.stats().metadata_left_bytes < all);
}

fn small_pool() -> EngineBuilder {
    Engine::builder().dram_budget(12 << 20).page_size(1 << 20)
}

#[test]
fn with_every_frame_pinned_a_read_fails_at_once_with_the_numbers() {
    let file = FieldFile::new(40 << 20);
    let engine = small_pool().build().unwrap();
    let field = engine.open(&file.path).unwrap();
    let frames = engine.frames();
    let views: Vec<_> = (0..frames)
        .map(|page| field.read(page << 20..(page << 20) + 1).unwrap())
        .collect();
    let started = Instant::now();
    let expected = Error::PoolPinned {
        need: 2,
        pinned: frames,
        frames,
    };
    let range = 30 << 20..32 << 20;
    assert_eq!(field.read(range.clone()).unwrap_err(), expected);
    let mut batch = engine.batch(4).unwrap();
    let many = field.read_many(std::slice::from_ref(&range), &mut batch);
    assert_eq!(many.unwrap_err(), expected);
    batch.submit(&field, range.clone(), 5).unwrap();
    assert_eq!(batch.wait(1), 1);
    assert_eq!(batch.next().unwrap().view().unwrap_err(), expected);
    let mut future = Box::pin(field.read_async(range.clone()));
    let polled = executor::poll(future.as_mut(), std::task::Waker::noop());
    assert!(matches!(polled, std::task::Poll::Ready(Err(e)) if e == expected));
    assert_eq!(field.prefetch(std::slice::from_ref(&range)), 0);
    assert!(started.elapsed() < Duration::from_secs(1));
    // What is pinned can still be read, and one view less makes one frame of room.
    file.check(&field.read(0..1 << 20).unwrap());
    drop(views);
    file.check(&field.read(range).unwrap());
}

#[test]
fn a_claim_that_fails_half_way_leaves_nothing_pinned() {
    let file = FieldFile::new(40 << 20);
    let engine = small_pool().build().unwrap();
    let field = engine.open(&file.path).unwrap();
    let frames = engine.frames();
    let view = field.read(0..1).unwrap();
    // All frames but one are there; nine pages are wanted, all of which could be claimed but the last.
    for _ in 0..20 {
        let error = field.read(20 << 20..(20 + frames) << 20).unwrap_err();
        assert!(
            matches!(error, Error::PoolPinned { pinned: 1, .. }),
            "{error}"
        );
    }
    drop(view);
    file.check(&field.read(20 << 20..(20 + frames) << 20).unwrap());
    assert_eq!(engine.stats().frames_loading, 0);
}

#[test]
fn pin_wait_waits_for_a_view_to_go_and_no_longer_than_it_says() {
    let file = FieldFile::new(40 << 20);
    let engine = small_pool()
        .pin_wait(Duration::from_millis(300))
        .build()
        .unwrap();
    let field = engine.open(&file.path).unwrap();
    let frames = engine.frames();
    let fill = || -> Vec<_> {
        (0..frames)
            .map(|page| field.read(page << 20..(page << 20) + 1).unwrap())
            .collect()
    };
    let mut batch = engine.batch(2).unwrap();
    let range = 30 << 20..31 << 20;
    for by_batch in [false, true] {
        let mut read = || match by_batch {
            false => field.read(range.clone()).map(|view| file.check(&view)),
            true => field
                .read_many(std::slice::from_ref(&range), &mut batch)
                .map(|()| file.check(&batch.view(0).unwrap())),
        };
        let views = fill();
        let started = Instant::now();
        let error = read().unwrap_err();
        assert!(matches!(error, Error::PoolPinned { .. }), "{error}");
        let waited = started.elapsed();
        assert!(
            waited >= Duration::from_millis(300),
            "{waited:?}, by batch: {by_batch}"
        );
        assert!(waited < Duration::from_millis(900), "{waited:?}");

        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let views = receive.recv().unwrap();
                std::thread::sleep(Duration::from_millis(60));
                drop(views);
            });
            send.send(views).unwrap();
            read().unwrap();
        });
        if by_batch {
            batch.clear();
        }
    }
}

#[test]
fn an_extent_finds_room_between_pinned_pages_or_says_that_there_is_none() {
    let file = FieldFile::new(16 << 20);
    let engine = Engine::builder()
        .dram_budget(4 << 20)
        .page_size(4096)
        .build()
        .unwrap();
    let frames = engine.frames();
    let pages = engine.open(&file.path).unwrap();
    let options = OpenOptions::new().extent(32 << 12);
    let extents = engine.open_with(&file.path, options).unwrap();
    // One page in 16 is pinned: no 32 adjacent frames are left.
    let mut views = Vec::new();
    for page in 0..frames {
        let view = pages.read(page << 12..(page << 12) + 1).unwrap();
        if page % 16 == 0 {
            views.push(view);
        }
    }
    let error = extents.read(0..1).unwrap_err();
    assert!(
        matches!(error, Error::PoolPinned { need: 32, .. }),
        "{error}"
    );
    // A hole in the middle is enough.
    let middle = views.len() / 2;
    views.drain(middle - 2..middle + 2);
    file.check(&extents.read(0..32 << 12).unwrap());
    for view in &views {
        file.check(view);
    }
}
