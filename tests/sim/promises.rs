//! One test for each promise.

use crate::random::Random;
use crate::woken::Task;
use ringfield::sim::{Answer, Disk, Faults, Machine, Simulation, break_loops, threaded};
use ringfield::{Engine, EngineBuilder, Error, Fault, Field, OpenOptions};
use std::ops::Range;
use std::task::Poll;
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
const FILE: &str = "weights";
const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const EINTR: i32 = 4;

fn builder() -> EngineBuilder {
    Engine::builder().dram_budget(8 << 20).page_size(PAGE)
}

fn machine(frames: u32) -> Machine {
    let mut machine = Machine::default();
    machine.frames_max = frames;
    machine
}

/// A disk with one file.
fn disk(len: u64, align: u32) -> (Disk, Vec<u8>) {
    let disk = Disk::new(len ^ u64::from(align));
    let content = Random::new(len).bytes(len as usize);
    disk.add_file(FILE, content.clone(), align).unwrap();
    (disk, content)
}

fn simulation(disk: &Disk, frames: u32) -> (Simulation, Field) {
    simulation_of(disk, frames, builder())
}

fn simulation_of(disk: &Disk, frames: u32, builder: EngineBuilder) -> (Simulation, Field) {
    let mut simulation = Simulation::on(disk, builder, machine(frames)).unwrap();
    let field = simulation.open(FILE).unwrap();
    (simulation, field)
}

fn page(number: u64) -> Range<u64> {
    number * PAGE..(number + 1) * PAGE
}

/// The bytes of a read that must succeed.
fn read(simulation: &mut Simulation, field: &Field, range: Range<u64>) -> Vec<u8> {
    let view = simulation.run(field.read_async(range)).expect("it ends");
    view.expect("it succeeds").to_vec()
}

/// The error of a read that must fail.
fn error(simulation: &mut Simulation, field: &Field, range: Range<u64>) -> Error {
    let outcome = simulation.run(field.read_async(range)).expect("it ends");
    outcome.map(|_| ()).expect_err("it fails")
}

fn settle(simulation: &mut Simulation) {
    while simulation.step() {}
    let stats = simulation.engine().stats();
    assert_eq!(
        (stats.frames_pinned, stats.frames_loading),
        (0, 0),
        "{stats:?}"
    );
}

fn is_read_error(error: &Error, at: u64, why: Fault) -> bool {
    matches!(error, Error::Read { page, offset, fault, .. }
        if (*page, *offset, *fault) == (at, at * PAGE, why))
}

#[test]
fn eio_fails_only_the_bad_pages() {
    let (disk, content) = disk(64 * PAGE, 512);
    let (mut simulation, field) = simulation(&disk, 64);
    disk.break_range(FILE, 5 * PAGE + 512..5 * PAGE + 513);
    disk.break_range(FILE, 40 * PAGE..41 * PAGE);
    disk.break_range(FILE, 51 * PAGE - 1..51 * PAGE + 1);
    let bad = [5, 40, 50, 51];

    // All at once, so that one read covers many pages.
    let mut tasks: Vec<_> = (0..64)
        .map(|n| Task::new(field.read_async(page(n))))
        .collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    while simulation.step() {}
    assert!(
        disk.log()[0].bytes > 8 * PAGE as u32,
        "pages were read together"
    );
    for (n, task) in tasks.iter_mut().enumerate() {
        match task.poll() {
            Poll::Ready(Ok(view)) => {
                assert!(!bad.contains(&n));
                assert_eq!(
                    view.as_slice(),
                    Some(&content[n * PAGE as usize..][..PAGE as usize])
                );
            }
            Poll::Ready(Err(e)) => {
                assert!(
                    bad.contains(&n) && is_read_error(&e, n as u64, Fault::Os(EIO)),
                    "{n}: {e}"
                );
            }
            Poll::Pending => panic!("page {n} was not read"),
        }
    }
    drop(tasks);
    let stats = simulation.engine().stats();
    assert_eq!(stats.failed_pages, 4);
    // Each bad page costs at most a search by halves, there and back.
    assert!(stats.ios < 64, "{} reads", stats.ios);

    let e = error(&mut simulation, &field, 4 * PAGE..42 * PAGE);
    assert!(
        is_read_error(&e, 5, Fault::Os(EIO)),
        "the first bad page is named: {e}"
    );
    disk.mend();
    assert_eq!(read(&mut simulation, &field, 0..64 * PAGE), content);
}

