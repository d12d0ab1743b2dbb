//! A controller of an array that is taken away while the array is read.

use crate::array::{PAGE, ROW, Striped, row};
use ringfield::{Engine, Error, Fault};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Of the member that goes.
const GONE: u32 = 1;

#[test]
#[ignore = "in the rig: rig/run"]
fn a_member_that_is_removed_gives_errors_for_its_pages_alone_and_nothing_hangs() {
    let striped = Striped::new(4000);
    let engine = Engine::builder()
        .dram_budget(4 << 20)
        .page_size(PAGE)
        .build()
        .unwrap();
    let (field, starts) = striped.open(&engine);
    let member_of = |start: u64| (start / PAGE % 4) as u32;
    let (stop, removed) = (AtomicBool::new(false), AtomicBool::new(false));
    let after = AtomicU64::new(0);
    let errors = std::thread::scope(|scope| {
        let reader = |seed: u64| {
            let (field, starts, stop, removed, after) = (&field, &starts, &stop, &removed, &after);
            scope.spawn(move || {
                let mut errors = Vec::new();
                let mut number = seed;
                while !stop.load(SeqCst) {
                    number = (number + 1_237) % starts.len() as u64;
                    let start = starts[number as usize];
                    match field.read(start..start + ROW) {
                        Ok(view) => {
                            assert!(view.to_vec() == row(number), "wrong bytes of row {number}");
                            if removed.load(SeqCst) {
                                after.fetch_add(1, SeqCst);
                            }
                        }
                        Err(e) => {
                            assert_eq!(member_of(start), GONE, "{e}");
                            errors.push(e);
                        }
                    }
                }
                errors
            })
        };
        let readers = [reader(0), reader(500)];
        std::thread::sleep(Duration::from_secs(1));
        let device = std::fs::canonicalize(format!("/sys/block/nvme{GONE}n1/device/device"));
        std::fs::write(device.unwrap().join("remove"), "1").unwrap();
        removed.store(true, SeqCst);
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, SeqCst);
        readers.map(|reader| reader.join().unwrap()).concat()
    });
    assert!(after.load(SeqCst) > 0, "the other members stopped too");
    assert!(
        !errors.is_empty(),
        "reads of a member that is gone succeeded"
    );
    for error in &errors {
        let typed = matches!(
            error,
            Error::Read {
                member: Some(GONE),
                fault: Fault::Os(_) | Fault::Directory,
                ..
            }
        );
        assert!(typed, "{error}");
    }
    println!("{} errors, such as: {}", errors.len(), errors[0]);
}
