//! What is written is what is read, or its page says why not.

mod files;

use super::Writing;
use crate::engine::simulation::{Machine, Simulation};
use crate::ring::simulated_disk::{Answer, Answered, Disk, Faults};
use crate::{Engine, Error, Fault, Field};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Waker};
use std::time::Duration;

const PAGE: u64 = 4096;
const FILE: &str = "packed";

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// The bytes of a page.
fn page_bytes(seed: u64, page: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed ^ page.wrapping_mul(0xff51_afd7_ed55_8ccd));
    (0..len).map(|_| random.next() as u8).collect()
}

fn write(field: &Field, seed: u64, page: u64) -> crate::Result<Writing> {
    field.shared.write_unit(page, |bytes| {
        bytes.copy_from_slice(&page_bytes(seed, page, bytes.len()));
        bytes.len()
    })
}

fn fault_of(outcome: crate::Result<()>, expected_page: u64) -> Fault {
    match outcome {
        Err(Error::Write {
            path,
            page,
            offset,
            fault,
        }) => {
            assert_eq!(page, expected_page);
            assert!(path.ends_with(FILE) && offset.is_multiple_of(PAGE));
            fault
        }
        other => panic!("page {expected_page}: {other:?}"),
    }
}

fn simulation(disk: &Disk, frames: u32, depth: u32) -> Simulation {
    let builder = Engine::builder().dram_budget(8 << 20).page_size(PAGE);
    let machine = Machine {
        frames_max: frames,
        ..Machine::default()
    };
    Simulation::on(disk, builder.queue_depth(depth), machine).unwrap()
}

/// A disk with a file of so many pages of zeros, and an engine that writes to it.
fn blank(pages: u64) -> (Disk, Simulation, Field) {
    let disk = Disk::new(pages);
    disk.add_file(FILE, vec![0; (pages * PAGE) as usize], 512)
        .unwrap();
    let mut simulation = simulation(&disk, 64, 32);
    let field = simulation.open_for_writing(FILE).unwrap();
    (disk, simulation, field)
}

/// Steps the loop until a write has ended.
fn finish(simulation: &mut Simulation, field: &Field, writing: Writing) -> crate::Result<()> {
    while field.shared.pool().outcome(writing.frame).is_none() {
        assert!(simulation.step(), "every write ends");
    }
    field.shared.finish_write(writing)
}

fn stored(disk: &Disk, page: u64) -> Vec<u8> {
    disk.content(FILE).unwrap()[(page * PAGE) as usize..][..PAGE as usize].to_vec()
}

/// First page, pages, and whether it was a write, of what the disk answered.
fn transfers(log: &[Answered]) -> Vec<(u64, u64, bool)> {
    let transfer = |a: &Answered| (a.offset / PAGE, u64::from(a.bytes) / PAGE, a.write);
    let mut transfers: Vec<_> = log.iter().map(transfer).collect();
    transfers.sort_unstable();
    transfers
}

#[test]
fn no_seed_reports_success_for_a_page_that_the_disk_has_otherwise() {
    let mut failed = 0;
    for seed in 0..400 {
        failed += one_seed(seed);
    }
    assert!(failed > 100, "{failed} pages failed at first");
}