#[test]
fn a_bad_page_costs_its_neighbours_no_attempts() {
    let (disk, content) = disk(2 * PAGE, 512);
    let (mut simulation, field) = simulation(&disk, 8);
    // Both pages together, then page 0 alone: never. Page 1: at the second attempt.
    let mut answers = vec![Answer::Errno(EAGAIN); 20];
    answers.extend([Answer::Errno(EAGAIN), Answer::Whole]);
    disk.script(&answers);
    let mut tasks = [0, 1].map(|n| Task::new(field.read_async(page(n))));
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    while simulation.step() {}
    let [Poll::Ready(Err(e)), Poll::Ready(Ok(view))] = tasks.each_mut().map(Task::poll) else {
        panic!("page 0 fails, page 1 is read");
    };
    assert!(is_read_error(&e, 0, Fault::Os(EAGAIN)), "{e}");
    assert_eq!(view.as_slice(), Some(&content[PAGE as usize..]));
}

#[test]
fn a_page_that_failed_while_others_load_fails_the_read() {
    for bad in 0..4usize {
        let (disk, _) = disk(4 * PAGE, 512);
        let mut machine = machine(8);
        // Each page is a read of its own, and the bad one ends first.
        machine.read_bytes_max = PAGE as u32;
        let mut simulation = Simulation::on(&disk, builder(), machine).unwrap();
        let field = simulation.open(FILE).unwrap();
        let mut answers = [Answer::Never; 4];
        answers[bad] = Answer::Errno(EIO);
        disk.script(&answers);
        let mut task = Task::new(field.read_async(0..4 * PAGE));
        assert!(task.poll().is_pending());
        while simulation.step() {}
        // Without having been woken, too.
        assert!(task.poll().is_pending());
        disk.release();
        while simulation.step() {
            if task.is_woken() {
                break;
            }
        }
        while simulation.step() {}
        let Poll::Ready(Err(e)) = task.poll() else {
            panic!("page {bad} of the read failed");
        };
        assert!(is_read_error(&e, bad as u64, Fault::Os(EIO)), "{e}");
        settle(&mut simulation);
    }
}

#[test]
fn short_reads_at_every_512_byte_boundary_go_on() {
    const PAGES: u64 = 4;
    for align in [512, 4096] {
        let (disk, content) = disk(64 * PAGE, align);
        let (mut simulation, field) = simulation(&disk, 8);
        for (k, cut) in (512..PAGES * PAGE).step_by(512).enumerate() {
            // The pool is small: these pages are not in it any more.
            let first = k as u64 * PAGES % 60;
            let range = first * PAGE..(first + PAGES) * PAGE;
            let before = simulation.engine().stats();
            disk.script(&[Answer::Short(cut as u32)]);
            let bytes = read(&mut simulation, &field, range.clone());
            assert!(
                bytes == content[range.start as usize..range.end as usize],
                "cut at {cut}"
            );
            let after = simulation.engine().stats();
            assert_eq!(
                (after.ios - before.ios, after.retries - before.retries),
                (2, 1)
            );
            // What was delivered is not read again, but for the block that was cut.
            let again = (cut % u64::from(align)) as u32;
            assert_eq!(
                after.read_bytes - before.read_bytes,
                PAGES * PAGE + u64::from(again)
            );
        }
        settle(&mut simulation);
    }
}

#[test]
fn short_reads_at_any_byte_of_a_buffered_file_go_on() {
    let (disk, content) = disk(61 * PAGE - 1234, 1);
    let (mut simulation, field) = simulation(&disk, 8);
    for cut in 1..2 * PAGE {
        let first = cut * 2 % 58;
        let range = first * PAGE..(first + 2) * PAGE;
        disk.script(&[
            Answer::Short(cut as u32),
            Answer::Short((cut % 7 + 1) as u32),
        ]);
        let bytes = read(&mut simulation, &field, range.clone());
        assert!(
            bytes == content[range.start as usize..range.end as usize],
            "cut at {cut}"
        );
    }
    settle(&mut simulation);
}

#[test]
fn eagain_and_eintr_are_retried_with_a_bound() {
    for errno in [EAGAIN, EINTR] {
        let (disk, content) = disk(8 * PAGE, 512);
        let (mut simulation, field) = simulation(&disk, 8);
        // Nine times is patience.
        disk.script(&[Answer::Errno(errno); 9]);
        assert_eq!(
            read(&mut simulation, &field, page(1)),
            content[PAGE as usize..][..PAGE as usize]
        );
        assert_eq!(disk.reads_submitted(), 10);
        assert_eq!(simulation.engine().stats().retries, 9);
        // The tenth is the end of it, in bounded time.
        let began_ns = disk.now_ns();
        disk.script(&[Answer::Errno(errno); 10]);
        let e = error(&mut simulation, &field, page(2));
        assert!(is_read_error(&e, 2, Fault::Os(errno)), "{e}");
        assert_eq!(disk.reads_submitted(), 20);
        let took = Duration::from_nanos(disk.now_ns() - began_ns);
        assert!(
            took > Duration::from_millis(10) && took < Duration::from_millis(50),
            "{took:?}"
        );
        // And nothing is remembered.
        assert_eq!(read(&mut simulation, &field, page(2)).len() as u64, PAGE);
    }
}

