//! Disks that are slow, and disks that fail and recover.

use crate::RigFile;
use crate::content::bytes;
use crate::mapped::Mapped;
use ringfield::{Engine, EngineBuilder, Error, Fault};
use std::time::{Duration, Instant};

const LEN: u64 = 8 << 20;

fn builder() -> EngineBuilder {
    Engine::builder().dram_budget(8 << 20).page_size(16 << 10)
}

#[test]
#[ignore = "in the rig: rig/run"]
fn a_slow_disk_meets_the_deadline_and_no_other_disk_waits_for_it() {
    let (file, other) = (
        RigFile::new("/rig/disk1", LEN),
        RigFile::new("/rig/disk2", 1 << 20),
    );
    let slow = Mapped::over(&file.path, "slow", |under, sectors| {
        format!("0 {sectors} delay {under} 0 1500")
    });
    let engine = builder()
        .read_deadline(Duration::from_millis(400))
        .build()
        .unwrap();
    // The loop's first read is a probe, which is patient.
    let field = engine.open(slow.path()).unwrap();
    let quick = engine.open(&other.path).unwrap();
    let started = Instant::now();
    let late = field.read(0..1000);
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    assert!(
        started.elapsed() < Duration::from_millis(1400),
        "{:?}",
        started.elapsed()
    );
    other.check_all(&quick);
    // The read goes on in the engine's own memory, and its page is there in the end.
    let started = Instant::now();
    loop {
        match field.read(0..1000) {
            Ok(view) => {
                assert!(view.to_vec() == bytes(file.seed, 0, 1000));
                break;
            }
            Err(Error::TimedOut { .. }) if started.elapsed() < Duration::from_secs(20) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
#[ignore = "in the rig: rig/run"]
fn a_disk_that_fails_for_a_while_gives_typed_errors_and_reads_right_again() {
    let file = RigFile::new("/rig/disk1", LEN);
    let linear = |under: &str, sectors: u64| format!("0 {sectors} linear {under} 0");
    let flaky = Mapped::over(&file.path, "flaky", linear);
    let engine = builder().build().unwrap();
    let field = engine.open(flaky.path()).unwrap();
    let page = field.read(0..16 << 10).unwrap();
    // Up for no time, down for an hour: every read is an error.
    flaky.change(|under, sectors| format!("0 {sectors} flakey {under} 0 0 3600"));
    for start in [1 << 20, 3 << 20] {
        let failed = field.read(start..start + 20_000);
        let Err(Error::Read { page, fault, .. }) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!((page, fault), (start / (16 << 10), Fault::Os(libc::EIO)));
    }
    // What is in the pool does not need the disk.
    assert!(page.to_vec() == bytes(file.seed, 0, 16 << 10));
    flaky.change(linear);
    file.check_all(&field);
    assert!(engine.stats().failed_pages > 0);
}
