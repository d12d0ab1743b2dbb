//! An engine ends whenever and wherever its last handle is dropped, in bounded time, and leaves nothing behind: no thread,
//! no descriptor, no mapping, no locked memory.
#![cfg(test)]

mod child;
mod content;
mod executor;
mod fuse;
mod process;

use child::{alone, skipped};
use content::{FieldFile, Random};
use executor::{block_on, poll};
use fuse::Fuse;
use process::Held;
use ringfield::{BackendKind, Engine, EngineBuilder, Error, Field};
use std::future::Future;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

const BACKENDS: [BackendKind; 3] = [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap];
const PAGE: u64 = 16 << 10;

fn builder(backend: BackendKind) -> EngineBuilder {
    Engine::builder()
        .dram_budget(4 << 20)
        .page_size(PAGE)
        .backend(backend)
        .inline_reads(false)
}

#[test]
fn ten_thousand_opens_and_closes_leave_nothing_behind() {
    alone("ten_thousand_opens_and_closes_leave_nothing_behind", || {
        let files = [FieldFile::new(100_000), FieldFile::new(50_001)];
        for backend in BACKENDS {
            let engine = builder(backend).build().unwrap();
            let open_and_close = |rounds: u64| {
                for round in 0..rounds {
                    let field = engine.open(&files[round as usize % 2].path).unwrap();
                    if round % 10 == 0 {
                        files[round as usize % 2].check(&field.read(round..round + 9).unwrap());
                    }
                }
            };
            open_and_close(200);
            std::thread::sleep(Duration::from_millis(50));
            let (before, metadata) = (Held::now(), engine.stats().metadata_left_bytes);
            open_and_close(5_000);
            Held::assert_nothing_leaked(&before, 16);
            assert_eq!(engine.stats().metadata_left_bytes, metadata);
        }
    });
}

#[test]
fn hundreds_of_engines_one_after_the_other_leave_nothing_behind() {
    alone(
        "hundreds_of_engines_one_after_the_other_leave_nothing_behind",
        || {
            let file = FieldFile::new(3 << 20);
            for backend in BACKENDS {
                let build_and_drop = |rounds: u64| {
                    for round in 0..rounds {
                        let engine = builder(backend).build().unwrap();
                        let field = engine.open(&file.path).unwrap();
                        let start = round * 5_000;
                        file.check(&field.read(start..start + 20_000).unwrap());
                        // Reads of all kinds are in flight when the last handle goes.
                        field.prefetch(std::slice::from_ref(&(1 << 20..2 << 20)));
                        let mut batch = engine.batch(4).unwrap();
                        batch
                            .submit(&field, start + 99_000..start + 199_000, 0)
                            .unwrap();
                        batch.flush();
                        let mut future = Box::pin(field.read_async(2 << 20..(2 << 20) + 9));
                        let _ = poll(future.as_mut(), Waker::noop());
                        drop(engine);
                        drop(future);
                        match round % 2 {
                            0 => drop((field, batch)),
                            _ => drop((batch, field)),
                        }
                    }
                };
                build_and_drop(20);
                std::thread::sleep(Duration::from_millis(100));
                let before = Held::now();
                build_and_drop(150);
                Held::assert_nothing_leaked(&before, 16);
            }
        },
    );
}

#[test]
fn handles_outlive_each_other_in_any_order() {
    let file = FieldFile::new(3 << 20);
    for order in 0..6 {
        let engine = builder(BackendKind::Auto).build().unwrap();
        let field = engine.open(&file.path).unwrap();
        let mut batch = engine.batch(4).unwrap();
        batch.submit(&field, 0..100_000, 0).unwrap();
        batch.flush();
        let check_field = |field: &Field| file.check(&field.read(500_000..600_000).unwrap());
        match order {
            0 => {
                drop(engine);
                check_field(&field);
                drop(field);
                assert_eq!(batch.wait(1), 1);
                file.check(&batch.next().unwrap().view().unwrap());
            }
            1 => {
                drop((field, engine));
                assert_eq!(batch.wait(1), 1);
                file.check(&batch.next().unwrap().view().unwrap());
                // The batch keeps the field it has read from until it is given another.
                assert_eq!(batch.wait(1), 0);
            }
            2 => {
                drop((batch, field));
                let field = engine.open(&file.path).unwrap();
                check_field(&field);
            }
            3 => {
                let from_field = field.engine();
                drop((engine, field, batch));
                check_field(&from_field.open(&file.path).unwrap());
            }
            4 => {
                drop((engine, batch));
                check_field(&field.clone());
                let again = field.engine().open(&file.path).unwrap();
                drop(field);
                check_field(&again);
            }
            _ => {
                let plan = engine.plan(&[field.at(0..3 << 20)]);
                drop((engine, batch));
                check_field(&field);
                drop(field);
                drop(plan);
            }
        }
    }
}