#[test]
fn a_truncated_file_is_an_error_not_zeros() {
    let (disk, content) = disk(8 * PAGE, 512);
    let (mut simulation, field) = simulation(&disk, 8);
    read(&mut simulation, &field, page(7));
    disk.set_len(FILE, 3 * PAGE + 700);
    for n in 0..3 {
        assert!(
            read(&mut simulation, &field, page(n))
                == content[page(n).start as usize..page(n).end as usize]
        );
    }
    for n in 3..7 {
        let e = error(&mut simulation, &field, page(n));
        assert!(matches!(e, Error::FileChanged { .. }), "page {n}: {e}");
    }
    // What is in the pool stays what it was.
    assert!(read(&mut simulation, &field, page(7)) == content[7 * PAGE as usize..]);
    let report = simulation.engine().report();
    assert!(
        report.degraded().any(|row| row.why.contains("length")),
        "{report}"
    );
}

#[test]
fn a_file_that_grew_is_an_error_where_it_ended() {
    let (disk, content) = disk(2 * PAGE + 100, 512);
    let (mut simulation, field) = simulation(&disk, 8);
    disk.set_len(FILE, 8 * PAGE);
    assert!(read(&mut simulation, &field, 0..2 * PAGE) == content[..2 * PAGE as usize]);
    let e = error(&mut simulation, &field, 2 * PAGE..2 * PAGE + 100);
    assert!(matches!(e, Error::FileChanged { .. }), "{e}");
}

#[test]
fn a_read_that_ends_early_names_what_there_was() {
    let (disk, content) = disk(4 * PAGE, 512);
    let (mut simulation, field) = simulation(&disk, 8);
    // Nothing, in the middle of page 1; then the rest is read.
    disk.script(&[Answer::Short(PAGE as u32 + 1024), Answer::Short(0)]);
    let mut tasks = [0, 1, 2].map(|n| Task::new(field.read_async(page(n))));
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    while simulation.step() {}
    let [
        Poll::Ready(Ok(_)),
        Poll::Ready(Err(e)),
        Poll::Ready(Ok(view)),
    ] = tasks.each_mut().map(Task::poll)
    else {
        panic!("one of three pages fails");
    };
    assert!(is_read_error(&e, 1, Fault::Short(1024)), "{e}");
    assert_eq!(
        view.as_slice(),
        Some(&content[2 * PAGE as usize..][..PAGE as usize])
    );
}

#[test]
fn a_read_past_its_deadline_times_out_and_its_frame_waits_for_the_device() {
    let deadline = Duration::from_millis(10);
    let (disk, content) = disk(64 * PAGE, 512);
    let (mut simulation, field) = simulation_of(&disk, 8, builder().read_deadline(deadline));
    disk.script(&[Answer::Never]);
    let began_ns = disk.now_ns();
    let e = error(&mut simulation, &field, page(3));
    assert!(
        matches!(e, Error::TimedOut { page: 3, deadline: d, .. } if d == deadline),
        "{e}"
    );
    let waited = Duration::from_nanos(disk.now_ns() - began_ns);
    assert!(
        waited >= deadline && waited < deadline * 11 / 10,
        "{waited:?}"
    );
    let stats = simulation.engine().stats();
    assert_eq!((stats.frames_loading, stats.frames_pinned), (1, 0));

    // Nobody else gets the frame, whatever is read: seven of eight are there.
    for n in 8..32 {
        read(&mut simulation, &field, page(n));
    }
    let view = simulation
        .run(field.read_async(8 * PAGE..15 * PAGE))
        .expect("it ends")
        .unwrap();
    let e = error(&mut simulation, &field, page(40));
    assert!(
        matches!(e, Error::TimedOut { .. }),
        "the eighth may come back: {e}"
    );
    drop(view);

    // The device answers at last, and the bytes are good.
    disk.release();
    settle(&mut simulation);
    assert!(field.is_resident(page(3)));
    assert!(
        read(&mut simulation, &field, page(3)) == content[3 * PAGE as usize..][..PAGE as usize]
    );
    assert_eq!(simulation.engine().stats().frames_lost, 0);
}

