//! `ringfield bench` on a machine that refuses io_uring: fio, which insists on it, is left out with the reason, and the
//! engine is compared with the others all the same.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used)]
#![cfg(test)]

#[path = "../../tests/child/mod.rs"]
mod child;
#[path = "../../tests/io_uring_switch/mod.rs"]
mod io_uring_switch;
mod job;
mod restricted;
#[path = "../../tests/seccomp/mod.rs"]
mod seccomp;

use child::skipped;
use io_uring_switch::Turned;
use job::{names, report};
use restricted::Machine;
use std::fs;

/// Fails unless `machine` has a row of every engine but fio, and of fio the reason `why`.
#[track_caller]
fn compares_without_fio(machine: &Machine, why: &str) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let job = dir.path().join("job.fio");
    let file = dir.path().join("data");
    let text = format!(
        "[j]\nrw=randread\niodepth=4\nsize=8m\nruntime=50ms\ntime_based\nfilename={}\n",
        file.display()
    );
    fs::write(&job, text).expect("written");
    let output = machine.run(&["bench", "--rounds", "1", "--json"], &job);
    let report = report(&output.expect("it runs"));
    assert_eq!(names(&report["rows"]), ["ringfield", "mmap", "pread"]);
    assert_eq!(report["rows"][0]["backend"], "pread");
    for omitted in report["omitted"].as_array().expect("omitted") {
        // There may be no huge pages to run fio with, which is a reason before this one.
        if omitted["engine"] != "fio-hugepages" {
            assert_eq!(omitted["why"], why);
        }
    }
    let mut omitted = names(&report["omitted"]);
    omitted.sort_unstable();
    assert_eq!(omitted, ["fio", "fio-aa", "fio-hugepages"]);
    assert!(!file.exists());
}

fn reason(error: &str) -> String {
    match std::process::Command::new("fio").arg("--version").output() {
        Ok(_) => format!("fio failed: io_queue_init: {error}"),
        Err(_) => "fio is not installed (apt install fio)".to_owned(),
    }
}

#[test]
fn under_a_profile_without_io_uring_all_but_fio_are_compared() {
    for (errno, error) in [
        (libc::EPERM, "Operation not permitted"),
        (libc::ENOSYS, "Function not implemented"),
    ] {
        let machine = Machine::filtered(seccomp::without(&seccomp::IO_URING, errno));
        compares_without_fio(&machine, &reason(error));
    }
}

#[test]
fn where_io_uring_is_switched_off_all_but_fio_are_compared() {
    let turned = match Turned::to(2) {
        Ok(turned) => turned,
        Err(why) => skipped!("{why}"),
    };
    compares_without_fio(&Machine::unrestricted(), &reason("Operation not permitted"));
    drop(turned);
}
