//! The page-state machine in every order of its memory operations.
//!
//! A frame's bytes are a cell that the model checker watches: a read beside a write, or without having happened after
//! it, ends the test. The device is whoever owns a claim.

use super::arena::Arena;
use super::eviction::Clock;
use super::frame::{Key, Phase};
use super::pool::{Claim, Pool, Purpose};
use super::wait::{BatchWakes, Group, Notify};
use crate::ring::fault::Fault;
use crate::ring::lane::{Chain, Lane, Request};
use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, lock};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::task::{Wake, Waker};

struct World {
    pool: Pool,
    /// What each frame holds.
    bytes: Vec<UnsafeCell<u64>>,
    /// Where a reader that would spin waits instead: the model checker would let two of them spin for ever.
    spinning: (Mutex<()>, Condvar),
}

// SAFETY: the cells are what is tested: the model checker panics where two threads are at one of them at once.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

/// Explores `test` for a pool of `frames` frames and 4 waiters, with at most `preemptions` involuntary switches of
/// threads in one run (two find most bugs, three almost all: Musuvathi and Qadeer 2007).
fn explore(frames: u32, preemptions: usize, test: impl Fn(&Arc<World>) + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 3_000;
    model.check(move || {
        let world = Arc::new(World {
            pool: Pool::new(Arena::none(), frames, 4096, 4, Clock::default()),
            bytes: (0..frames).map(|_| UnsafeCell::new(0)).collect(),
            spinning: (Mutex::new(()), Condvar::new()),
        });
        test(&world);
        world.check_accounts();
    });
}

fn key(unit: u64) -> Key {
    Key { field: 0, unit }
}

/// What the device delivers for a page.
fn content(unit: u64) -> u64 {
    unit * 100
}

impl World {
    fn write(&self, frame: u32, value: u64) {
        // SAFETY: the caller owns the frame's read; the model checker checks just that.
        self.bytes[frame as usize].with_mut(|bytes| unsafe { *bytes = value });
    }

    fn bytes(&self, frame: u32) -> u64 {
        // SAFETY: the caller has pinned the resident page; the model checker checks that nobody writes.
        self.bytes[frame as usize].with(|bytes| unsafe { *bytes })
    }

    fn complete(&self, frame: u32, outcome: Result<(), Fault>) {
        let mut batches = BatchWakes::default();
        self.pool.complete(frame, outcome, &mut batches);
        batches.flush();
        drop(lock(&self.spinning.0));
        self.spinning.1.notify_all();
    }

    /// The device reads a page into a frame.
    fn deliver(&self, frame: u32, unit: u64) {
        self.write(frame, content(unit));
        self.complete(frame, Ok(()));
    }

    /// A blocking read of one page: its bytes.
    fn read(&self, unit: u64) -> Result<u64, Option<Fault>> {
        let claim = self.pool.claim(key(unit), 1, Purpose::Demand);
        let frame = claim.map_err(|_| None)?.frame();
        if let Ok(Claim::Owner(_)) = claim {
            self.deliver(frame, unit);
        }
        let outcome = self.wait(frame).map_err(Some).map(|()| {
            let bytes = self.bytes(frame);
            thread::yield_now();
            assert_eq!(self.bytes(frame), bytes, "a pinned page does not change");
            bytes
        });
        self.pool.unpin(frame);
        outcome
    }

    /// Waits as a blocking reader does.
    fn wait(&self, frame: u32) -> Result<(), Fault> {
        let pool = &self.pool;
        loop {
            if let Some(outcome) = pool.outcome(frame) {
                return outcome;
            }
            let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
            let registered = pool.ops.register(pool.frame(frame), op);
            if registered {
                assert!(pool.ops.block(op, None));
            }
            pool.ops.release(op);
            let mut spinning = lock(&self.spinning.0);
            while !registered && pool.outcome(frame).is_none() {
                spinning = self.spinning.1.wait(spinning).expect("nobody panics");
            }
        }
    }

    /// Reads a page in, nobody beside.
    fn preload(&self, unit: u64) -> u32 {
        match self.pool.claim(key(unit), 1, Purpose::Demand) {
            Ok(Claim::Owner(frame)) => {
                self.deliver(frame, unit);
                self.pool.unpin(frame);
                frame
            }
            other => panic!("{other:?}"),
        }
    }

