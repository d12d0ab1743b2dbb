//! The bytes a caller gets are the bytes of the file: any length, any alignment, any way of asking, any backend.
#![cfg(test)]

mod child;
mod content;
mod executor;
mod loop_device;

use child::skipped;
use content::{FieldFile, Random};
use executor::block_on;
use loop_device::LoopDevice;
use ringfield::{BackendKind, Engine, Error, HugePages, OpenOptions};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BACKENDS: [BackendKind; 3] = [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap];

fn engine(backend: BackendKind, page: u64, budget: u64) -> Engine {
    Engine::builder()
        .dram_budget(budget)
        .page_size(page)
        .backend(backend)
        .build()
        .unwrap()
}

#[test]
fn every_range_of_every_length_is_the_files() {
    for len in [1u64, 511, 512, 4096, 4097, 65_535, 100_000, 3_000_001] {
        let file = FieldFile::new(len);
        for backend in BACKENDS {
            for page in [4 << 10, 64 << 10, 1 << 20] {
                let engine = engine(backend, page, 24 << 20);
                let field = engine.open(&file.path).unwrap();
                assert_eq!(field.len(), len);
                for (start, end) in [
                    (len - 1, len),
                    (0, 1),
                    (len / 3, len / 2),
                    (len / 2, len),
                    (0, len),
                    (len / 7, len - len / 9),
                ] {
                    file.check(&field.read(start..end).unwrap());
                }
            }
        }
    }
}

#[test]
fn an_empty_range_is_an_empty_view_and_costs_no_read() {
    let file = FieldFile::new(10_000);
    let engine = engine(BackendKind::Auto, 4096, 16 << 20);
    let field = engine.open(&file.path).unwrap();
    for at in [0, 1, 4096, 9_999, 10_000] {
        let view = field.read(at..at).unwrap();
        assert!(view.is_empty() && view.to_vec().is_empty());
        assert_eq!((view.as_slice(), view.chunks().count()), (Some(&[][..]), 0));
    }
    assert_eq!((engine.stats().ios, engine.stats().misses), (0, 0));

    std::fs::write(&file.path, b"").unwrap();
    let nothing = engine.open(&file.path).unwrap();
    assert!(nothing.is_empty() && nothing.read(0..0).unwrap().is_empty());
    assert!(matches!(nothing.read(0..1), Err(Error::OutOfBounds { .. })));
}

#[test]
fn a_range_outside_the_file_is_refused_and_named() {
    let file = FieldFile::new(10_000);
    let engine = engine(BackendKind::Auto, 4096, 16 << 20);
    let field = engine.open(&file.path).unwrap();
    let outside = [
        (0, 10_001),
        (10_000, 10_001),
        (10_001, 10_001),
        (5, 4),
        (0, u64::MAX),
        (u64::MAX, 0),
    ];
    for (start, end) in outside {
        let error = field.read(start..end).unwrap_err();
        assert_eq!(
            error,
            Error::OutOfBounds {
                path: file.path.clone(),
                start,
                end,
                len: 10_000
            }
        );
        let mut batch = engine.batch(1).unwrap();
        assert_eq!(
            field.read_many(std::slice::from_ref(&(start..end)), &mut batch),
            Err(error)
        );
        assert!(matches!(
            block_on(field.read_async(start..end)),
            Err(Error::OutOfBounds { .. })
        ));
    }
    // What is read ahead is cut to the file.
    let backwards = Range { start: 5, end: 4 };
    assert_eq!(field.prefetch(&[10_000..20_000, backwards]), 0);
    assert_eq!(field.prefetch(std::slice::from_ref(&(8192..u64::MAX))), 1);
}

#[test]
fn a_range_larger_than_the_pool_is_refused_before_any_read() {
    let file = FieldFile::new(40 << 20);
    let engine = engine(BackendKind::Auto, 64 << 10, 16 << 20);
    let field = engine.open(&file.path).unwrap();
    let frames = engine.frames();
    let error = field.read(0..file.len).unwrap_err();
    assert_eq!(error, Error::RangeTooLarge { need: 640, frames });
    assert_eq!(engine.stats().ios, 0);
    // What fits exactly is read.
    file.check(&field.read(0..frames << 16).unwrap());
    let whole = OpenOptions::new().extent(40 << 20);
    assert!(matches!(
        engine.open_with(&file.path, whole),
        Err(Error::RangeTooLarge { .. })
    ));
}