#[test]
fn a_plan_in_force_does_not_keep_an_engine_alive() {
    alone("a_plan_in_force_does_not_keep_an_engine_alive", || {
        let file = FieldFile::new(12 << 20);
        let plan_and_drop = || {
            let engine = builder(BackendKind::Auto).build().unwrap();
            let field = engine.open(&file.path).unwrap();
            // One larger than the pool, most of which is deferred; one that is queued whole.
            for end in [12 << 20, 1 << 20] {
                drop(engine.plan(&[field.at(0..end), field.at(0..100)]));
            }
        };
        plan_and_drop();
        std::thread::sleep(Duration::from_millis(50));
        let before = Held::now();
        (0..10).for_each(|_| plan_and_drop());
        Held::assert_nothing_leaked(&before, 16);
    });
}

#[test]
fn the_last_handle_can_go_on_any_thread_while_others_still_read() {
    alone(
        "the_last_handle_can_go_on_any_thread_while_others_still_read",
        || {
            let file = FieldFile::new(8 << 20);
            let race = |rounds: u64| {
                for round in 0..rounds {
                    let engine = builder(BACKENDS[round as usize % 3]).build().unwrap();
                    std::thread::scope(|scope| {
                        for thread in 0..3 {
                            let (engine, file) = (engine.clone(), &file);
                            scope.spawn(move || {
                                let field = engine.open(&file.path).unwrap();
                                drop(engine);
                                let mut random = Random(round * 3 + thread + 1);
                                for _ in 0..random.below(20) {
                                    let start = random.below(file.len - 30_000);
                                    field.prefetch(std::slice::from_ref(&(start..start + 100_000)));
                                    file.check(&field.read(start..start + 30_000).unwrap());
                                }
                            });
                        }
                        drop(engine);
                    });
                }
            };
            race(20);
            std::thread::sleep(Duration::from_millis(100));
            let before = Held::now();
            race(60);
            // Each thread may leave an arena of the memory allocator behind.
            Held::assert_nothing_leaked(&before, 16);
        },
    );
}

/// Drops what it holds when it is woken, once nobody else has it.
struct DropsInWake {
    field: Mutex<Option<Field>>,
    woken: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
    done: SyncSender<std::thread::ThreadId>,
}

impl Wake for DropsInWake {
    fn wake(self: Arc<Self>) {
        self.woken.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        drop(self.field.lock().unwrap().take());
        self.done.send(std::thread::current().id()).unwrap();
    }
}

#[test]
fn the_last_handle_can_go_inside_a_waker_on_the_loops_own_thread() {
    alone(
        "the_last_handle_can_go_inside_a_waker_on_the_loops_own_thread",
        || {
            let file = FieldFile::new(3 << 20);
            let drop_in_waker = |backend| {
                let engine = builder(backend).build().unwrap();
                let field = engine.open(&file.path).unwrap();
                field.prefetch(std::slice::from_ref(&(1 << 20..3 << 20)));
                let (woken_send, woken) = sync_channel(1);
                let (go_on, go_on_receive) = sync_channel(1);
                let (done_send, done) = sync_channel(1);
                let waker = Waker::from(Arc::new(DropsInWake {
                    field: Mutex::new(Some(field.clone())),
                    woken: woken_send,
                    go_on: Mutex::new(go_on_receive),
                    done: done_send,
                }));
                // A page that the system has cached can be there at once; of all of them none is unlikely to be waited for.
                let mut starts = (0..1 << 20).step_by(PAGE as usize);
                let future = loop {
                    let start = starts.next().expect("a read that is waited for");
                    let mut future = Box::pin(field.read_async(start..start + 9));
                    if poll(future.as_mut(), &waker).is_pending() {
                        break future;
                    }
                };
                drop(waker);
                woken.recv().unwrap();
                drop(future);
                drop((field, engine));
                go_on.send(()).unwrap();
                let thread = done
                    .recv_timeout(Duration::from_secs(5))
                    .expect("drop hangs");
                assert_ne!(thread, std::thread::current().id());
            };
            BACKENDS.into_iter().for_each(drop_in_waker);
            let before = Held::settled();
            for _ in 0..20 {
                BACKENDS.into_iter().for_each(drop_in_waker);
            }
            // The C library keeps up to 16 arenas of two mappings for threads that are gone; sixty pools are more.
            Held::assert_nothing_leaked(&before, 40);
        },
    );
}