/// Writes all pages of a file under faults, and again those that failed; returns how many failed at first.
fn one_seed(seed: u64) -> usize {
    let mut random = Random(seed);
    let frames = 8 + random.below(40);
    let pages = 2 * frames;
    let disk = Disk::new(seed);
    let align = random.one_of(&[512, 4096, 1]);
    disk.add_file(FILE, vec![0; (pages * PAGE) as usize], align)
        .unwrap();
    let machine = Machine {
        frames_max: frames as u32,
        vectored: random.below(4) > 0,
        read_bytes_max: (1 + random.below(64)) as u32 * 2048,
        ..Machine::default()
    };
    let builder = Engine::builder().dram_budget(8 << 20).page_size(PAGE);
    let builder = builder.queue_depth(random.one_of(&[1, 2, 4, 16]));
    let mut simulation = Simulation::on(&disk, builder, machine).unwrap();
    let field = simulation.open_for_writing(FILE).unwrap();
    for _ in 0..random.below(3) {
        let start = random.below(pages * PAGE);
        let range = start..start + 1 + random.below(2 * PAGE);
        disk.fail_range(FILE, range, random.one_of(&[libc::EIO, libc::ENOSPC]));
    }
    let mut share = |most: u64| random.below(most) as u32;
    disk.set_faults(Faults {
        eio: share(60),
        eagain: share(200),
        eintr: share(100),
        short: share(300),
        sliver: share(60),
        early_end: share(60),
        slow: share(60),
        ..Faults::default()
    });

    let mut order: Vec<u64> = (0..pages).collect();
    for _ in 0..random.below(pages) {
        order.swap(random.below(pages) as usize, random.below(pages) as usize);
    }
    let mut under_way: VecDeque<(u64, Writing)> = VecDeque::new();
    let mut failed = Vec::new();
    let mut judge = |simulation: &mut Simulation, (page, writing): (u64, Writing)| {
        let outcome = finish(simulation, &field, writing);
        if outcome.is_ok() {
            assert!(stored(&disk, page) == page_bytes(seed, page, PAGE as usize));
            return;
        }
        let fault = fault_of(outcome, page);
        assert!(was_answered(&disk, page, fault), "seed {seed}: {fault:?}");
        failed.push(page);
    };
    for page in order {
        if under_way.len() as u64 == frames / 2 {
            judge(&mut simulation, under_way.pop_front().unwrap());
        }
        under_way.push_back((page, write(&field, seed, page).unwrap()));
        if random.below(4) == 0 {
            simulation.step_within(Duration::from_micros(random.below(100)));
        }
    }
    for writing in under_way {
        judge(&mut simulation, writing);
    }

    disk.mend();
    disk.set_faults(Faults::default());
    for &page in &failed {
        let writing = write(&field, seed, page).unwrap();
        finish(&mut simulation, &field, writing).unwrap();
    }
    for page in 0..pages {
        let expected = page_bytes(seed, page, PAGE as usize);
        assert!(stored(&disk, page) == expected, "seed {seed}, page {page}");
        let range = page * PAGE..(page + 1) * PAGE;
        let view = simulation.run(field.read_async(range)).unwrap().unwrap();
        assert!(view.to_vec() == expected, "seed {seed}, page {page}");
    }
    let stats = simulation.engine().stats();
    assert_eq!((stats.frames_pinned, stats.frames_loading), (0, 0));
    let (writes, reads): (Vec<_>, Vec<_>) = disk.log().into_iter().partition(|a| a.write);
    assert_eq!(stats.writes, writes.len() as u64);
    assert_eq!(stats.written_bytes, moved(&writes));
    assert_eq!(
        (stats.ios, stats.read_bytes),
        (reads.len() as u64, moved(&reads))
    );
    assert_eq!(stats.demand.reads, stats.ios);
    failed.len()
}

fn moved(log: &[Answered]) -> u64 {
    log.iter().map(|a| a.result.max(0) as u64).sum()
}

/// True where the disk gave this reason for a write that touches the page.
fn was_answered(disk: &Disk, page: u64, fault: Fault) -> bool {
    disk.log().iter().any(|a| {
        let touches = a.offset < (page + 1) * PAGE && a.offset + u64::from(a.bytes) > page * PAGE;
        touches
            && a.write
            && match fault {
                Fault::Os(errno) => a.result == -errno,
                Fault::Partial(_) => (0..4096).contains(&a.result),
                _ => false,
            }
    })
}