    /// At the end nothing is pinned, every frame can be had exactly once, and so can every waiter's place.
    fn check_accounts(&self) {
        let pool = &self.pool;
        assert_eq!(pool.pinned_frames(), 0);
        let count = pool.frame_count();
        let mut had: Vec<u32> = (0..count)
            .map(|_| {
                pool.allocate(1, Purpose::Demand)
                    .expect("every frame is there")
            })
            .collect();
        assert!(
            pool.allocate(1, Purpose::Demand).is_err(),
            "and is there once"
        );
        had.sort_unstable();
        assert_eq!(had, (0..count).collect::<Vec<_>>());
        for _ in 0..4 {
            assert!(
                pool.ops.acquire(Notify::Thread).is_some(),
                "every place is free"
            );
        }
        assert!(
            pool.ops.acquire(Notify::Thread).is_none(),
            "and is free once"
        );
    }
}

fn spawn<T: 'static>(
    world: &Arc<World>,
    f: impl FnOnce(&World) -> T + 'static,
) -> thread::JoinHandle<T> {
    let world = world.clone();
    thread::spawn(move || f(&world))
}

fn join<T>(thread: thread::JoinHandle<T>) -> T {
    thread.join().expect("no thread panics")
}

// ---- pin, evict, reload -------------------------------------------------------------------------------------------------

#[test]
fn loom_a_pinned_page_is_not_evicted() {
    explore(1, 3, |world| {
        world.preload(1);
        let evicts = spawn(world, |world| world.read(2));
        // The page is there, or was evicted and comes back, or the other one is pinned.
        let first = world.read(1);
        assert!(matches!(first, Ok(100) | Err(None)));
        assert!(matches!(join(evicts), Ok(200) | Err(None)));
    });
}

#[test]
fn loom_pages_that_evict_each_other_stay_themselves() {
    explore(2, 3, |world| {
        world.preload(1);
        world.preload(2);
        let other = spawn(world, |world| world.read(3));
        let own = [2, 1].map(|unit| (unit, world.read(unit)));
        for (unit, seen) in own.into_iter().chain([(3, join(other))]) {
            // A pin that moves from frame to frame can be met in each of them: then there is no room.
            assert!(seen == Ok(content(unit)) || seen == Err(None), "{seen:?}");
        }
    });
}

// ---- one read for many --------------------------------------------------------------------------------------------------

/// Claims page 1 and waits for it; true where it was this reader's to read.
fn claim_and_wait(world: &World) -> bool {
    let Ok(claim) = world.pool.claim(key(1), 1, Purpose::Demand) else {
        panic!("there are frames for all");
    };
    let (frame, owner) = (claim.frame(), matches!(claim, Claim::Owner(_)));
    if owner {
        world.deliver(frame, 1);
    }
    assert_eq!(world.wait(frame), Ok(()));
    assert_eq!(world.bytes(frame), 100);
    world.pool.unpin(frame);
    owner
}

#[test]
fn loom_of_two_that_claim_a_page_one_owns_it() {
    // A frame for each: none has to evict what another has just read.
    explore(2, 3, |world| {
        let other = spawn(world, claim_and_wait);
        let owners = u32::from(claim_and_wait(world)) + u32::from(join(other));
        assert_eq!(owners, 1);
    });
}

#[test]
fn loom_of_three_that_claim_a_page_one_owns_it() {
    explore(3, 1, |world| {
        let others = [0, 1].map(|_| spawn(world, claim_and_wait));
        let own = u32::from(claim_and_wait(world));
        let owners = others.map(|other| u32::from(join(other)));
        assert_eq!(own + owners.iter().sum::<u32>(), 1);
    });
}

#[test]
fn loom_who_joins_a_read_is_woken_by_its_end() {
    for outcome in [Ok(()), Err(Fault::Os(libc::EIO))] {
        explore(2, 3, move |world| {
            let Ok(Claim::Owner(frame)) = world.pool.claim(key(1), 1, Purpose::Prefetch) else {
                panic!("nobody else is here");
            };
            let device = spawn(world, move |world| {
                world.write(frame, content(1));
                world.complete(frame, outcome);
            });
            // Joined, or found there, or after a failure read once more.
            let read = world.read(1);
            assert!(
                matches!(read, Ok(100))
                    || outcome.is_err() && matches!(read, Err(Some(Fault::Os(_))))
            );
            join(device);
        });
    }
}

#[test]
fn loom_two_that_join_are_both_woken() {
    explore(2, 2, |world| {
        let Ok(Claim::Owner(frame)) = world.pool.claim(key(1), 1, Purpose::Prefetch) else {
            panic!("nobody else is here");
        };
        let readers = [0, 1].map(|_| spawn(world, |world| world.read(1)));
        world.deliver(frame, 1);
        assert_eq!(readers.map(join), [Ok(100), Ok(100)]);
    });
}