#[test]
fn a_timeout_names_the_page_that_did_not_come() {
    let (disk, _) = disk(8 * PAGE, 512);
    let mut machine = machine(8);
    machine.read_bytes_max = PAGE as u32;
    let builder = builder().read_deadline(Duration::from_millis(10));
    for stuck in 0..4 {
        let mut simulation = Simulation::on(&disk, builder.clone(), machine).unwrap();
        let field = simulation.open(FILE).unwrap();
        disk.script(&[Answer::Whole; 4][..stuck]);
        disk.script(&[Answer::Never]);
        let e = error(&mut simulation, &field, 0..4 * PAGE);
        assert!(
            matches!(e, Error::TimedOut { page, .. } if page == stuck as u64),
            "{stuck}: {e}"
        );
        disk.release();
        settle(&mut simulation);
    }
}

#[test]
fn a_read_that_joins_a_stuck_one_times_out_soon_after_its_own_deadline() {
    let deadline = Duration::from_millis(100);
    let (disk, _) = disk(8 * PAGE, 512);
    let (mut simulation, field) = simulation_of(&disk, 8, builder().read_deadline(deadline));
    disk.script(&[Answer::Never]);
    assert!(matches!(
        error(&mut simulation, &field, page(0)),
        Error::TimedOut { .. }
    ));
    for pause_ms in [1, 40, 99] {
        simulation.step_within(Duration::from_millis(pause_ms));
        let began_ns = disk.now_ns();
        assert!(matches!(
            error(&mut simulation, &field, page(0)),
            Error::TimedOut { .. }
        ));
        let waited = Duration::from_nanos(disk.now_ns() - began_ns);
        assert!(
            waited >= deadline && waited <= deadline * 5 / 4,
            "{waited:?}"
        );
    }
}

/// Reads in every state that a future can be dropped in; each function leaves one there.
#[test]
fn dropped_futures_at_every_state() {
    for pages in [1, 3] {
        for state in 0..8 {
            drop_in_state(state, pages);
        }
    }
}

fn drop_in_state(state: u32, pages: u64) {
    let (disk, content) = disk(64 * PAGE, 512);
    let (mut simulation, field) = simulation(&disk, 8);
    let range = 0..pages * PAGE;
    let mut task = Task::new(field.read_async(range.clone()));
    let mut other = None;
    match state {
        // Never polled.
        0 => {}
        // Queued.
        1 => assert!(task.poll().is_pending()),
        // In flight.
        2 => {
            disk.hold();
            assert!(task.poll().is_pending());
            simulation.step();
        }
        // Read, not looked at.
        3 => {
            assert!(task.poll().is_pending());
            while simulation.step() {}
            assert!(task.is_woken());
        }
        // Failed, not looked at.
        4 => {
            disk.script(&[Answer::Errno(EIO)]);
            disk.break_range(FILE, 0..1);
            assert!(task.poll().is_pending());
            while simulation.step() {}
            assert!(task.is_woken());
        }
        // Beside another reader of the same pages.
        5 => {
            let mut twin = Task::new(field.read_async(range.clone()));
            assert!(twin.poll().is_pending() && task.poll().is_pending());
            simulation.step_within(Duration::ZERO);
            other = Some(twin);
        }
        // Waiting for room: reads of others that nobody waits for hold all frames.
        6 => {
            disk.hold();
            for n in 8..16 {
                assert!(Task::new(field.read_async(page(n))).poll().is_pending());
            }
            simulation.step();
            assert!(task.poll().is_pending());
            assert_eq!(simulation.engine().stats().misses, 8);
        }
        // Given out as a view.
        _ => {
            assert!(task.poll().is_pending());
            while simulation.step() {}
            let Poll::Ready(Ok(view)) = task.poll() else {
                panic!("it was read");
            };
            assert!(view.to_vec() == content[..(pages * PAGE) as usize]);
        }
    }
    drop(task);
    disk.mend();
    disk.release();
    while simulation.step() {}
    if let Some(mut twin) = other {
        assert!(twin.is_woken(), "the other reader is served");
        assert!(matches!(twin.poll(), Poll::Ready(Ok(_))));
    }
    settle(&mut simulation);
    // submitted = delivered + orphaned: whatever was submitted has come back, and can be read.
    let stats = simulation.engine().stats();
    assert_eq!(
        (disk.reads_submitted(), disk.reads_in_flight()),
        (stats.ios, 0)
    );
    assert!(
        read(&mut simulation, &field, range) == content[..(pages * PAGE) as usize],
        "state {state}"
    );
    // All frames are there.
    assert_eq!(
        read(&mut simulation, &field, 20 * PAGE..28 * PAGE).len() as u64,
        8 * PAGE
    );
}