#[test]
fn a_write_is_never_one_transfer_with_the_reads_beside_it() {
    let (disk, mut simulation, field) = blank(8);
    let mut context = Context::from_waker(Waker::noop());
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    for page in 0..8 {
        if [1, 2, 5].contains(&page) {
            writes.push(write(&field, 1, page).unwrap());
        } else {
            let mut read = Box::pin(field.read_async(page * PAGE..(page + 1) * PAGE));
            assert!(read.as_mut().poll(&mut context).is_pending());
            reads.push(read);
        }
    }
    for writing in writes {
        finish(&mut simulation, &field, writing).unwrap();
    }
    while simulation.step() {}
    let expected = [
        (0, 1, false),
        (1, 2, true),
        (3, 2, false),
        (5, 1, true),
        (6, 2, false),
    ];
    assert_eq!(transfers(&disk.log()), expected);
}

const DEPTH: usize = 32;
const TRANSFER_NS: u64 = 1_000_000;

/// A file to write to, and one to read from with many prefetches queued, on a disk that takes the same time for each.
fn beside_prefetch() -> (Disk, Simulation, Field, Field) {
    let disk = Disk::new(3);
    for name in [FILE, "weights"] {
        disk.add_file(name, vec![0; (1024 * PAGE) as usize], 512)
            .unwrap();
    }
    disk.set_faults(Faults {
        latency_ns: (TRANSFER_NS, TRANSFER_NS),
        ..Faults::default()
    });
    let mut simulation = simulation(&disk, 1024, DEPTH as u32);
    let written = simulation.open_for_writing(FILE).unwrap();
    let read = simulation.open("weights").unwrap();
    // Every second page, so that each is a read of its own.
    let ahead: Vec<_> = (0..500).map(|k| 2 * k * PAGE..(2 * k + 1) * PAGE).collect();
    assert_eq!(read.prefetch(&ahead), 500);
    (disk, simulation, written, read)
}

#[test]
fn writes_hold_no_prefetch_back() {
    let (disk, mut simulation, written, _read) = beside_prefetch();
    for page in 0..8 {
        let writing = write(&written, 1, 2 * page).unwrap();
        simulation.step_within(Duration::ZERO);
        assert_eq!(disk.reads_in_flight(), DEPTH, "beside write {page}");
        finish(&mut simulation, &written, writing).unwrap();
    }
    assert_eq!(simulation.engine().stats().writes, 8);
}

#[test]
fn a_write_between_demand_reads_lets_no_more_prefetch_through() {
    let (disk, mut simulation, written, read) = beside_prefetch();
    let demand = simulation.run(read.read_async(1001 * PAGE..1002 * PAGE));
    demand.unwrap().unwrap();
    let mut outcomes = Vec::new();
    for page in 0..5 {
        outcomes.push(write(&written, 1, 2 * page).unwrap());
        simulation.step_within(Duration::from_nanos(TRANSFER_NS / 2));
        // What followed the demand read has ended by now.
        let writes = outcomes.len();
        let most = if page < 3 { DEPTH } else { writes + 1 };
        assert!(disk.reads_in_flight() <= most, "{}", disk.reads_in_flight());
    }
    for writing in outcomes {
        finish(&mut simulation, &written, writing).unwrap();
    }
}

#[test]
fn a_full_disk_fails_the_pages_it_has_no_room_for_and_no_other() {
    let (disk, mut simulation, field) = blank(8);
    disk.fail_range(FILE, 5 * PAGE..5 * PAGE + 1, libc::ENOSPC);
    let writes: Vec<_> = (0..8).map(|page| write(&field, 1, page).unwrap()).collect();
    for (page, writing) in (0..).zip(writes) {
        let outcome = finish(&mut simulation, &field, writing);
        if page == 5 {
            assert_eq!(
                outcome.as_ref().unwrap_err().to_string(),
                "packed: page 5 (bytes from 20480) could not be written: No space left on device (os error 28)"
            );
            assert_eq!(fault_of(outcome, 5), Fault::Os(libc::ENOSPC));
            assert!(!field.is_resident(5 * PAGE..6 * PAGE));
        } else {
            outcome.unwrap();
            assert!(stored(&disk, page) == page_bytes(1, page, PAGE as usize));
            assert!(field.is_resident(page * PAGE..(page + 1) * PAGE));
        }
    }
    let stats = simulation.engine().stats();
    assert!(stats.bisections > 0 && stats.failed_pages == 1, "{stats:?}");
    disk.mend();
    let writing = write(&field, 1, 5).unwrap();
    finish(&mut simulation, &field, writing).unwrap();
    assert!(stored(&disk, 5) == page_bytes(1, 5, PAGE as usize));
}