/// A waker that remembers.
struct Flag(AtomicU32);

impl Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn loom_a_task_is_woken_or_sees_that_it_need_not_wait() {
    explore(1, 3, |world| {
        let Ok(Claim::Owner(frame)) = world.pool.claim(key(1), 1, Purpose::Demand) else {
            panic!("nobody else is here");
        };
        let device = spawn(world, move |world| world.deliver(frame, 1));
        let pool = &world.pool;
        let flag = || std::sync::Arc::new(Flag(AtomicU32::new(0)));
        let (first, second) = (flag(), flag());
        let waker = Waker::from(first.clone());
        let op = pool
            .ops
            .acquire(Notify::Waker(waker))
            .expect("a place to wait");
        let waits = pool.outcome(frame).is_none() && pool.ops.register(pool.frame(frame), op);
        // It moves to another task before it is woken.
        let moved = waits && pool.ops.set_waker(op, &Waker::from(second.clone()));
        join(device);
        let woken = (
            first.0.load(Ordering::SeqCst),
            second.0.load(Ordering::SeqCst),
        );
        assert_eq!(
            woken,
            (u32::from(waits && !moved), u32::from(moved)),
            "once, and the right one"
        );
        assert_eq!(pool.outcome(frame), Some(Ok(())));
        assert_eq!(world.bytes(frame), 100);
        pool.ops.release(op);
        pool.unpin(frame);
    });
}

/// A read that starts again where its page was given up under it.
fn read_on(world: &World) -> Result<u64, Option<Fault>> {
    loop {
        match world.read(1) {
            Err(Some(Fault::Closed)) => {}
            outcome => return outcome,
        }
    }
}

/// One reader has joined a prefetch that is cancelled, and others come, with as many `readers` in all.
fn give_up_under(readers: usize, preemptions: usize) {
    explore(4, preemptions, move |world| {
        let Ok(Claim::Owner(frame)) = world.pool.claim(key(1), 1, Purpose::Prefetch) else {
            panic!("nobody else is here");
        };
        let cancel = spawn(world, move |world| {
            world.complete(frame, Err(Fault::Closed))
        });
        let others: Vec<_> = (1..readers).map(|_| spawn(world, read_on)).collect();
        assert_eq!(read_on(world), Ok(100));
        for other in others {
            assert_eq!(join(other), Ok(100));
        }
        join(cancel);
    });
}

#[test]
fn loom_a_page_given_up_is_read_by_its_reader() {
    give_up_under(1, 3);
}

#[test]
fn loom_a_page_given_up_is_read_by_one_of_its_readers_for_all() {
    give_up_under(2, 1);
}

// ---- leaving ------------------------------------------------------------------------------------------------------------

#[test]
fn loom_a_place_left_by_its_waiter_goes_back_once() {
    explore(1, 4, |world| {
        let Ok(Claim::Owner(frame)) = world.pool.claim(key(1), 1, Purpose::Demand) else {
            panic!("nobody else is here");
        };
        let pool = &world.pool;
        let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
        assert!(pool.ops.register(pool.frame(frame), op));
        let device = spawn(world, move |world| world.deliver(frame, 1));
        // A nudge takes it out of the list, too.
        let alarm = spawn(world, move |world| {
            let mut batches = BatchWakes::default();
            world.pool.ops.nudge(world.pool.frame(frame), &mut batches);
        });
        pool.ops.abandon(op);
        pool.unpin(frame);
        join(device);
        join(alarm);
    });
}

#[test]
fn loom_a_batch_that_gives_a_read_up_hears_no_more_of_it() {
    explore(1, 3, |world| {
        let Ok(Claim::Owner(frame)) = world.pool.claim(key(1), 1, Purpose::Demand) else {
            panic!("nobody else is here");
        };
        let pool = &world.pool;
        let group = Group::new(1);
        let op = pool
            .ops
            .acquire(Notify::Batch(group.clone(), 0))
            .expect("a place to wait");
        assert!(pool.ops.register(pool.frame(frame), op));
        let device = spawn(world, move |world| world.deliver(frame, 1));
        let given_up = pool.ops.give_up(op);
        join(device);
        let mut notified = Vec::new();
        group.take(&mut notified, 0, None);
        assert_eq!(
            notified.len(),
            usize::from(!given_up),
            "notified or given up, never both"
        );
        if !given_up {
            pool.ops.release(op);
        }
        pool.unpin(frame);
    });
}