#[test]
fn the_last_handle_can_go_inside_an_async_runtime_with_reads_in_flight() {
    let file = FieldFile::new(3 << 20);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    for backend in BACKENDS {
        let engine = builder(backend).build().unwrap();
        let field = engine.open(&file.path).unwrap();
        let task = runtime.spawn(async move {
            let mut future = Box::pin(field.read_async(0..2 << 20));
            std::future::poll_fn(|context: &mut Context<'_>| {
                let _ = future.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
            drop(future);
            drop((field, engine));
        });
        runtime.block_on(task).unwrap();
    }
}

#[test]
fn a_process_can_exit_with_an_engine_that_is_never_dropped() {
    alone(
        "a_process_can_exit_with_an_engine_that_is_never_dropped",
        || {
            let file = FieldFile::new(3 << 20);
            for backend in BACKENDS {
                let engine = builder(backend).build().unwrap();
                let field = engine.open(&file.path).unwrap();
                field.prefetch(std::slice::from_ref(&(0..3 << 20)));
                std::mem::forget((engine, field));
            }
        },
    );
}

#[test]
fn a_device_that_does_not_answer_ends_in_timed_out_by_every_way_of_asking_and_comes_back() {
    const DEADLINE: Duration = Duration::from_millis(150);
    for backend in BACKENDS {
        let mut fuse = match Fuse::start() {
            Ok(fuse) => fuse,
            Err(why) => skipped!("no FUSE: {why}"),
        };
        let file = FieldFile::new(3 << 20);
        // Inline reads could not be left: a deadline turns them off.
        let builder = builder(backend).inline_reads(true).read_deadline(DEADLINE);
        let engine = builder.build().unwrap();
        let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
        let healthy = engine.open(&file.path).unwrap();
        let mut batch = engine.batch(4).unwrap();
        let ranges = [200_000..200_100, 400_000..500_000];
        type Way<'w> = Box<dyn FnMut() -> Error + 'w>;
        let ways: [(&str, Way<'_>); 4] = [
            (
                "read",
                Box::new(|| field.read(ranges[1].clone()).unwrap_err()),
            ),
            (
                "async",
                Box::new(|| block_on(field.read_async(ranges[0].clone())).unwrap_err()),
            ),
            (
                "read_many",
                Box::new(|| {
                    let mut batch = engine.batch(2).unwrap();
                    let error = field.read_many(&ranges, &mut batch).unwrap_err();
                    assert!(batch.view(0).is_err() && batch.view(1).is_err());
                    error
                }),
            ),
            (
                "batch",
                Box::new(|| {
                    batch.submit(&field, ranges[0].clone(), 1).unwrap();
                    assert_eq!(batch.wait(1), 1);
                    batch.next().unwrap().view().unwrap_err()
                }),
            ),
        ];
        for (name, mut way) in ways {
            let started = Instant::now();
            let error = way();
            let waited = started.elapsed();
            assert!(
                matches!(
                    error,
                    Error::TimedOut {
                        deadline: DEADLINE,
                        ..
                    }
                ),
                "{name}: {error}"
            );
            assert!(
                waited >= DEADLINE && waited < DEADLINE * 3,
                "{name}: {waited:?}"
            );
            // Another device is not disturbed.
            file.check(&healthy.read(0..100_000).unwrap());
        }
        // The frames stay with the device until it answers; then they are pages like any other.
        assert!(engine.stats().frames_loading > 0);
        fuse.release();
        let started = Instant::now();
        while engine.stats().frames_loading > 0 {
            assert!(started.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(1));
        }
        for range in ranges.clone() {
            let expected = content::bytes(fuse::SEED, range.start, range.end);
            assert!(field.read(range).unwrap().to_vec() == expected);
        }
        drop(field.read(0..engine.frames() * PAGE).unwrap());
    }
}

#[test]
fn dropping_an_engine_whose_device_never_answers_ends_within_its_bound() {
    for backend in BACKENDS {
        let mut fuse = match Fuse::start() {
            Ok(fuse) => fuse,
            Err(why) => skipped!("no FUSE: {why}"),
        };
        let bound = Duration::from_millis(300);
        let builder = builder(backend).shutdown_timeout(bound);
        let engine = builder
            .read_deadline(Duration::from_millis(50))
            .build()
            .unwrap();
        let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
        field.prefetch(std::slice::from_ref(&(5 << 20..6 << 20)));
        assert!(field.read(1 << 20..(1 << 20) + 100).is_err());
        let mut future = Box::pin(field.read_async(2 << 20..3 << 20));
        let polled = poll(future.as_mut(), Waker::noop());
        assert!(polled.is_pending(), "{polled:?}");
        drop(polled);
        drop(future);
        fuse.wait_for_held(1);
        drop(engine);
        let started = Instant::now();
        drop(field);
        let took = started.elapsed();
        assert!(
            took >= bound && took < bound + Duration::from_secs(1),
            "{took:?}"
        );

        // An answer that comes after all goes to memory that nobody else has, and new engines work.
        let file = FieldFile::new(3 << 20);
        let other = self::builder(backend).build().unwrap();
        fuse.release();
        file.check_all(&other.open(&file.path).unwrap(), 100_000);
    }
}

#[test]
fn dropping_an_engine_waits_for_reads_in_flight_that_do_end() {
    for backend in BACKENDS {
        let mut fuse = match Fuse::start() {
            Ok(fuse) => fuse,
            Err(why) => skipped!("no FUSE: {why}"),
        };
        let engine = builder(backend).build().unwrap();
        let field = engine.open(fuse.file("held", 12 << 20)).unwrap();
        field.prefetch(std::slice::from_ref(&(5 << 20..6 << 20)));
        fuse.wait_for_held(1);
        drop(engine);
        let started = Instant::now();
        std::thread::scope(|scope| {
            let dropped = scope.spawn(|| drop(field));
            std::thread::sleep(Duration::from_millis(200));
            assert!(!dropped.is_finished(), "memory was freed under the device");
            fuse.release();
            dropped.join().unwrap();
        });
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}
