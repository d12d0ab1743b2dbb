//! A forked child has neither the engine's threads nor its memory: every call there is `Error::Forked`, every drop is
//! harmless, and the parent does not notice.
#![cfg(test)]

mod child;
mod content;
mod executor;
mod fuse;
#[path = "model/tiny.rs"]
#[allow(dead_code)]
mod tiny;
#[path = "formats/writer.rs"]
#[allow(dead_code)]
mod writer;

use child::alone;
use content::{FieldFile, Random};
use executor::{block_on, poll};
use fuse::Fuse;
use ringfield::{
    BackendKind, Engine, EngineBuilder, Error, Model, ModelOptions, Sampling, SessionOptions,
};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Duration;

const PAGE: u64 = 16 << 10;
const BACKENDS: [BackendKind; 3] = [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap];

fn builder(backend: BackendKind) -> EngineBuilder {
    Engine::builder()
        .dram_budget(4 << 20)
        .page_size(PAGE)
        .backend(backend)
        .inline_reads(false)
}

/// Forks; the child runs `body` and exits, and must do so within seconds.
#[track_caller]
fn in_a_fork(body: impl FnOnce()) {
    // SAFETY: the child runs only `body`, on the one thread it has, and then leaves without unwinding into the test
    // runner. The C library makes its own locks usable in a child of a threaded process.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: alarm takes an integer; its signal ends a child that hangs.
        unsafe { libc::alarm(10) };
        let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
        // SAFETY: _exit takes an integer and does not return.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable; the child is this process's own.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(
        (waited, status),
        (pid, 0),
        "the child failed, hung (signal 14) or crashed (11)"
    );
}

#[test]
fn every_call_in_a_child_is_an_error_and_every_drop_is_harmless() {
    alone(
        "every_call_in_a_child_is_an_error_and_every_drop_is_harmless",
        || {
            for backend in BACKENDS {
                // Where there is no FUSE, the reads in flight are those of a fast disk.
                let mut fuse = Fuse::start().ok();
                let file = FieldFile::new(12 << 20);
                let engine = builder(backend).build().unwrap();
                let field = engine.open(&file.path).unwrap();
                let slow = match &fuse {
                    Some(fuse) => engine.open(fuse.file("held", 12 << 20)).unwrap(),
                    None => engine.open(&file.path).unwrap(),
                };
                let seed = if fuse.is_some() {
                    fuse::SEED
                } else {
                    file.seed
                };
                let view = field.read(100..200).unwrap();
                let wide = field.read(1000..100_000).unwrap();
                let mut batch = engine.batch(8).unwrap();
                for tag in 0..4 {
                    batch
                        .submit(&slow, tag * 100_000..tag * 100_000 + 50_000, tag)
                        .unwrap();
                }
                batch.flush();
                let mut many = engine.batch(2).unwrap();
                field.read_many(&[0..9, 50_000..60_000], &mut many).unwrap();
                let far = 11 << 20;
                let mut future = Box::pin(slow.read_async(far..far + 9));
                let _ = poll(future.as_mut(), Waker::noop());
                let plan = engine.plan(&[slow.at(5 << 20..6 << 20)]);

                let everything = (
                    engine.clone(),
                    field.clone(),
                    slow.clone(),
                    view,
                    wide,
                    batch,
                    many,
                    future,
                    plan,
                );
                let survivors = std::cell::Cell::new(Some(everything));
                in_a_fork(|| {
                    let (engine, field, slow, view, wide, mut batch, mut many, mut future, plan) =
                        survivors.take().unwrap();
                    for range in [0..9, 5_000_000..6_000_000] {
                        assert_eq!(field.read(range.clone()).unwrap_err(), Error::Forked);
                        assert_eq!(
                            block_on(field.read_async(range.clone())).unwrap_err(),
                            Error::Forked
                        );
                        assert_eq!(field.prefetch(std::slice::from_ref(&range)), 0);
                    }
                    assert_eq!(engine.open(&file.path).unwrap_err(), Error::Forked);
                    // What was pinned is not there.
                    assert_eq!((view.as_slice(), wide.as_slice()), (None, None));
                    assert_eq!((view.chunks().count(), wide.copy_to(&mut [0; 9])), (0, 0));
                    drop((view, wide));
                    // What was under way will not come.
                    assert!(matches!(
                        poll(future.as_mut(), Waker::noop()),
                        Poll::Ready(Err(Error::Forked))
                    ));
                    drop(future);
                    let pending = batch.pending();
                    assert_eq!(batch.wait(pending), pending);
                    while let Some(ready) = batch.next() {
                        assert_eq!(ready.view().unwrap_err(), Error::Forked);
                    }
                    assert_eq!(batch.submit(&field, 0..9, 9), Err(Error::Forked));
                    assert_eq!(batch.wait(1), 0);
                    assert_eq!(many.view(1).unwrap_err(), Error::Forked);
                    assert_eq!(
                        field.read_many(&[0..9, 9..10], &mut many),
                        Err(Error::Forked)
                    );
                    // Looking at it does no harm.
                    let _ = (engine.report().to_string(), engine.stats().to_string());
                    let other = engine.plan(&[field.at(0..9)]);
                    let _ = (other.queued(), plan.queued(), plan.is_queued());
                    other.cancel();
                    plan.cancel();
                    batch.clear();
                    drop((engine, field, slow, batch, many));
                });

                // The parent goes on as if nothing had been.
                let (_, _, _, view, wide, mut batch, many, future, plan) =
                    survivors.take().unwrap();
                file.check(&view);
                file.check(&wide);
                file.check(&many.view(1).unwrap());
                if let Some(fuse) = &mut fuse {
                    fuse.release();
                }
                let mut seen = 0;
                while batch.wait(1) > 0 {
                    while let Some(ready) = batch.next() {
                        let start = ready.tag() * 100_000;
                        let bytes = ready.view().unwrap().to_vec();
                        assert!(bytes == content::bytes(seed, start, start + 50_000));
                        seen += 1;
                    }
                }
                assert_eq!(seen, 4);
                let bytes = block_on(future).unwrap().to_vec();
                assert_eq!(bytes, content::bytes(seed, far, far + 9));
                plan.cancel();
                drop((view, wide, many, batch));
                file.check_all(&field, 100_000);
            }
        },
    );
}