// ---- a new version ------------------------------------------------------------------------------------------------------

/// Fills a frame and makes it the page's new version.
fn publish(world: &World, unit: u64, value: u64) {
    let frame = world
        .pool
        .allocate(1, Purpose::Demand)
        .expect("a free frame");
    world.write(frame, value);
    world.pool.publish(key(unit), frame);
}

#[test]
fn loom_a_reader_sees_the_old_version_or_the_new_and_never_goes_back() {
    explore(2, 3, |world| {
        world.preload(1);
        let reader = spawn(world, |world| {
            let (first, second) = (world.read(1), world.read(1));
            for seen in [first, second] {
                assert!(matches!(seen, Ok(100 | 101)), "{seen:?}");
            }
            assert!(
                !(first == Ok(101) && second == Ok(100)),
                "back to the old version"
            );
        });
        publish(world, 1, 101);
        assert_eq!(world.read(1), Ok(101), "who published sees it");
        join(reader);
    });
}

#[test]
fn loom_a_view_of_the_old_version_keeps_it_until_it_goes() {
    explore(2, 3, |world| {
        let old = world.preload(1);
        assert!(
            matches!(world.pool.claim(key(1), 1, Purpose::Demand), Ok(Claim::Hit(frame)) if frame == old)
        );
        let writer = spawn(world, |world| publish(world, 1, 101));
        assert_eq!(world.bytes(old), 100);
        thread::yield_now();
        assert_eq!(world.bytes(old), 100, "a view does not change");
        world.pool.unpin(old);
        join(writer);
        // The last of the two has freed it: it can be had without evicting the new version.
        assert_eq!(world.pool.census(), (1, 0, 0));
        assert_eq!(world.read(1), Ok(101));
    });
}

#[test]
fn loom_a_new_version_and_the_eviction_of_the_old_do_not_meet() {
    explore(2, 3, |world| {
        world.preload(1);
        let frame = world
            .pool
            .allocate(1, Purpose::Demand)
            .expect("a free frame");
        world.write(frame, 101);
        // Takes the old version's frame, or the new one's.
        let evicts = spawn(world, |world| {
            let other = world.read(2);
            assert!(matches!(other, Ok(200) | Err(None)), "{other:?}");
        });
        world.pool.publish(key(1), frame);
        join(evicts);
        // In memory still, or evicted: then it is read again, and here the device has what was published first.
        let seen = world.read(1);
        assert!(matches!(seen, Ok(100 | 101)), "{seen:?}");
        assert_eq!(world.read(2), Ok(200));
        assert_eq!(
            world.read(2),
            Ok(200),
            "a page in a reused frame stays in the pool"
        );
    });
}

#[test]
fn loom_a_version_published_over_a_read_in_flight_stays_the_newer_one() {
    explore(2, 3, |world| {
        let Ok(Claim::Owner(old)) = world.pool.claim(key(1), 1, Purpose::Demand) else {
            panic!("nobody else is here");
        };
        let device = spawn(world, move |world| {
            world.deliver(old, 1);
            world.pool.unpin(old);
        });
        publish(world, 1, 101);
        assert_eq!(world.read(1), Ok(101));
        join(device);
        assert_eq!(
            world.read(1),
            Ok(101),
            "what was read before it does not come back"
        );
        assert_eq!(world.pool.census().0, 1, "the old version is gone");
        assert_eq!(world.pool.frame(old).state().phase(), Phase::Free);
    });
}

// ---- pages with a checksum ----------------------------------------------------------------------------------------------

/// What a damaged page holds.
const DAMAGED: u64 = 13;

impl World {
    /// Claims a page whose read is to be checked; the first claimer prepares the slot.
    fn claim_checked(&self, unit: u64, purpose: Purpose) -> Option<Claim> {
        let claim = self.pool.claim(key(unit), 1, purpose).ok()?;
        if let Claim::Owner(frame) = claim {
            let request = Request {
                file: 0,
                offset: 0,
                bytes: 4096,
                expected: 4096,
                lane: Lane::Demand,
                queued_ns: 0,
                epoch: 0,
                checked: true,
                write: false,
            };
            self.pool.slots.link(frame, request, &mut Chain::new());
        }
        Some(claim)
    }

    fn deliver_value(&self, frame: u32, value: u64) {
        self.write(frame, value);
        self.complete(frame, Ok(()));
    }