#[test]
fn a_cancelled_prefetch_with_a_new_reader_restarts() {
    let (disk, content) = disk(64 * PAGE, 512);
    let builder = builder().queue_depth(1);
    let (mut simulation, field) = simulation_of(&disk, 32, builder);
    // The only place in the queue is taken, so that the plan waits.
    disk.hold();
    let mut busy = Task::new(field.read_async(page(60)));
    assert!(busy.poll().is_pending());
    simulation.step();
    let plan = simulation
        .engine()
        .plan(&[field.at(page(0)), field.at(page(1))]);
    simulation.step();
    assert_eq!(plan.queued(), 2);
    // Readers come and the plan goes before the loop has seen either.
    let mut readers: Vec<_> = [0, 0, 1]
        .map(|n| Task::new(field.read_async(page(n))))
        .into();
    assert!(readers.iter_mut().all(|task| task.poll().is_pending()));
    plan.cancel();
    simulation.step();
    disk.release();
    while simulation.step() {}
    // Whoever has not been polled holds no one up: the third of them goes first.
    for (mut task, n) in readers.into_iter().zip([0, 0, 1]).rev() {
        for _ in 0..3 {
            assert!(task.is_woken());
            if let Poll::Ready(outcome) = task.poll() {
                let view = outcome.expect("it starts again");
                assert_eq!(
                    view.as_slice(),
                    Some(&content[n * PAGE as usize..][..PAGE as usize])
                );
                break;
            }
            while simulation.step() {}
        }
    }
    drop(busy);
    settle(&mut simulation);
}