#[test]
fn a_model_in_a_child_is_an_error_and_goes_on_in_the_parent() {
    alone(
        "a_model_in_a_child_is_an_error_and_goes_on_in_the_parent",
        || {
            let dir = writer::Dir::new();
            let path = dir.write("model.gguf", &tiny::Tiny::new("llama").file().bytes());
            let engine = Engine::builder().dram_budget(8 << 20).page_size(4096);
            let options = ModelOptions::new().threads(3);
            let model = Model::open_with(&engine.build().unwrap(), path, options).unwrap();
            let mut session = model.session(SessionOptions::new()).unwrap();
            session.feed(&[1, 2]).unwrap();
            in_a_fork(|| {
                assert_eq!(session.feed(&[3]), Err(Error::Forked));
                assert!(
                    session
                        .generate(Sampling::new(), 5)
                        .nth(1)
                        .unwrap()
                        .is_err()
                );
                assert_eq!(model.estimate(Duration::from_secs(1)), Err(Error::Forked));
                assert_eq!(model.stats().weight_bytes, 0);
                drop((session, model));
            });
        },
    );
}

#[test]
fn children_of_a_busy_parent_never_hang_on_a_lock_that_another_thread_held() {
    alone(
        "children_of_a_busy_parent_never_hang_on_a_lock_that_another_thread_held",
        || {
            let file = FieldFile::new(6 << 20);
            let other = FieldFile::new(100_000);
            let engine = builder(BackendKind::Auto).build().unwrap();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (engine, file, stop) = (&engine, &file, &stop);
                    scope.spawn(move || {
                        let mut random = Random(thread + 1);
                        while !stop.load(Relaxed) {
                            let field = engine.open(&file.path).unwrap();
                            let start = random.below(file.len - 40_000);
                            drop(engine.plan(&[field.at(start..start + 40_000)]));
                            file.check(&field.read(start..start + 40_000).unwrap());
                            let _ = engine.stats();
                        }
                    });
                }
                for _ in 0..150 {
                    let field = engine.open(&other.path).unwrap();
                    let mut batch = engine.batch(4).unwrap();
                    batch.submit(&field, 0..50_000, 0).unwrap();
                    batch.flush();
                    let mut future = Box::pin(field.read_async(60_000..70_000));
                    let _ = poll(future.as_mut(), Waker::noop());
                    let survivors = std::cell::Cell::new(Some((future, batch)));
                    in_a_fork(|| {
                        let (future, batch) = survivors.take().unwrap();
                        let _ = engine.report();
                        let _ = engine.stats();
                        drop(engine.plan(&[field.at(0..9)]));
                        drop((future, batch));
                        // The last handle of this field, as far as this process knows.
                        // SAFETY: the child never touches `field` again: it exits without unwinding.
                        drop(unsafe { std::ptr::read(&raw const field) });
                    });
                }
                stop.store(true, Relaxed);
            });
        },
    );
}

