//! The page-state machine in every order of memory operations (within a bound on preemptions).

use super::arena::Arena;
use super::frame::{Key, Phase};
use super::pool::{Claim, Pool, Purpose};
use super::wait::{BatchWakes, Notify};
use crate::ring::fault::Fault;
use loom::sync::Arc;
use loom::thread;

const A: Key = Key { field: 0, unit: 1 };
const B: Key = Key { field: 0, unit: 2 };

/// Explores with at most three preemptions a run: enough for every lost update and wake-up of two or three threads.
fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn pool(frames: u32) -> Arc<Pool> {
    Arc::new(Pool::new(Arena::none(), frames, 4096, 2))
}

fn complete(pool: &Pool, frame: u32, outcome: Result<(), Fault>) {
    let mut batches = BatchWakes::default();
    pool.complete(frame, outcome, &mut batches);
    batches.flush();
}

/// Brings a page in, unpinned.
fn load(pool: &Pool, key: Key) -> u32 {
    match pool.claim(key, 1, Purpose::Demand) {
        Ok(Claim::Owner(frame)) => {
            complete(pool, frame, Ok(()));
            pool.unpin(frame);
            frame
        }
        other => panic!("an empty pool gives a frame: {other:?}"),
    }
}

#[test]
fn loom_a_pinned_page_stays_what_it_is() {
    explore(|| {
        let pool = pool(1);
        load(&pool, A);
        let evictor = {
            let pool = pool.clone();
            thread::spawn(move || {
                if let Ok(Claim::Owner(frame)) = pool.claim(B, 1, Purpose::Demand) {
                    complete(&pool, frame, Ok(()));
                    pool.unpin(frame);
                }
            })
        };
        if let Some((frame, _)) = pool.hit(A) {
            for _ in 0..2 {
                assert_eq!(pool.frame(frame).key(), A);
                assert_eq!(pool.frame(frame).state().phase(), Phase::Resident);
                thread::yield_now();
            }
            pool.unpin(frame);
        }
        evictor.join().expect("no panic");
        assert_eq!(pool.pinned_frames(), 0);
        assert_eq!(pool.census().0, 1);
    });
}

#[test]
fn loom_one_of_many_claimers_reads_the_page() {
    explore(|| {
        let pool = pool(2);
        let claim = |pool: &Pool| match pool.claim(A, 1, Purpose::Demand) {
            Ok(Claim::Owner(frame)) => {
                complete(pool, frame, Ok(()));
                pool.unpin(frame);
                1
            }
            Ok(Claim::Hit(frame) | Claim::Joined(frame)) => {
                assert_eq!(pool.frame(frame).key(), A);
                pool.unpin(frame);
                0
            }
            Err(_) => panic!("two frames are enough for one page and one spare"),
        };
        let other = {
            let pool = pool.clone();
            thread::spawn(move || claim(&pool))
        };
        let owners = claim(&pool) + other.join().expect("no panic");
        assert_eq!(owners, 1);
        assert_eq!(pool.census().0, 1);
    });
}

#[test]
fn loom_whoever_joins_a_read_is_notified() {
    explore(|| {
        let pool = pool(1);
        let Ok(Claim::Owner(frame)) = pool.claim(A, 1, Purpose::Demand) else {
            panic!("an empty pool gives a frame");
        };
        let device = {
            let pool = pool.clone();
            thread::spawn(move || {
                complete(&pool, frame, Err(Fault::Grew));
                pool.unpin(frame);
            })
        };
        let claimed = pool.claim(A, 1, Purpose::Demand);
        if let Ok(Claim::Joined(joined)) = claimed {
            let op = pool.ops.acquire(Notify::Thread).expect("a free place");
            if pool.ops.register(pool.frame(joined), op) {
                assert!(pool.ops.block(op, None));
            }
            pool.ops.release(op);
            // A list that is closed already says that the outcome is about to be there.
            while pool.outcome(joined).is_none() {
                thread::yield_now();
            }
            // A waiter sees it for as long as it holds its pin.
            assert_eq!(pool.outcome(joined), Some(Err(Fault::Grew)));
            pool.unpin(joined);
        } else if let Ok(Claim::Owner(again)) = claimed {
            // The failed page had been torn down before: a new read.
            complete(&pool, again, Ok(()));
            pool.unpin(again);
        }
        device.join().expect("no panic");
        assert_eq!(pool.pinned_frames(), 0);
    });
}

#[test]
fn loom_a_place_is_given_back_once_whether_notified_or_abandoned() {
    explore(|| {
        let pool = pool(1);
        let Ok(Claim::Owner(frame)) = pool.claim(A, 1, Purpose::Demand) else {
            panic!("an empty pool gives a frame");
        };
        let op = pool.ops.acquire(Notify::Thread).expect("a free place");
        assert!(pool.ops.register(pool.frame(frame), op));
        let device = {
            let pool = pool.clone();
            thread::spawn(move || complete(&pool, frame, Ok(())))
        };
        pool.ops.abandon(op);
        device.join().expect("no panic");
        // Both places are free, and they are two.
        let places = [(); 3].map(|()| pool.ops.acquire(Notify::Thread));
        assert!(places[0].is_some() && places[1].is_some() && places[0] != places[1]);
        assert_eq!(places[2], None);
    });
}

#[test]
fn loom_readers_of_a_page_that_is_written_never_go_back() {
    explore(|| {
        let pool = pool(2);
        let old = load(&pool, A);
        let new = 1 - old;
        assert!(pool.frame(new).claim(Phase::Free, 0).is_some());
        let writer = {
            let pool = pool.clone();
            thread::spawn(move || pool.publish(A, new))
        };
        let mut newest = 0;
        for _ in 0..2 {
            if let Some((frame, _)) = pool.hit(A) {
                let version = pool.frame(frame).version();
                assert_eq!(version, u32::from(frame == new));
                assert!(version >= newest, "a newer version had been seen");
                newest = version;
                assert_eq!(pool.frame(frame).key(), A);
                pool.unpin(frame);
            }
        }
        writer.join().expect("no panic");
        assert_eq!(pool.hit(A).map(|(frame, _)| frame), Some(new));
        // The old version went with its last reader, once.
        assert_eq!(pool.frame(old).state().phase(), Phase::Free);
    });
}