#[test]
fn a_write_that_stores_nothing_is_tried_again_and_given_up_in_the_end() {
    let (disk, mut simulation, field) = blank(2);
    disk.script(&[Answer::Short(0), Answer::Short(1024), Answer::Short(100)]);
    let writing = write(&field, 1, 0).unwrap();
    finish(&mut simulation, &field, writing).unwrap();
    assert!(stored(&disk, 0) == page_bytes(1, 0, PAGE as usize));

    let mut answers = vec![Answer::Short(1024)];
    answers.extend([Answer::Short(0); 10]);
    disk.script(&answers);
    let writing = write(&field, 1, 1).unwrap();
    let fault = fault_of(finish(&mut simulation, &field, writing), 1);
    assert_eq!(fault, Fault::Partial(1024));
}

#[test]
fn a_page_is_written_once_while_the_pool_has_it() {
    let (_disk, mut simulation, field) = blank(2);
    let writing = write(&field, 1, 0).unwrap();
    let again = |page| fault_of(write(&field, 2, page).map(|_| ()), page);
    assert_eq!(again(0), Fault::Present);
    finish(&mut simulation, &field, writing).unwrap();
    assert_eq!(again(0), Fault::Present);
    simulation.run(field.read_async(PAGE..PAGE + 1));
    assert_eq!(again(1), Fault::Present);
    assert_eq!(simulation.engine().stats().frames_pinned, 0);
    for page in [2, u64::MAX] {
        let outside = write(&field, 1, page);
        assert!(matches!(outside, Err(Error::OutOfBounds { .. })), "{page}");
    }
}

#[test]
fn more_writes_than_frames_are_an_error_and_not_a_deadlock() {
    let disk = Disk::new(1);
    disk.add_file(FILE, vec![0; (16 * PAGE) as usize], 512)
        .unwrap();
    let mut simulation = simulation(&disk, 8, 4);
    let field = simulation.open_for_writing(FILE).unwrap();
    let writes: Vec<_> = (0..8).map(|page| write(&field, 1, page).unwrap()).collect();
    let one_more = write(&field, 1, 8);
    assert!(matches!(one_more, Err(Error::PoolPinned { pinned: 8, .. })));
    for writing in writes {
        finish(&mut simulation, &field, writing).unwrap();
    }
    let writing = write(&field, 1, 8).unwrap();
    finish(&mut simulation, &field, writing).unwrap();
}

#[test]
fn a_frame_whose_bytes_could_not_be_put_together_is_given_up() {
    let (disk, mut simulation, field) = blank(1);
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        field
            .shared
            .write_unit(0, |_| resume_unwind(Box::new("a test asked for it")))
    }));
    assert!(attempt.is_err());
    let stats = simulation.engine().stats();
    assert_eq!((stats.frames_pinned, stats.frames_loading), (0, 0));
    let writing = write(&field, 1, 0).unwrap();
    finish(&mut simulation, &field, writing).unwrap();
    assert!(stored(&disk, 0) == page_bytes(1, 0, PAGE as usize));
}

#[test]
#[should_panic(expected = "nobody writes to a frame whose write is in flight")]
fn a_simulated_disk_notices_a_frame_that_changes_while_it_is_written() {
    let (disk, mut simulation, field) = blank(1);
    let writing = write(&field, 1, 0).unwrap();
    disk.hold();
    simulation.step_within(Duration::ZERO);
    let pool = field.shared.pool();
    pool.fill(writing.frame, PAGE as usize, |bytes| bytes[7] ^= 1);
    disk.release();
    let _ = finish(&mut simulation, &field, writing);
}
