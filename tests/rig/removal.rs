//! A controller that is taken away while it is read.

use crate::RigFile;
use ringfield::{Engine, Error, Fault};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
#[ignore = "in the rig: rig/run"]
fn a_controller_that_is_removed_gives_errors_for_its_file_alone_and_nothing_hangs() {
    let files = [
        RigFile::new("/rig/disk2", 32 << 20),
        RigFile::new("/rig/disk3", 32 << 20),
    ];
    let engine = Engine::builder()
        .dram_budget(8 << 20)
        .page_size(16 << 10)
        .build()
        .unwrap();
    let fields = files
        .each_ref()
        .map(|file| engine.open(&file.path).unwrap());
    let (stop, removed) = (AtomicBool::new(false), AtomicBool::new(false));
    let read = [AtomicU64::new(0), AtomicU64::new(0)];
    let errors = std::thread::scope(|scope| {
        let readers = [0, 1].map(|which| {
            let (field, file) = (&fields[which], &files[which]);
            let (stop, removed, read) = (&stop, &removed, &read[which]);
            scope.spawn(move || {
                let mut errors = Vec::new();
                let mut at = 0;
                while !stop.load(SeqCst) {
                    at = (at + 7_777_777) % (file.len - 60_000);
                    match field.read(at..at + 50_000) {
                        Ok(view) => {
                            let right = crate::content::bytes(file.seed, at, at + 50_000);
                            assert!(view.to_vec() == right, "wrong bytes at {at}");
                            read.fetch_add(1, SeqCst);
                        }
                        Err(e) => {
                            assert!(removed.load(SeqCst), "{e}");
                            errors.push(e);
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                }
                errors
            })
        });
        std::thread::sleep(Duration::from_secs(1));
        removed.store(true, SeqCst);
        let device = std::fs::canonicalize("/sys/block/nvme3n1/device/device").unwrap();
        std::fs::write(device.join("remove"), "1").unwrap();
        let before = read[0].load(SeqCst);
        std::thread::sleep(Duration::from_secs(2));
        stop.store(true, SeqCst);
        assert!(
            read[0].load(SeqCst) > before,
            "the other controller stopped too"
        );
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(errors[0].is_empty(), "{:?}", errors[0].first());
    assert!(
        !errors[1].is_empty(),
        "reads of a controller that is gone succeeded"
    );
    for error in &errors[1] {
        let typed = matches!(
            error,
            Error::Read { path, fault: Fault::Os(_), .. } if *path == files[1].path
        );
        assert!(typed, "{error}");
    }
    println!("{} errors, such as: {}", errors[1].len(), errors[1][0]);
    let started = Instant::now();
    drop(fields);
    drop(engine);
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
}
