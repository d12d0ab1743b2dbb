//! The members of an array: all of it, in any order, and nothing else; what a missing one costs.

use crate::format::{Parts, at, change_superblocks};
use crate::made::{Made, TensorOf, engine, gguf, quick_dir};
use ringfield::{ArrayOptions, Engine, Error, Field, PackedField, TensorType};
use std::fs::File;
use std::path::PathBuf;

const PAGE: u64 = 4096;

fn made(members: usize) -> Made {
    let tensors: [TensorOf<'_>; 2] = [
        ("token_embd.weight", &[100, 150], TensorType::F32),
        ("output.weight", &[77, 30], TensorType::F16),
    ];
    Made::new(&gguf(&tensors, 17, None), members, PAGE)
}

#[track_caller]
fn refused(engine: &Engine, paths: &[PathBuf]) -> Error {
    engine.open_array(paths).map(|_| ()).unwrap_err()
}

#[test]
fn members_may_be_named_in_any_order() {
    let made = made(3);
    let engine = engine(PAGE);
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let paths = order.map(|k| &made.paths[k]);
        let field = engine.open_array(paths).unwrap();
        assert_eq!(made.errors_of(&field, true), []);
        // The same field, whatever the order: pages are shared.
        let other = engine.open_array(&made.paths).unwrap();
        let misses = engine.stats().misses;
        drop(other.read(0..PAGE).unwrap());
        assert_eq!(engine.stats().misses, misses);
    }
}

#[test]
fn what_is_no_member_of_the_array_is_refused_by_its_reason() {
    let (made, other) = (made(3), made(3));
    let engine = engine(PAGE);
    let mismatch = |paths: &[PathBuf], wrong: &PathBuf, said: &str| match refused(&engine, paths) {
        Error::ArrayMismatch { path, first, what } => {
            assert_eq!((&path, &first), (wrong, &paths[0]));
            assert!(what.contains(said), "{what}");
        }
        e => panic!("{e:?}"),
    };
    let [zero, one, two] = [0, 1, 2].map(|k| made.paths[k].clone());
    // Of another array, though of the same model.
    let stranger = other.paths[1].clone();
    mismatch(
        &[zero.clone(), stranger.clone(), two.clone()],
        &stranger,
        "it is of array ",
    );
    // The same one twice, by its name and as a copy.
    let copy = made.dir.path().join("copy.rf");
    std::fs::copy(&one, &copy).unwrap();
    for again in [one.clone(), copy] {
        let paths = [zero.clone(), one.clone(), again.clone(), two.clone()];
        mismatch(&paths, &again, "it is member 1, and so is ");
    }
    // One that was left behind when the others changed.
    let changed = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = made.members[2].clone();
        change_superblocks(&mut bytes, change);
        std::fs::write(&two, bytes).unwrap();
    };
    changed(&|copy| copy[at::GENERATION] += 1);
    mismatch(&made.paths, &two, "generation 2");
    // One that says something else of the array.
    changed(&|copy| copy[at::ROOT + 60] ^= 1);
    mismatch(&made.paths, &two, "contradict");
    made.restore();
    // What is no packed field at all, and pages of another size.
    let e = refused(&engine, &[zero.clone(), made.source.clone(), two.clone()]);
    assert!(matches!(&e, Error::Malformed { path, .. } if *path == made.source));
    let nothing = made.dir.path().join("nothing");
    let e = refused(&engine, &[zero.clone(), nothing.clone()]);
    assert!(matches!(&e, Error::Open { path, errno: libc::ENOENT } if *path == nothing));
    let e = refused(&engine, &[]);
    assert!(matches!(e, Error::InvalidOption { .. }));
    let e = refused(&crate::made::engine(16 << 10), &made.paths);
    assert!(matches!(
        e,
        Error::PageSizeMismatch {
            field: 4096,
            engine: 16_384,
            ..
        }
    ));
    assert_eq!(made.errors(&engine, true), []);
}

/// Reads every page of a field without member `lost`: those of it fail, and say so.
fn check_degraded(made: &Made, field: &Field, lost: u64) {
    let members = made.members.len() as u64;
    for page in 0..made.pages() {
        let range = page * PAGE..field.len().min((page + 1) * PAGE);
        match field.read(range.clone()) {
            Ok(view) => {
                assert_ne!(page % members, lost);
                assert!(view.to_vec() == made.field[range.start as usize..range.end as usize]);
            }
            Err(e) => {
                let Error::MissingMember {
                    member,
                    members: of,
                    page: at,
                    ..
                } = &e
                else {
                    panic!("{e:?}");
                };
                assert_eq!(
                    (u64::from(*member), u64::from(*of), *at),
                    (page % members, members, Some(page))
                );
                assert_eq!(u64::from(*member), lost);
                assert!(
                    e.to_string()
                        .contains(&format!("member {lost} of {members}"))
                );
            }
        }
    }
}