fn not_inherited() -> (usize, usize) {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut range = (0, 0);
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap();
        let address = |text| usize::from_str_radix(text, 16).ok();
        if let Some((start, end)) = first.split_once('-') {
            range = (address(start).unwrap(), address(end).unwrap());
        } else if first == "VmFlags:" && line.contains(" dc") {
            return range;
        }
    }
    panic!("no memory is kept from children");
}

#[test]
fn a_child_that_drops_the_engine_keeps_its_own_memory_where_the_pool_was() {
    alone(
        "a_child_that_drops_the_engine_keeps_its_own_memory_where_the_pool_was",
        || {
            let engine = builder(BackendKind::Auto).build().unwrap();
            // The only memory here that a child does not inherit (`dc` among the flags, proc(5)).
            let (start, end) = not_inherited();
            assert!(end - start >= 2 << 20);
            let engine = std::cell::Cell::new(Some(engine));
            in_a_fork(|| {
                // SAFETY: MAP_FIXED_NOREPLACE fails where anything is mapped already.
                let mine = unsafe {
                    libc::mmap(
                        start as *mut libc::c_void,
                        end - start,
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                        -1,
                        0,
                    )
                };
                assert_eq!(mine as usize, start, "the pool is mapped in the child");
                let mine: *mut u8 = mine.cast();
                // SAFETY: the byte lies in this child's own fresh mapping.
                unsafe { mine.write_volatile(42) };
                drop(engine.take());
                // SAFETY: as above; where dropping the engine has unmapped it, this is what crashes.
                assert_eq!(unsafe { mine.read_volatile() }, 42);
            });
            let file = FieldFile::new(1 << 20);
            let engine = engine.take().unwrap();
            file.check_all(&engine.open(&file.path).unwrap(), 10_000);
        },
    );
}

#[test]
fn a_child_can_build_an_engine_of_its_own() {
    alone("a_child_can_build_an_engine_of_its_own", || {
        let file = FieldFile::new(1 << 20);
        for backend in BACKENDS {
            let engine = builder(backend).build().unwrap();
            let field = engine.open(&file.path).unwrap();
            file.check(&field.read(0..9999).unwrap());
            in_a_fork(|| {
                let own = builder(backend).build().unwrap();
                file.check_all(&own.open(&file.path).unwrap(), 50_000);
                // And that one's children are children again.
                let field = own.open(&file.path).unwrap();
                in_a_fork(|| assert_eq!(field.read(0..9).unwrap_err(), Error::Forked));
                file.check(&field.read(0..9).unwrap());
            });
            file.check_all(&field, 50_000);
        }
    });
}

#[test]
fn programs_can_be_started_while_reads_are_in_flight() {
    let file = FieldFile::new(12 << 20);
    let engine = builder(BackendKind::Auto).build().unwrap();
    let field = engine.open(&file.path).unwrap();
    for round in 0..20 {
        let start = round * 500_000;
        field.prefetch(std::slice::from_ref(&(start..start + 1_000_000)));
        let status = std::process::Command::new("true").status().unwrap();
        assert!(status.success());
        file.check(&field.read(start..start + 500_000).unwrap());
    }
}