#[test]
fn a_page_given_up_is_read_by_who_asks_next_whoever_still_has_to_look() {
    let (disk, _) = disk(64 * PAGE, 512);
    let builder = builder().queue_depth(1);
    let (mut simulation, field) = simulation_of(&disk, 32, builder);
    disk.hold();
    let mut busy = Task::new(field.read_async(page(60)));
    assert!(busy.poll().is_pending());
    simulation.step();
    // Another field of the same file, closed while a page of it waits.
    let plan = simulation.engine().plan(&[field.at(page(0))]);
    simulation.step();
    plan.cancel();
    let mut first = Task::new(field.read_async(page(0)));
    assert!(first.poll().is_pending());
    simulation.step();
    // `first` has not looked. Others must not fail for that.
    let mut second = Task::new(field.read_async(page(0)));
    assert!(second.poll().is_pending());
    disk.release();
    while simulation.step() {}
    assert!(matches!(second.poll(), Poll::Ready(Ok(_))));
    assert!(matches!(first.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn a_promoted_prefetch_overtakes() {
    let (disk, _) = disk(128 * PAGE, 512);
    let mut machine = machine(128);
    machine.read_bytes_max = PAGE as u32;
    let builder = builder().queue_depth(2);
    let mut simulation = Simulation::on(&disk, builder, machine).unwrap();
    let field = simulation.open(FILE).unwrap();
    assert_eq!(field.prefetch(&[0..90 * PAGE]), 90);
    simulation.step();
    let mut task = Task::new(field.read_async(page(80)));
    assert!(task.poll().is_pending());
    while !task.is_woken() {
        assert!(simulation.step());
    }
    assert!(matches!(task.poll(), Poll::Ready(Ok(_))));
    let before = disk.log().len();
    assert!(before <= 5, "page 80 came after {before} reads");
    settle(&mut simulation);
    let stats = simulation.engine().stats();
    assert_eq!(
        (stats.misses, stats.ios),
        (0, 90),
        "it was read once, for the prefetch"
    );
    assert_eq!(stats.prefetch_late, 1);
}

#[test]
fn demand_is_served_before_prefetch() {
    let (disk, _) = disk(128 * PAGE, 512);
    let mut machine = machine(128);
    machine.read_bytes_max = PAGE as u32;
    let builder = builder().queue_depth(4);
    let mut simulation = Simulation::on(&disk, builder, machine).unwrap();
    let field = simulation.open(FILE).unwrap();
    field.prefetch(&[0..90 * PAGE]);
    let mut tasks: Vec<_> = (100..116)
        .map(|n| Task::new(field.read_async(page(n))))
        .collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    settle_tasks(&mut simulation, &mut tasks);
    let log = disk.log();
    assert!(
        log.iter().all(|answer| answer.offset >= 100 * PAGE),
        "{} reads",
        log.len()
    );
}

fn settle_tasks<F: std::future::Future>(simulation: &mut Simulation, tasks: &mut Vec<Task<F>>) {
    while !tasks.is_empty() {
        assert!(simulation.step());
        tasks.retain_mut(|task| !task.is_woken() || task.poll().is_pending());
    }
}

#[test]
fn an_extent_in_two_registered_buffers_is_read() {
    const EXTENT: u64 = 5 * PAGE;
    let (disk, content) = disk(16 * EXTENT, 512);
    let mut machine = machine(32);
    machine.buffer_bytes = 7 * PAGE;
    let mut simulation = Simulation::on(&disk, builder(), machine).unwrap();
    let field = simulation
        .open_with(FILE, OpenOptions::new().extent(EXTENT))
        .unwrap();
    for k in 0..16 {
        let range = k * EXTENT..(k + 1) * EXTENT;
        let view = simulation
            .run(field.read_async(range.clone()))
            .expect("it ends")
            .unwrap();
        assert_eq!(
            view.as_slice(),
            Some(&content[range.start as usize..range.end as usize])
        );
    }
    settle(&mut simulation);
}

#[test]
fn a_pool_of_n_extents_holds_n() {
    const EXTENT: u64 = 4 * PAGE;
    let (disk, _) = disk(32 * EXTENT, 512);
    let (mut simulation, _) = simulation(&disk, 16);
    let pages = simulation.open(FILE).unwrap();
    let field = simulation
        .open_with(FILE, OpenOptions::new().extent(EXTENT))
        .unwrap();
    // Single pages move the hand about.
    for n in 0..11 {
        read(&mut simulation, &pages, page(3 * n));
    }
    for k in 0..8 {
        let range = k * EXTENT..(k + 4) * EXTENT;
        assert_eq!(
            read(&mut simulation, &field, range).len() as u64,
            4 * EXTENT
        );
    }
}

#[test]
fn a_plan_does_not_keep_its_engine_alive() {
    let (disk, _) = disk(64 * PAGE, 512);
    for cancel in [true, false] {
        let engine = threaded(&disk, builder(), Machine::default()).unwrap();
        let field = disk.open(&engine, FILE, OpenOptions::new()).unwrap();
        assert_eq!(disk.engines(), 1);
        let plan = engine.plan(&[field.at(0..8 * PAGE)]);
        assert_eq!(field.read(page(20)).unwrap().len() as u64, PAGE);
        if cancel {
            plan.cancel();
        } else {
            drop(plan);
        }
        drop((field, engine));
        assert_eq!(
            disk.engines(),
            0,
            "the last handle ends the engine; cancelled: {cancel}"
        );
    }
}

#[test]
fn a_plan_goes_on_as_its_pages_are_read() {
    let (disk, content) = disk(64 * PAGE, 512);
    let (mut simulation, field) = simulation(&disk, 16);
    let plan = simulation.engine().plan(&[field.at(0..64 * PAGE)]);
    while simulation.step() {}
    assert_eq!(plan.queued(), 12, "all frames but a quarter");
    for n in 0..64 {
        assert!(field.is_resident(page(n)), "page {n} was read ahead");
        let bytes = read(&mut simulation, &field, page(n));
        assert_eq!(
            bytes,
            content[n as usize * PAGE as usize..][..PAGE as usize]
        );
        while simulation.step() {}
    }
    assert!(plan.is_queued());
    assert_eq!(simulation.engine().stats().misses, 0);
}

#[test]
fn a_field_that_cannot_be_added_leaves_nothing_behind() {
    let (disk, _) = disk(4 * PAGE, 512);
    let (mut simulation, field) = simulation(&disk, 8);
    let left = simulation.engine().stats().metadata_left_bytes;
    assert!(matches!(
        simulation.open("nothing"),
        Err(Error::Open { .. })
    ));
    assert_eq!(simulation.engine().stats().metadata_left_bytes, left);
    assert_eq!(read(&mut simulation, &field, page(0)).len() as u64, PAGE);
}

#[test]
fn a_file_that_the_device_refuses_is_closed_again() {
    const STRANGE: &str = "not-of-this-disk";
    let (disk, content) = disk(4 * PAGE, 512);
    let strange = Disk::new(0);
    strange.add_file(STRANGE, vec![0; 4096], 512).unwrap();
    let descriptors = || {
        let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = all.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().contains(STRANGE))
            .count()
    };
    let engine = threaded(&disk, builder(), Machine::default()).unwrap();
    let left = engine.stats().metadata_left_bytes;
    for _ in 0..10 {
        let opened = strange.open(&engine, STRANGE, OpenOptions::new());
        assert!(matches!(opened, Err(Error::Open { .. })), "{opened:?}");
    }
    assert_eq!(engine.stats().metadata_left_bytes, left);
    wait_for(|| descriptors() == 1);
    let field = disk.open(&engine, FILE, OpenOptions::new()).unwrap();
    assert!(field.read(0..PAGE).unwrap().to_vec() == content[..PAGE as usize]);
}

#[test]
fn shutdown_is_bounded_when_the_device_never_answers() {
    for timeout in [Duration::ZERO, Duration::from_millis(70)] {
        let (disk, _) = disk(16 * PAGE, 512);
        let builder = builder().shutdown_timeout(timeout);
        let (mut simulation, field) = simulation_of(&disk, 8, builder);
        disk.hold();
        let mut task = Task::new(field.read_async(0..4 * PAGE));
        assert!(task.poll().is_pending());
        simulation.step();
        drop(task);
        drop(field);
        let end = simulation.shutdown();
        assert_eq!((end.took, end.reads_lost, end.frames_lost), (timeout, 1, 4));
    }
}

#[test]
fn memory_that_a_silent_device_may_write_to_is_never_freed() {
    let (disk, _) = disk(16 * PAGE, 512);
    let builder = builder().shutdown_timeout(Duration::from_millis(50));
    let engine = threaded(&disk, builder, Machine::default()).unwrap();
    let field = disk.open(&engine, FILE, OpenOptions::new()).unwrap();
    disk.hold();
    let mut task = Task::new(field.read_async(page(0)));
    assert!(task.poll().is_pending());
    wait_for(|| disk.reads_in_flight() == 1);
    drop(task);
    let began = Instant::now();
    drop((field, engine));
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    // The device answers now; an unmapped pool would end this process.
    assert_eq!(disk.write_late(), 1);
    assert_eq!(disk.engines(), 1, "the loop's memory is leaked, not freed");
}

/// Waits until `done`, but not for ever.
fn wait_for(done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it takes too long"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_panic_in_the_loop_fails_reads_instead_of_hanging_them() {
    // The panic of the loop's thread is expected; its message is not for the test's output.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        if thread.name().is_none_or(|name| name != "ringfield-sim") {
            hook(info);
        }
    }));
    for depth in [1, 2, 8] {
        panic_with_depth(depth);
    }
}