    /// How a read ended, by someone who has the page pinned; it is checked here where nobody has. What a page that does not
    /// fit holds when it is read again is `second`, which this thread delivers.
    fn look(&self, frame: u32, unit: u64, second: u64) -> Option<Result<(), Fault>> {
        let pool = &self.pool;
        if let Some(outcome) = pool.outcome(frame) {
            return Some(outcome);
        }
        if pool.is_unchecked(frame) && pool.begin_check(frame) {
            if self.bytes(frame) == content(unit) {
                pool.end_check(frame, Ok(()));
            } else if pool.read_again(frame) {
                self.deliver_value(frame, second);
            } else {
                pool.end_check(frame, Err(Fault::Checksum));
            }
            drop(lock(&self.spinning.0));
            self.spinning.1.notify_all();
        }
        pool.outcome(frame)
    }

    /// Waits as a blocking reader of a packed field does.
    fn wait_checked(&self, frame: u32, unit: u64, second: u64) -> Result<(), Fault> {
        let pool = &self.pool;
        loop {
            if let Some(outcome) = self.look(frame, unit, second) {
                return outcome;
            }
            let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
            if !pool.ops.register(pool.frame(frame), op) {
                pool.ops.release(op);
                let mut spinning = lock(&self.spinning.0);
                while pool.outcome(frame).is_none() {
                    spinning = self.spinning.1.wait(spinning).expect("nobody panics");
                }
                continue;
            }
            if pool.is_unchecked(frame)
                && let Some(outcome) = self.look(frame, unit, second)
            {
                pool.ops.abandon(op);
                return outcome;
            }
            assert!(pool.ops.block(op, None));
            pool.ops.release(op);
        }
    }

    /// A blocking read of a page with a checksum, which the device delivers as `first`, and the second time as `second`.
    fn read_checked(&self, unit: u64, first: u64, second: u64) -> Result<u64, Option<Fault>> {
        let claim = self.claim_checked(unit, Purpose::Demand).ok_or(None)?;
        let frame = claim.frame();
        if let Claim::Owner(_) = claim {
            self.deliver_value(frame, first);
        }
        let outcome = self.wait_checked(frame, unit, second).map_err(Some);
        let outcome = outcome.map(|()| self.bytes(frame));
        self.pool.unpin(frame);
        outcome
    }
}

/// Claims page 1 for a device and two readers.
fn claim_for_two(world: &World) -> u32 {
    let Some(Claim::Owner(frame)) = world.claim_checked(1, Purpose::Prefetch) else {
        panic!("nobody else is here");
    };
    for _ in 0..2 {
        let joined = world.claim_checked(1, Purpose::Demand);
        assert!(matches!(joined, Some(Claim::Joined(joined)) if joined == frame));
    }
    frame
}

/// The end of a reader that has claimed page 1.
fn end_read(world: &World, frame: u32, second: u64) -> Result<u64, Fault> {
    let outcome = world.wait_checked(frame, 1, second);
    let outcome = outcome.map(|()| world.bytes(frame));
    world.pool.unpin(frame);
    outcome
}

#[test]
fn loom_of_two_that_wait_one_checks_and_both_are_woken() {
    explore(1, 1, |world| {
        let frame = claim_for_two(world);
        let device = spawn(world, move |world| world.deliver_value(frame, content(1)));
        let other = spawn(world, move |world| end_read(world, frame, DAMAGED));
        assert_eq!(end_read(world, frame, DAMAGED), Ok(content(1)));
        assert_eq!(join(other), Ok(content(1)));
        join(device);
    });
}

#[test]
fn loom_a_page_that_does_not_fit_is_read_again_for_both() {
    for (second, wanted) in [
        (content(1), Ok(content(1))),
        (DAMAGED, Err(Fault::Checksum)),
    ] {
        explore(1, 2, move |world| {
            let frame = claim_for_two(world);
            world.deliver_value(frame, DAMAGED);
            let other = spawn(world, move |world| end_read(world, frame, second));
            assert_eq!(end_read(world, frame, second), wanted);
            assert_eq!(join(other), wanted);
        });
    }
}

#[test]
fn loom_a_list_that_was_closed_by_a_check_is_not_opened_by_the_end_of_the_read() {
    for first in [content(1), DAMAGED] {
        explore(1, 3, move |world| {
            let Some(Claim::Owner(frame)) = world.claim_checked(1, Purpose::Demand) else {
                panic!("nobody else is here");
            };
            let device = spawn(world, move |world| world.deliver_value(frame, first));
            assert_eq!(world.wait_checked(frame, 1, content(1)), Ok(()));
            join(device);
            // Whoever came now would wait for ever.
            let pool = &world.pool;
            let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
            assert!(!pool.ops.register(pool.frame(frame), op));
            pool.ops.release(op);
            pool.unpin(frame);
        });
    }
}