#[test]
fn a_missing_member_is_an_error_or_costs_its_pages() {
    for members in [1usize, 2, 3] {
        let made = made(members);
        let engine = engine(PAGE);
        for lost in 0..members {
            let mut paths = made.paths.clone();
            paths.remove(lost);
            let options = ArrayOptions::new().degraded(true);
            if paths.is_empty() {
                let e = engine.open_array_with(&paths, options).unwrap_err();
                assert!(matches!(e, Error::InvalidOption { .. }));
                continue;
            }
            let e = refused(&engine, &paths);
            assert!(
                matches!(&e, Error::MissingMember { member, page: None, .. } if *member == lost as u32),
                "{e:?}"
            );
            let field = engine.open_array_with(&paths, options).unwrap();
            check_degraded(&made, &field, lost as u64);
            let report = engine.report();
            assert!(report.degraded().any(|row| {
                row.item.ends_with(&format!(": member {lost}")) && row.granted == "missing"
            }));
            // A range over the page of a missing member names that page, by all ways.
            let missing = lost as u64;
            let range = 0..made.pages().min(2 * members as u64) * PAGE;
            let says =
                |e: Error| matches!(e, Error::MissingMember { page, .. } if page == Some(missing));
            let range = range.start..range.end.min(field.len());
            assert!(says(field.read(range.clone()).map(drop).unwrap_err()));
            let future = field.read_async(range.clone());
            assert!(says(
                crate::executor::block_on(future).map(drop).unwrap_err()
            ));
            let mut batch = engine.batch(2).unwrap();
            assert!(says(
                field
                    .read_many(std::slice::from_ref(&range), &mut batch)
                    .unwrap_err()
            ));
            // What is read ahead leaves them out.
            field.prefetch(std::slice::from_ref(&range));
            let plan = engine.plan(&[field.at(0..field.len())]);
            check_degraded(&made, &field, lost as u64);
            plan.cancel();
            let packed = PackedField::of(field.clone());
            let out = quick_dir();
            let unpacked = packed.and_then(|packed| packed.unpack(out.path(), false, |_| true));
            assert!(matches!(unpacked, Err(Error::MissingMember { .. })));
            assert_eq!(crate::made::listed(out.path()), [""; 0]);
            // All of it is another field.
            assert_eq!(made.errors(&engine, false), []);
        }
    }
}

#[test]
fn readers_share_a_lock_that_keeps_writers_away() {
    let made = made(2);
    let engine = engine(PAGE);
    let file = File::open(&made.paths[1]).unwrap();
    let field = engine.open_array(&made.paths).unwrap();
    // Another reader may have it too, a writer not.
    let second = crate::made::engine(PAGE);
    drop(second.open_array(&made.paths).unwrap());
    assert!(file.try_lock().is_err());
    drop(field);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while file.try_lock().is_err() {
        assert!(
            std::time::Instant::now() < until,
            "the lock outlives the field"
        );
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let e = refused(&engine, &made.paths);
    assert!(matches!(&e, Error::Locked { path, .. } if *path == made.paths[1]));
    file.unlock().unwrap();
    assert_eq!(made.errors(&engine, false), []);
}

#[test]
fn a_member_that_changes_while_it_is_open_is_an_error() {
    let made = made(2);
    let engine = engine(PAGE);
    let field = engine.open_array(&made.paths).unwrap();
    let parts = Parts::of(&made.members[1]);
    let file = File::options().write(true).open(&made.paths[1]).unwrap();
    file.set_len(parts.slot(2).start as u64 + 100).unwrap();
    let page = 2 * 2 + 1;
    let e = field
        .read(page * PAGE..page * PAGE + 1)
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(&e, Error::FileChanged { path, .. } if *path == made.paths[1]),
        "{e:?}"
    );
    // The others are there still.
    drop(
        field
            .read((page + 1) * PAGE..(page + 1) * PAGE + 1)
            .unwrap(),
    );
    assert!(engine.report().to_string().contains("changed"));
}