#[test]
fn a_view_inside_one_page_is_one_slice_and_a_wider_one_is_chunks() {
    let file = FieldFile::new(50_000);
    let engine = engine(BackendKind::Auto, 4096, 16 << 20);
    let field = engine.open(&file.path).unwrap();

    let inside = field.read(4096..8192).unwrap();
    assert_eq!(inside.as_slice(), Some(&file.bytes(4096, 8192)[..]));
    assert_eq!(
        (inside.start(), inside.len(), inside.is_empty()),
        (4096, 4096, false)
    );

    let wider = field.read(4095..12_289).unwrap();
    assert_eq!(wider.as_slice(), None);
    let lengths: Vec<usize> = wider.chunks().map(<[u8]>::len).collect();
    assert_eq!(lengths, [1, 4096, 4096, 1]);
    let expected = file.bytes(4095, 12_289);
    for room in [0usize, 1, 4097, 8194, 10_000] {
        let mut into = vec![0xaa; room];
        let copied = wider.copy_to(&mut into);
        assert_eq!(copied, room.min(8194));
        assert_eq!(into[..copied], expected[..copied]);
        assert!(into[copied..].iter().all(|&byte| byte == 0xaa));
    }
}

#[test]
fn a_view_can_be_read_on_any_thread_and_its_bytes_do_not_move() {
    let file = FieldFile::new(8 << 20);
    let engine = engine(BackendKind::Auto, 4096, 5 << 20);
    let field = engine.open(&file.path).unwrap();
    let view = field.read(5000..6000).unwrap();
    let before = view.as_slice().unwrap().as_ptr();
    std::thread::scope(|scope| {
        // The pool goes round several times under the view.
        scope.spawn(|| file.check_all(&field, 64 << 10));
        scope.spawn(|| file.check(&view));
    });
    file.check(&view);
    assert_eq!(view.as_slice().unwrap().as_ptr(), before);
}

#[test]
fn offsets_beyond_four_gibibytes_and_the_end_of_a_huge_sparse_file_read_right() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("sparse");
    let sparse = std::fs::File::create(&path).unwrap();
    let len = (1u64 << 40) + 12_345;
    if let Err(e) = sparse.set_len(len) {
        skipped!("no sparse file of 1 TiB here: {e}");
    }
    let places = [(1u64 << 32) - 10, (1 << 36) + 77, (1 << 40) - 3, len - 20];
    for at in places {
        sparse.write_all_at(&at.to_le_bytes(), at).unwrap();
    }
    sparse.sync_all().unwrap();
    for backend in BACKENDS {
        let engine = engine(backend, 64 << 10, 16 << 20);
        let field = engine.open(&path).unwrap();
        for at in places {
            let view = field.read(at - 9..at + 17).unwrap();
            let mut expected = [0u8; 26];
            expected[9..17].copy_from_slice(&at.to_le_bytes());
            assert_eq!(view.to_vec(), expected, "at {at}");
        }
        assert_eq!(field.read(1 << 39..(1 << 39) + 9).unwrap().to_vec(), [0; 9]);
    }
}

#[test]
fn a_block_device_reads_like_a_file() {
    let file = FieldFile::new(3 << 20);
    let device = match LoopDevice::over(&file.path) {
        Ok(device) => device,
        Err(why) => skipped!("no loop device: {why}"),
    };
    for backend in BACKENDS {
        let engine = engine(backend, 64 << 10, 16 << 20);
        let field = engine.open(&device.0).unwrap();
        assert_eq!(field.is_direct(), backend != BackendKind::Mmap);
        assert_eq!(field.len(), file.len);
        file.check_all(&field, 100_001);
        assert!(matches!(
            field.read(0..file.len + 1),
            Err(Error::OutOfBounds { .. })
        ));
    }
}

#[test]
fn an_extent_at_an_odd_base_is_one_slice() {
    let file = FieldFile::new(2_000_003);
    for backend in BACKENDS {
        for (page, extent, base) in [
            (4 << 10, 70_001u64, 12_345u64),
            (4 << 10, 4096, 1),
            (64 << 10, 200_000, 777),
            (4 << 10, 100, 50),
            (64 << 10, 333_333, 1_999_999),
        ] {
            let engine = engine(backend, page, 16 << 20);
            let options = OpenOptions::new().extent(extent).extent_base(base);
            let field = engine.open_with(&file.path, options).unwrap();
            let mut start = base % extent;
            while start + extent <= file.len.min(start % extent + extent * 20) {
                let view = field.read(start..start + extent).unwrap();
                assert_eq!(
                    view.as_slice(),
                    Some(&file.bytes(start, start + extent)[..])
                );
                start += extent;
            }
            // Before the first extent, across a border, and the last, shorter one.
            file.check(&field.read(0..(base % extent).max(1)).unwrap());
            let border = base % extent + extent;
            let across = field.read(border - 1..border + 1).unwrap();
            assert_eq!(across.as_slice(), None);
            file.check(&across);
            let last = file.len - (file.len - base % extent) % extent;
            if last < file.len {
                let last = field.read(last..file.len).unwrap();
                assert!(last.as_slice().is_some());
                file.check(&last);
            }
        }
    }
}