#[test]
fn loom_a_waiter_that_leaves_does_not_take_the_check_with_it() {
    for first in [content(1), DAMAGED] {
        explore(1, 1, move |world| {
            let frame = claim_for_two(world);
            let device = spawn(world, move |world| world.deliver_value(frame, first));
            // A task that is polled once and dropped, woken or not.
            let leaves = spawn(world, move |world| {
                let pool = &world.pool;
                if pool.outcome(frame).is_none() {
                    let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
                    match pool.ops.register(pool.frame(frame), op) {
                        true => pool.ops.abandon(op),
                        false => pool.ops.release(op),
                    }
                }
                pool.unpin(frame);
            });
            assert_eq!(world.wait_checked(frame, 1, content(1)), Ok(()));
            assert_eq!(world.bytes(frame), content(1));
            world.pool.unpin(frame);
            join(leaves);
            join(device);
        });
    }
}

#[test]
fn loom_a_page_that_nobody_has_checked_is_evicted_or_checked() {
    explore(1, 3, |world| {
        let Some(Claim::Owner(frame)) = world.claim_checked(1, Purpose::Prefetch) else {
            panic!("nobody else is here");
        };
        world.deliver_value(frame, content(1));
        let evicts = spawn(world, |world| world.read_checked(2, content(2), DAMAGED));
        let read = world.read_checked(1, content(1), DAMAGED);
        assert!(matches!(read, Ok(100) | Err(None)), "{read:?}");
        let evicts = join(evicts);
        assert!(matches!(evicts, Ok(200) | Err(None)), "{evicts:?}");
    });
}

#[test]
fn loom_places_left_at_an_unchecked_page_come_back_with_its_frame() {
    explore(1, 3, |world| {
        let Some(Claim::Owner(frame)) = world.claim_checked(1, Purpose::Prefetch) else {
            panic!("nobody else is here");
        };
        let pool = &world.pool;
        assert!(world.claim_checked(1, Purpose::Demand).is_some());
        let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
        let device = spawn(world, move |world| world.deliver_value(frame, content(1)));
        // Before the read has ended or after it.
        assert!(pool.ops.register(pool.frame(frame), op));
        pool.ops.abandon(op);
        pool.unpin(frame);
        let other = world.read_checked(2, content(2), DAMAGED);
        assert!(matches!(other, Ok(200) | Err(None)), "{other:?}");
        join(device);
    });
}

#[test]
fn loom_who_waits_for_room_hears_of_an_unchecked_page_or_sees_it() {
    explore(1, 3, |world| {
        let Some(Claim::Owner(frame)) = world.claim_checked(1, Purpose::Prefetch) else {
            panic!("nobody else is here");
        };
        let device = spawn(world, move |world| world.deliver_value(frame, content(1)));
        let pool = &world.pool;
        if pool.frame(frame).pin().phase() == Phase::Loading {
            let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
            if pool.ops.register(pool.frame(frame), op) {
                match pool.frame(frame).state().phase() {
                    Phase::Loading => {
                        assert!(pool.ops.block(op, None));
                        pool.ops.release(op);
                    }
                    _ => pool.ops.abandon(op),
                }
            } else {
                pool.ops.release(op);
            }
        }
        pool.unpin(frame);
        join(device);
    });
}

#[test]
fn loom_of_two_that_cannot_check_a_page_both_hear_of_it() {
    explore(1, 2, |world| {
        let frame = claim_for_two(world);
        // The directory page above it has failed: the page stays as it is, and who waits for it is told.
        let task = move |world: &World| {
            let pool = &world.pool;
            while !pool.is_unchecked(frame) {
                let op = pool.ops.acquire(Notify::Thread).expect("a place to wait");
                assert!(pool.ops.register(pool.frame(frame), op), "nobody closes it");
                if pool.is_unchecked(frame) {
                    let mut batches = BatchWakes::default();
                    pool.ops.nudge(pool.frame(frame), &mut batches);
                }
                assert!(pool.ops.block(op, None));
                pool.ops.release(op);
            }
            pool.unpin(frame);
        };
        let device = spawn(world, move |world| world.deliver_value(frame, content(1)));
        let other = spawn(world, task);
        task(world);
        join(other);
        join(device);
    });
}