fn panic_with_depth(depth: u32) {
    let (disk, content) = disk(64 * PAGE, 512);
    let builder = builder()
        .queue_depth(depth)
        .shutdown_timeout(Duration::from_millis(100));
    let mut machine = machine(48);
    machine.read_bytes_max = PAGE as u32;
    let engine = threaded(&disk, builder, machine).unwrap();
    let field = disk.open(&engine, FILE, OpenOptions::new()).unwrap();
    let extents = disk
        .open(&engine, FILE, OpenOptions::new().extent(3 * PAGE))
        .unwrap();
    assert_eq!(field.read(page(63)).unwrap().len() as u64, PAGE);

    // In flight, queued, read in part, read ahead; waited for by threads, by a batch and by tasks.
    disk.hold();
    let mut tasks: Vec<_> = (0..6)
        .map(|n| Task::new(field.read_async(page(n))))
        .collect();
    tasks.push(Task::new(field.read_async(0..3 * PAGE)));
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    field.prefetch(&[20 * PAGE..26 * PAGE]);
    std::thread::scope(|scope| {
        let read_one = |n: u64| field.read(page(n)).map(|_| ());
        let read_extent = |k: u64| extents.read(k * 3 * PAGE..(k + 1) * 3 * PAGE).map(|_| ());
        let read_many = || {
            let mut batch = engine.batch(4)?;
            field.read_many(&[page(40), page(41), page(4)], &mut batch)
        };
        let mut readers = Vec::new();
        for n in [6, 7, 8, 20] {
            readers.push(scope.spawn(move || read_one(n)));
        }
        for k in [10, 11] {
            readers.push(scope.spawn(move || read_extent(k)));
        }
        readers.push(scope.spawn(read_many));
        wait_for(|| disk.reads_in_flight() == depth as usize);
        std::thread::sleep(Duration::from_millis(20));
        break_loops(&engine);
        for reader in readers {
            let outcome = reader.join().unwrap();
            assert!(is_loop_failed(&outcome), "{outcome:?}");
        }
    });
    for mut task in tasks {
        wait_for(|| task.is_woken());
        let Poll::Ready(outcome) = task.poll() else {
            panic!("it ends");
        };
        assert!(is_loop_failed(&outcome.map(|_| ())));
    }
    // What was in the pool is still good, and the rest fails at once, again and again.
    assert_eq!(
        field.read(page(63)).unwrap().as_slice(),
        Some(&content[63 * PAGE as usize..])
    );
    for n in [0, 0, 1, 30, 30, 31] {
        assert!(is_loop_failed(&field.read(page(n)).map(|_| ())));
        assert!(is_loop_failed(
            &field.read(page(n).start..page(n + 2).end).map(|_| ())
        ));
    }
    let stats = engine.stats();
    assert!(
        stats.frames_lost >= 1,
        "what the device may write to is not used again"
    );
    assert_eq!(
        (stats.frames_pinned, stats.frames_loading),
        (0, 0),
        "{stats:?}"
    );
    assert!(
        disk.open(&engine, FILE, OpenOptions::new().extent(77))
            .is_err()
    );
    let began = Instant::now();
    drop((field, extents, engine));
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    disk.write_late();
}