#[test]
fn extents_of_several_sizes_share_one_pool_and_stay_right_under_eviction() {
    let file = FieldFile::new(12 << 20);
    let engine = engine(BackendKind::Auto, 4096, 8 << 20);
    let fields: Vec<_> = [None, Some(9_000), Some(100_000), Some(1 << 20)]
        .into_iter()
        .map(|extent| {
            let options = extent.map_or(OpenOptions::new(), |e| OpenOptions::new().extent(e));
            engine.open_with(&file.path, options).unwrap()
        })
        .collect();
    let mut random = Random(7);
    for _ in 0..600 {
        let field = &fields[random.below(4) as usize];
        let start = random.below(file.len - 5000);
        file.check(&field.read(start..start + 1 + random.below(5000)).unwrap());
    }
    assert!(engine.stats().evictions > 0);
}

#[test]
fn two_opens_of_one_file_share_its_pages_and_several_engines_do_not_disturb_each_other() {
    let file = FieldFile::new(1 << 20);
    let one = engine(BackendKind::Auto, 4096, 16 << 20);
    let (first, second) = (one.open(&file.path).unwrap(), one.open(&file.path).unwrap());
    file.check(&first.read(0..9000).unwrap());
    file.check(&second.read(0..9000).unwrap());
    assert_eq!((one.stats().misses, one.stats().hits), (3, 3));
    drop(first);
    file.check(&second.read(100..200).unwrap());
    assert_eq!(one.stats().misses, 3);

    let others: Vec<Engine> = (0..3)
        .map(|k| engine(BACKENDS[k % 3], 4096 << k, 8 << 20))
        .collect();
    std::thread::scope(|scope| {
        for other in &others {
            scope.spawn(|| file.check_all(&other.open(&file.path).unwrap(), 30_001));
        }
        scope.spawn(|| file.check_all(&second, 50_001));
    });
}

#[test]
fn read_many_gives_range_i_as_view_i_again_and_again() {
    let file = FieldFile::new(6 << 20);
    for backend in BACKENDS {
        let engine = engine(backend, 4096, 4 << 20);
        let field = engine.open(&file.path).unwrap();
        let mut batch = engine.batch(64).unwrap();
        let mut random = Random(3);
        for round in 0..40 {
            let count = [64, 1, 0, 33][round % 4];
            let ranges: Vec<Range<u64>> = (0..count)
                .map(|_| {
                    let start = random.below(file.len - 9000);
                    start..start + random.below(9000)
                })
                .collect();
            field.read_many(&ranges, &mut batch).unwrap();
            for (k, range) in ranges.iter().enumerate() {
                let view = batch.view(k).unwrap();
                assert_eq!(
                    (view.start(), view.len() as u64),
                    (range.start, range.end - range.start)
                );
                file.check(&view);
            }
            assert!(matches!(batch.view(count), Err(Error::Busy { .. })));
        }
        // More ranges than places.
        assert!(matches!(
            field.read_many(&vec![0..1; 65], &mut batch),
            Err(Error::Busy { .. })
        ));
    }
}

#[test]
fn a_window_that_slides_over_several_fields_gives_each_result_once_with_its_tag() {
    let files = [
        FieldFile::new(3_000_000),
        FieldFile::new(1_234_567),
        FieldFile::new(64 << 10),
    ];
    for backend in BACKENDS {
        let engine = engine(backend, 4096, 4 << 20);
        let fields: Vec<_> = files
            .iter()
            .map(|file| engine.open(&file.path).unwrap())
            .collect();
        let mut batch = engine.batch(24).unwrap();
        let mut random = Random(11);
        let mut asked = Vec::new();
        let mut seen = vec![0u32; 2000];
        loop {
            while asked.len() < 2000 {
                let which = random.below(3) as usize;
                let start = random.below(files[which].len);
                let end = files[which].len.min(start + random.below(20_000));
                match batch.submit(&fields[which], start..end, asked.len() as u64) {
                    Ok(()) => asked.push((which, start, end)),
                    Err(Error::Busy { limit: 24, .. }) => break,
                    Err(e) => panic!("{e}"),
                }
            }
            if batch.wait(1 + random.below(8) as usize) == 0 {
                break;
            }
            while let Some(ready) = batch.next() {
                let tag = ready.tag() as usize;
                let (which, start, end) = asked[tag];
                let view = ready.view().unwrap();
                assert_eq!((view.start(), view.len() as u64), (start, end - start));
                files[which].check(&view);
                seen[tag] += 1;
            }
        }
        assert_eq!(batch.pending(), 0);
        assert!(seen.iter().all(|&times| times == 1));
    }
}

