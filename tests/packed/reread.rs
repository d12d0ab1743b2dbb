//! A page that does not fit its checksum is read once more: what was wrong only on its way is healed, what is wrong on the
//! disk is an error. On a simulated disk, where what goes wrong can be said.

use crate::executor;
use crate::format::{DIRECTORY, Parts};
use crate::made::{Made, TensorOf, builder, gguf};
use ringfield::sim::{Answer, Disk, Faults, Machine, Simulation};
use ringfield::{ArrayOptions, Error, Fault, Field, TensorType};
use std::task::{Poll, Waker};
use std::time::Duration;

const PAGE: u64 = 4096;
const NAMES: [&str; 2] = ["zero", "one"];

/// Two members with two levels of directory each.
fn made() -> Made {
    let tensors: [TensorOf<'_>; 1] = [("token_embd.weight", &[1024, 540], TensorType::F32)];
    Made::new(&gguf(&tensors, 23, Some(0)), 2, PAGE)
}

fn disk(made: &Made, seed: u64) -> Disk {
    let disk = Disk::new(seed);
    for (name, bytes) in NAMES.iter().zip(&made.members) {
        disk.add_file(name, bytes.clone(), 512).unwrap();
    }
    disk
}

fn machine(frames: u32) -> Machine {
    let mut machine = Machine::default();
    machine.frames_max = frames;
    machine
}

fn open(disk: &Disk, frames: u32) -> (Simulation, Field) {
    let mut simulation = Simulation::on(disk, builder(PAGE), machine(frames)).unwrap();
    let field = simulation.open_array(&NAMES, ArrayOptions::new()).unwrap();
    (simulation, field)
}

fn bytes(page: u64) -> std::ops::Range<u64> {
    page * PAGE..(page + 1) * PAGE
}

#[track_caller]
fn read(simulation: &mut Simulation, field: &Field, page: u64) -> ringfield::Result<Vec<u8>> {
    let view = simulation.run(field.read_async(bytes(page)));
    view.expect("it ends").map(|view| view.to_vec())
}

#[track_caller]
fn right(made: &Made, page: u64, read: &ringfield::Result<Vec<u8>>) {
    let range = bytes(page);
    match read {
        Ok(read) => assert!(
            *read == made.field[range.start as usize..range.end as usize],
            "page {page} is wrong"
        ),
        Err(e) => panic!("page {page}: {e}"),
    }
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

#[test]
fn what_was_wrong_once_is_healed_by_reading_it_again() {
    let made = made();
    for answer in [Answer::BitFlip, Answer::Misdirected] {
        // Any of the three reads, and all of them.
        for wrong in [&[0][..], &[1], &[2], &[0, 1, 2]] {
            let disk = disk(&made, 1);
            let (mut simulation, field) = open(&disk, 64);
            let answers: Vec<Answer> = (0..3)
                .map(|k| match wrong.contains(&k) {
                    true => answer,
                    false => Answer::Whole,
                })
                .collect();
            disk.script(&answers);
            let page = 301;
            right(&made, page, &read(&mut simulation, &field, page));
            let stats = simulation.engine().stats();
            assert_eq!(stats.checksum_mismatches, wrong.len() as u64);
            assert_eq!(stats.checked_pages, 3 + wrong.len() as u64);
            assert_eq!(disk.log().len(), 3 + wrong.len());
            // What it is now is a hit.
            right(&made, page, &read(&mut simulation, &field, page));
            assert_eq!(simulation.engine().stats().ios, stats.ios);
            settle(&mut simulation);
        }
    }
}

#[test]
fn what_is_wrong_twice_is_an_error_and_can_be_read_later() {
    let made = made();
    let disk = disk(&made, 2);
    let (mut simulation, field) = open(&disk, 64);
    // The directory is there: one read for the page.
    right(&made, 1, &read(&mut simulation, &field, 1));
    disk.script(&[Answer::BitFlip, Answer::BitFlip]);
    let parts = Parts::of(&made.members[1]);
    let e = read(&mut simulation, &field, 7).unwrap_err();
    let wanted = Error::Read {
        path: "one".into(),
        member: Some(1),
        page: 7,
        offset: parts.slot(3).start as u64,
        fault: Fault::Checksum,
    };
    assert_eq!(e, wanted);
    assert_eq!(simulation.engine().stats().checksum_mismatches, 2);
    right(&made, 7, &read(&mut simulation, &field, 7));
    // The second read can fail in its own way, or never come.
    disk.script(&[Answer::BitFlip, Answer::Errno(libc::EIO)]);
    disk.break_range("one", parts.slot(4).start as u64..parts.slot(4).end as u64);
    let e = read(&mut simulation, &field, 9).unwrap_err();
    assert!(
        matches!(
            e,
            Error::Read {
                page: 9,
                fault: Fault::Os(libc::EIO),
                ..
            }
        ),
        "{e:?}"
    );
    disk.mend();
    right(&made, 9, &read(&mut simulation, &field, 9));
    settle(&mut simulation);
}

#[test]
fn a_second_read_that_never_ends_is_timed_out_and_its_frame_kept() {
    let made = made();
    let disk = disk(&made, 3);
    let builder = builder(PAGE).read_deadline(Duration::from_millis(50));
    let mut simulation = Simulation::on(&disk, builder, machine(16)).unwrap();
    let field = simulation.open_array(&NAMES, ArrayOptions::new()).unwrap();
    right(&made, 1, &read(&mut simulation, &field, 1));
    disk.script(&[Answer::BitFlip, Answer::Never]);
    let e = read(&mut simulation, &field, 5).unwrap_err();
    assert!(matches!(e, Error::TimedOut { page: 5, .. }), "{e:?}");
    for page in (0..400).filter(|page| *page != 5) {
        right(&made, page, &read(&mut simulation, &field, page));
    }
    disk.release();
    settle(&mut simulation);
    right(&made, 5, &read(&mut simulation, &field, 5));
}

#[test]
fn a_directory_page_that_cannot_be_read_fails_who_needs_it_and_is_read_again_by_the_next() {
    let made = made();
    let parts = Parts::of(&made.members[0]);
    for number in [0, 2] {
        let disk = disk(&made, 4);
        let (mut simulation, field) = open(&disk, 64);
        disk.break_range(
            "zero",
            parts.node(number).start as u64..parts.node(number).end as u64,
        );
        // Several at once, whose pages are there before the directory is given up.
        let mut tasks: Vec<_> = [520, 524, 526, 520]
            .map(|page| Box::pin(field.read_async(bytes(page))))
            .into();
        let mut polled: Vec<_> = tasks
            .iter_mut()
            .map(|task| executor::poll(task.as_mut(), Waker::noop()))
            .collect();
        while simulation.step() {
            for (task, polled) in tasks.iter_mut().zip(&mut polled) {
                if polled.is_pending() {
                    *polled = executor::poll(task.as_mut(), Waker::noop());
                }
            }
        }
        for polled in polled {
            let Poll::Ready(Err(e)) = polled else {
                panic!("{polled:?}");
            };
            let wanted = Error::Read {
                path: "zero".into(),
                member: Some(0),
                page: DIRECTORY | number as u64,
                offset: parts.node(number).start as u64,
                fault: Fault::Os(libc::EIO),
            };
            assert_eq!(e, wanted);
            assert!(e.to_string().contains(&format!("directory page {number}")));
        }
        drop(tasks);
        // The other member has a directory of its own.
        right(&made, 521, &read(&mut simulation, &field, 521));
        disk.mend();
        right(&made, 520, &read(&mut simulation, &field, 520));
        settle(&mut simulation);
    }
}

#[test]
fn who_waits_for_a_page_that_is_read_twice_gets_it_whoever_leaves() {
    let made = made();
    for leaves in [None, Some(0), Some(1), Some(2)] {
        for steps in 0..12 {
            let disk = disk(&made, 5 + steps);
            let (mut simulation, field) = open(&disk, 12);
            disk.script(&[Answer::BitFlip; 3]);
            let mut tasks: Vec<Option<_>> = [77, 77, 77]
                .map(|page| Some(Box::pin(field.read_async(bytes(page)))))
                .into();
            let mut ended = 0;
            for step in 0.. {
                if step == steps
                    && let Some(leaves) = leaves
                {
                    tasks[leaves] = None;
                }
                for task in &mut tasks {
                    let Some(future) = task else { continue };
                    // Whoever is woken or not: all look.
                    if let Poll::Ready(view) = executor::poll(future.as_mut(), Waker::noop()) {
                        right(&made, 77, &view.map(|view| view.to_vec()));
                        *task = None;
                        ended += 1;
                    }
                }
                if !simulation.step() && step > steps {
                    break;
                }
            }
            assert!(ended >= 2, "{leaves:?} after {steps}: {ended}");
            assert!(tasks.iter().all(Option::is_none));
            drop(tasks);
            settle(&mut simulation);
        }
    }
}

#[test]
fn on_a_disk_that_fails_in_every_way_reads_are_right_or_say_why_not() {
    let made = made();
    for seed in 0..40 {
        let disk = disk(&made, seed);
        let (mut simulation, field) = open(&disk, 8 + (seed as u32 % 3) * 12);
        let mut faults = Faults::default();
        (faults.eio, faults.eagain, faults.short) = (20, 20, 30);
        (faults.bit_flip, faults.misdirected, faults.slow) = (120, 60, 30);
        disk.set_faults(faults);
        let mut random = crate::content::Random(seed * 2 + 1);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..120 {
            let first = random.below(made.pages() - 3);
            let count = 1 + random.below(3);
            let range = first * PAGE..(first + count) * PAGE;
            if random.below(3) == 0 {
                field.prefetch(std::slice::from_ref(&range));
            }
            let view = simulation.run(field.read_async(range.clone()));
            match view.expect("it ends") {
                Ok(view) => {
                    good += 1;
                    let wanted = &made.field[range.start as usize..range.end as usize];
                    assert!(view.to_vec() == wanted, "seed {seed}");
                }
                Err(Error::Read { fault, .. }) => {
                    bad += 1;
                    assert!(matches!(fault, Fault::Checksum | Fault::Os(_)), "{fault:?}");
                }
                Err(Error::PoolPinned { .. } | Error::RangeTooLarge { .. }) => {}
                Err(e) => panic!("seed {seed}: {e:?}"),
            }
        }
        assert!(good > 60 && bad > 0, "seed {seed}: {good} and {bad}");
        settle(&mut simulation);
    }
}