fn is_loop_failed(outcome: &ringfield::Result<()>) -> bool {
    matches!(
        outcome,
        Err(Error::Read {
            fault: Fault::LoopFailed,
            ..
        })
    )
}

#[test]
fn threads_read_right_bytes_from_a_bad_disk() {
    for seed in 0..6 {
        threads_read(seed);
    }
}

/// Blocking reads, batches and dropped futures of several threads at once. Not the same at each run: the seeds are.
fn threads_read(seed: u64) {
    let (disk, content) = disk(
        200 * PAGE + 300,
        if seed.is_multiple_of(2) { 512 } else { 1 },
    );
    let mut faults = Faults::default();
    faults.eio = 10;
    faults.eagain = 40;
    faults.eintr = 40;
    faults.short = 100;
    faults.slow = 20;
    disk.set_faults(faults);
    let mut builder = builder().queue_depth(8);
    if seed.is_multiple_of(3) {
        builder = builder.read_deadline(Duration::from_millis(5));
    }
    let engine = threaded(&disk, builder, machine(40)).unwrap();
    let fields = [
        disk.open(&engine, FILE, OpenOptions::new()).unwrap(),
        disk.open(
            &engine,
            FILE,
            OpenOptions::new().extent(10_000).extent_base(77),
        )
        .unwrap(),
    ];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (fields, content, engine) = (&fields, &content, &engine);
            scope.spawn(move || {
                let mut random = Random::new(seed * 100 + thread);
                let mut batch = engine.batch(6).unwrap();
                for _ in 0..400 {
                    let field = &fields[random.below(2) as usize];
                    let mut range = || {
                        let start = random.below(field.len());
                        start..(start + 1 + random.below(3 * PAGE)).min(field.len())
                    };
                    let ranges = [range(), range(), range()];
                    let right =
                        |range: &Range<u64>| &content[range.start as usize..range.end as usize];
                    match random.below(5) {
                        0 | 1 => match field.read(ranges[0].clone()) {
                            Ok(view) => assert!(view.to_vec() == right(&ranges[0])),
                            Err(e) => assert!(is_expected(&e), "{e}"),
                        },
                        2 => {
                            if let Err(e) = field.read_many(&ranges, &mut batch) {
                                assert!(is_expected(&e), "{e}");
                            }
                            for (k, range) in ranges.iter().enumerate() {
                                if let Ok(view) = batch.view(k) {
                                    assert!(view.to_vec() == right(range));
                                }
                            }
                        }
                        3 => {
                            field.prefetch(&ranges);
                            engine.plan(&[field.at(ranges[1].clone())]);
                        }
                        _ => {
                            let mut task = Task::new(field.read_async(ranges[0].clone()));
                            let _ = task.poll();
                            std::thread::yield_now();
                            if let Poll::Ready(Ok(view)) = task.poll() {
                                assert!(view.to_vec() == right(&ranges[0]));
                            }
                        }
                    }
                }
            });
        }
    });
    wait_for(|| engine.stats().frames_loading == 0);
    assert_eq!(engine.stats().frames_pinned, 0);
    drop((fields, engine));
    assert_eq!(disk.engines(), 0);
}

fn is_expected(error: &Error) -> bool {
    match error {
        Error::Read { fault, .. } => matches!(fault, Fault::Os(EIO | EAGAIN | EINTR)),
        Error::TimedOut { .. } | Error::PoolPinned { .. } => true,
        _ => false,
    }
}
