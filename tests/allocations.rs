//! No read allocates: not a hit, not a miss, not one of many, not a future; neither on the caller's thread nor on any other.
#![cfg(test)]

mod child;
mod content;
mod executor;

use child::alone;
use content::{FieldFile, Random};
use executor::poll;
use ringfield::{BackendKind, Engine, EngineBuilder, Error, Field, OpenOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Poll, Wake, Waker};

/// The system's allocator, counted, on all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Prints where the next allocation comes from: set it when a test fails.
static TRACE: AtomicBool = AtomicBool::new(false);

fn note() {
    ALLOCATIONS.fetch_add(1, SeqCst);
    if TRACE.swap(false, SeqCst) {
        let trace = std::backtrace::Backtrace::force_capture();
        eprintln!("{:?}: {trace}", std::thread::current().name());
    }
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAGE: u64 = 16 << 10;

/// Runs `work` until it is warm, and then fails if it allocates.
#[track_caller]
fn assert_no_allocation(what: &str, engine: &Engine, mut work: impl FnMut()) {
    let quiet = || {
        while engine.stats().frames_loading > 0 {
            std::thread::yield_now();
        }
    };
    (0..300).for_each(|_| work());
    quiet();
    let reads = engine.stats().hits + engine.stats().misses;
    TRACE.store(std::env::var_os("RINGFIELD_TRACE").is_some(), SeqCst);
    let before = ALLOCATIONS.load(SeqCst);
    (0..300).for_each(|_| work());
    let after = ALLOCATIONS.load(SeqCst);
    TRACE.store(false, SeqCst);
    quiet();
    let reads = engine.stats().hits + engine.stats().misses - reads;
    assert!(reads >= 300, "{what}: nothing was read");
    assert_eq!(after - before, 0, "{what}: allocations in {reads} reads");
}

struct Setup {
    file: FieldFile,
    engine: Engine,
    field: Field,
}

fn setup(configure: impl Fn(EngineBuilder) -> EngineBuilder) -> Setup {
    let file = FieldFile::new(16 << 20);
    let builder = Engine::builder().dram_budget(4 << 20).page_size(PAGE);
    let engine = configure(builder).build().unwrap();
    let field = engine.open(&file.path).unwrap();
    Setup {
        file,
        engine,
        field,
    }
}

/// Every way a single page gets in.
fn ways() -> [(&'static str, Setup); 3] {
    [
        ("inline", setup(|builder| builder)),
        (
            "through the ring",
            setup(|builder| builder.inline_reads(false)),
        ),
        (
            "through threads",
            setup(|builder| builder.backend(BackendKind::Pread).inline_reads(false)),
        ),
    ]
}

/// The next of many ranges, so many that the pool holds few of them.
fn next(random: &mut Random, len: u64) -> Range<u64> {
    let start = random.below((16 << 20) - len);
    start..start + len
}

#[test]
fn a_hit_does_not_allocate() {
    alone("a_hit_does_not_allocate", || {
        let Setup { engine, field, .. } = setup(|builder| builder);
        assert_no_allocation("hit", &engine, || {
            for page in 0..20 {
                let view = field.read(page * PAGE..page * PAGE + 8).unwrap();
                assert_eq!(view.as_slice().unwrap().len(), 8);
            }
        });
        assert!(engine.stats().misses == 20);
    });
}

#[test]
fn a_miss_of_one_page_or_several_does_not_allocate() {
    alone("a_miss_of_one_page_or_several_does_not_allocate", || {
        for (way, Setup { engine, field, .. }) in ways() {
            let mut random = Random(5);
            assert_no_allocation(&format!("one page {way}"), &engine, || {
                drop(field.read(next(&mut random, 9)).unwrap());
            });
            assert_no_allocation(&format!("several pages {way}"), &engine, || {
                drop(field.read(next(&mut random, 10 * PAGE)).unwrap());
            });
            assert!(engine.stats().evictions > 0);
        }
    });
}

#[test]
fn an_extent_does_not_allocate() {
    alone("an_extent_does_not_allocate", || {
        for (way, Setup { engine, file, .. }) in ways() {
            let options = OpenOptions::new().extent(100_000).extent_base(99);
            let field = engine.open_with(&file.path, options).unwrap();
            let mut random = Random(6);
            assert_no_allocation(way, &engine, || {
                let start = 99 + random.below(160) * 100_000;
                drop(field.read(start..start + 100_000).unwrap());
            });
        }
    });
}

#[test]
fn read_many_does_not_allocate() {
    alone("read_many_does_not_allocate", || {
        for (way, Setup { engine, field, .. }) in ways() {
            let mut batch = engine.batch(24).unwrap();
            let mut random = Random(7);
            let mut ranges = vec![0..0; 24];
            assert_no_allocation(way, &engine, || {
                for range in &mut ranges {
                    let len = 1 + random.below(3 * PAGE);
                    *range = next(&mut random, len);
                }
                field.read_many(&ranges, &mut batch).unwrap();
            });
        }
    });
}

#[test]
fn a_window_that_slides_does_not_allocate() {
    alone("a_window_that_slides_does_not_allocate", || {
        for (
            way,
            Setup {
                engine,
                field,
                file,
            },
        ) in ways()
        {
            let other = FieldFile::new(1 << 20);
            let other = engine.open(&other.path).unwrap();
            let mut batch = engine.batch(32).unwrap();
            let mut random = Random(8);
            assert_no_allocation(way, &engine, || {
                loop {
                    let which = random.below(10);
                    let submitted = match which {
                        0 => batch.submit(&other, 5000..90_000, which),
                        _ => batch.submit(&field, next(&mut random, 2 * PAGE), which),
                    };
                    match submitted {
                        Ok(()) => {}
                        Err(Error::Busy { .. }) => break,
                        Err(e) => panic!("{e}"),
                    }
                }
                assert!(batch.wait(4) >= 4);
                while let Some(ready) = batch.next() {
                    let view = ready.view().unwrap();
                    if ready.tag() > 0 {
                        assert_eq!(view.len() as u64, 2 * PAGE);
                    }
                }
            });
            batch.clear();
            file.check_all(&field, 1 << 20);
        }
    });
}

/// Unparks a thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_future_does_not_allocate_whether_it_is_awaited_or_dropped() {
    alone(
        "a_future_does_not_allocate_whether_it_is_awaited_or_dropped",
        || {
            for (way, Setup { engine, field, .. }) in ways() {
                let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
                let mut random = Random(9);
                assert_no_allocation(way, &engine, || {
                    let len = 1 + random.below(4 * PAGE);
                    let mut future = pin!(field.read_async(next(&mut random, len)));
                    loop {
                        match poll(future.as_mut(), &waker) {
                            Poll::Ready(view) => {
                                drop(view.unwrap());
                                break;
                            }
                            Poll::Pending if random.below(5) == 0 => break,
                            Poll::Pending => std::thread::park(),
                        }
                    }
                });
            }
        },
    );
}

#[test]
fn reading_ahead_does_not_allocate() {
    alone("reading_ahead_does_not_allocate", || {
        for (way, Setup { engine, field, .. }) in ways() {
            let mut random = Random(10);
            assert_no_allocation(way, &engine, || {
                let range = next(&mut random, 5 * PAGE);
                field.prefetch(&[range.clone(), range.end..range.end + 1]);
                drop(field.read(range).unwrap());
            });
            assert!(engine.stats().prefetch_ios > 0);
        }
    });
}

#[test]
fn going_on_with_a_plan_does_not_allocate() {
    alone("going_on_with_a_plan_does_not_allocate", || {
        for (way, Setup { engine, field, .. }) in ways() {
            let whole = field.at(0..16 << 20);
            let plan = engine.plan(&[whole.clone(), whole.clone(), whole]);
            let mut page = 0;
            assert_no_allocation(way, &engine, || {
                for _ in 0..2 {
                    let at = page % 1024 * PAGE;
                    drop(field.read(at..at + PAGE).unwrap());
                    page += 1;
                }
            });
            assert!(plan.queued() > 500);
        }
    });
}

#[test]
fn four_threads_do_not_allocate_either() {
    alone("four_threads_do_not_allocate_either", || {
        for (way, Setup { engine, field, .. }) in ways() {
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (field, start) = (&field, &start);
                    scope.spawn(move || {
                        let mut random = Random(thread + 1);
                        start.wait();
                        for _ in 0..2000 {
                            drop(field.read(next(&mut random, 2 * PAGE)).unwrap());
                        }
                    });
                }
                let mut random = Random(4);
                start.wait();
                assert_no_allocation(way, &engine, || {
                    drop(field.read(next(&mut random, PAGE)).unwrap());
                });
            });
        }
    });
}