#[test]
fn a_future_completes_on_an_executor_of_ten_lines() {
    let file = FieldFile::new(4 << 20);
    for backend in BACKENDS {
        let engine = engine(backend, 4096, 4 << 20);
        let field = engine.open(&file.path).unwrap();
        let mut random = Random(5);
        for _ in 0..300 {
            let start = random.below(file.len - 30_000);
            let view = block_on(field.read_async(start..start + random.below(30_000))).unwrap();
            file.check(&view);
        }
        assert!(block_on(field.read_async(9..9)).unwrap().is_empty());
    }
}

#[test]
fn futures_complete_under_tokio_with_one_thread_and_with_several() {
    let file = Arc::new(FieldFile::new(4 << 20));
    for threads in [0, 3] {
        let runtime = if threads == 0 {
            tokio::runtime::Builder::new_current_thread().build()
        } else {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .build()
        };
        let runtime = runtime.unwrap();
        let engine = engine(BackendKind::Auto, 4096, 4 << 20);
        let field = engine.open(&file.path).unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..20u64)
                .map(|task| {
                    let (field, file) = (field.clone(), file.clone());
                    tokio::spawn(async move {
                        let mut random = Random(task + 1);
                        for _ in 0..30 {
                            let start = random.below(file.len - 20_000);
                            let end = start + 1 + random.below(20_000);
                            let view = field.read_async(start..end).await.unwrap();
                            tokio::task::yield_now().await;
                            file.check(&view);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            // The last handles go inside the runtime.
            drop((field, engine));
        });
    }
}

#[test]
fn random_readers_on_four_threads_get_the_files_bytes_from_a_pool_that_is_far_too_small() {
    let file = FieldFile::new(48 << 20);
    for backend in BACKENDS {
        for (page, budget) in [(4 << 10, 4 << 20), (64 << 10, 8 << 20), (1 << 20, 20 << 20)] {
            let engine = engine(backend, page, budget);
            let slow = std::env::var_os("RINGFIELD_SLOW").is_some();
            let until = Instant::now() + Duration::from_millis(if slow { 10_000 } else { 500 });
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (engine, file) = (&engine, &file);
                    scope.spawn(move || {
                        let field = engine.open(&file.path).unwrap();
                        let mut random = Random(thread * 77 + 1);
                        while Instant::now() < until {
                            // At most a quarter of the pool, so that four views always fit.
                            let len = 1 + random.below(page * 2);
                            let start = random.below(file.len - len);
                            if thread == 3 && random.below(4) == 0 {
                                field.prefetch(std::slice::from_ref(&(start..start + len)));
                            }
                            file.check(&field.read(start..start + len).unwrap());
                        }
                    });
                }
            });
            let stats = engine.stats();
            assert!(stats.evictions > 0 && stats.failed_pages == 0, "{stats}");
        }
    }
}

#[test]
fn every_kind_of_huge_page_reads_the_same_bytes_and_the_report_names_it() {
    let file = FieldFile::new(5 << 20);
    for huge in [
        HugePages::Auto,
        HugePages::Explicit,
        HugePages::Transparent,
        HugePages::Off,
    ] {
        let engine = Engine::builder()
            .dram_budget(12 << 20)
            .huge_pages(huge)
            .build()
            .unwrap();
        file.check_all(&engine.open(&file.path).unwrap(), 77_777);
        let report = engine.report();
        let row = report
            .rows()
            .iter()
            .find(|row| row.item == "huge pages")
            .unwrap();
        match huge {
            HugePages::Off => {
                assert_eq!((&*row.granted, row.is_degraded()), ("plain pages", false))
            }
            HugePages::Transparent => assert_ne!(row.granted, "explicit 2 MiB pages"),
            _ => assert!(row.is_degraded() != row.why.is_empty()),
        }
    }
}
