//! `ringfield doctor` on a machine that grants less: each loss has its cause and its remedy, nothing else is called
//! lost, and a model reads right all the same.
#![cfg(test)]

#[path = "../../tests/child/mod.rs"]
mod child;
#[path = "../../tests/io_uring_switch/mod.rs"]
mod io_uring_switch;
mod restricted;
#[path = "../../tests/seccomp/mod.rs"]
mod seccomp;

use child::skipped;
use io_uring_switch::{Turned, left_alone};
use restricted::{Machine, is_root, model_in, model_on_disk};
use std::io;
use std::os::unix::process::CommandExt;

#[test]
fn a_profile_without_io_uring_is_named_with_what_to_allow_in_it() {
    let _switch = left_alone();
    let (dir, model) = model_on_disk();
    let anyway = Machine::unrestricted().doctor(dir.path());
    if let Some(why) = anyway.why("backend") {
        skipped!("io_uring is refused here anyway: {why}");
    }
    for (errno, named) in [
        (libc::EPERM, "Operation not permitted (os error 1)"),
        (libc::ENOSYS, "Function not implemented (os error 38)"),
    ] {
        let machine = Machine::filtered(seccomp::without(&seccomp::IO_URING, errno));
        let doctor = machine.doctor(dir.path());
        doctor.lost(&["backend"], &anyway);
        let row = doctor.row("backend");
        assert_eq!((&*row.requested, &*row.granted), ("io_uring", "pread"));
        assert!(
            row.why.starts_with(&format!("io_uring_setup: {named}")),
            "{row:?}"
        );
        assert!(row.why.contains("seccomp filter") && row.fix.contains("seccomp profile"));
        assert!(row.fix.contains("io_uring_setup") && row.fix.contains("Docker"));
        assert_eq!(machine.verify(&model), ["pread", "pread", "mmap"]);
    }
}

#[test]
fn a_profile_that_refuses_one_call_of_io_uring_is_named_with_what_is_lost() {
    let _switch = left_alone();
    let (dir, model) = model_on_disk();
    let anyway = Machine::unrestricted().doctor(dir.path());
    if let Some(why) = anyway.why("backend") {
        skipped!("io_uring is refused here anyway: {why}");
    }
    let refusing = |call| Machine::filtered(seccomp::without(&[call], libc::EPERM));

    let machine = refusing(libc::SYS_io_uring_enter);
    let doctor = machine.doctor(dir.path());
    doctor.lost(&["backend"], &anyway);
    let why = &doctor.row("backend").why;
    assert!(
        why.starts_with("a probing read: Operation not permitted"),
        "{why}"
    );
    assert_eq!(machine.verify(&model), ["pread", "pread", "mmap"]);

    let machine = refusing(libc::SYS_io_uring_register);
    let doctor = machine.doctor(dir.path());
    let lost = ["registered buffers", "registered files", "wake-up"];
    doctor.lost(&lost, &anyway);
    for name in lost {
        let row = doctor.row(name);
        assert!(
            row.why.starts_with("io_uring_register: Operation not"),
            "{row:?}"
        );
        assert!(row.why.contains("seccomp filter") && row.fix.contains("seccomp profile"));
    }
    assert_eq!(machine.verify(&model), ["io_uring", "pread", "mmap"]);
}

#[test]
fn the_switch_of_io_uring_is_named_with_its_value() {
    let (dir, model) = model_in(tempfile::tempdir().unwrap());
    let unprivileged = Machine::unprivileged(dir.path());
    for (value, machine, refused_to) in [
        (1, unprivileged, "refused to unprivileged users"),
        (2, Machine::unrestricted(), "refused to everyone"),
    ] {
        let switch = left_alone();
        let anyway = machine.doctor(&model);
        if let Some(why) = anyway.why("backend") {
            skipped!("io_uring is refused here anyway: {why}");
        }
        drop(switch);
        // The whole machine is without io_uring for as short as can be.
        let turned = match Turned::to(value) {
            Ok(turned) => turned,
            Err(why) => skipped!("{why}"),
        };
        let doctor = machine.doctor(&model);
        let backends = machine.verify(&model);
        drop(turned);
        doctor.lost(&["backend"], &anyway);
        let row = doctor.row("backend");
        assert_eq!((&*row.requested, &*row.granted), ("io_uring", "pread"));
        let named = format!("(os error 1); kernel.io_uring_disabled is {value}: {refused_to}");
        assert!(row.why.ends_with(&named), "{row:?}");
        let remedy = "`sysctl kernel.io_uring_disabled=0`";
        assert!(row.fix.contains(remedy), "{row:?}");
        assert_eq!(backends, ["pread", "pread", "mmap"]);
    }
}

#[test]
fn an_unprivileged_user_with_little_lockable_memory_is_told_the_limit_and_how_to_raise_it() {
    if !is_root() {
        skipped!("only root can become another user");
    }
    let _switch = left_alone();
    let (dir, model) = model_in(tempfile::tempdir().unwrap());
    let machine = Machine::unprivileged(dir.path()).and(|command| {
        // SAFETY: `lock_8_mib` makes one system call.
        unsafe { command.pre_exec(lock_8_mib) };
    });
    let anyway = Machine::unrestricted().doctor(dir.path());
    // This user may not make a file there: one that is there is looked at.
    let doctor = machine.doctor(dir.path());
    if let Some(why) = doctor.why("backend") {
        skipped!("unprivileged users have no io_uring here: {why}");
    }
    let lost = ["pool kept resident", "registered buffers"];
    doctor.lost(&lost, &anyway);
    for (name, call) in lost.into_iter().zip(["mlock", "io_uring_register"]) {
        let row = doctor.row(name);
        let named = "Cannot allocate memory (os error 12); locked-memory limit 8192 KiB";
        assert_eq!(row.why, format!("{call}: {named}"));
        for remedy in ["ulimit -l", "LimitMEMLOCK=", "--ulimit memlock="] {
            assert!(row.fix.contains(remedy), "{row:?}");
        }
    }
    assert_eq!(machine.verify(&model), ["io_uring", "pread", "mmap"]);
}

fn lock_8_mib() -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: 8 << 20,
        rlim_max: 8 << 20,
    };
    // SAFETY: the limit is a valid rlimit.
    match unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn without_huge_pages_both_kinds_are_named_with_what_stands_in_their_way() {
    let _switch = left_alone();
    let (dir, model) = model_on_disk();
    let machine = Machine::filtered(seccomp::without_explicit_huge_pages()).and(|command| {
        // SAFETY: `no_transparent_ones` makes one system call.
        unsafe { command.pre_exec(no_transparent_ones) };
    });
    let anyway = Machine::unrestricted().doctor(dir.path());
    let doctor = machine.doctor(dir.path());
    doctor.lost(&["huge pages"], &anyway);
    let row = doctor.row("huge pages");
    assert_eq!(row.requested, "explicit or transparent ones");
    assert_eq!(row.granted, "plain pages");
    doctor.prints(row);
    for cause in [
        "explicit: mmap: Cannot allocate memory (os error 12)",
        "PR_SET_THP_DISABLE",
    ] {
        assert!(row.why.contains(cause), "{row:?}");
    }
    assert!(row.fix.contains("`sysctl vm.nr_hugepages=N`"), "{row:?}");
    assert_eq!(machine.verify(&model).len(), 3);
}

/// For this process and what it executes (prctl(2)).
fn no_transparent_ones() -> io::Result<()> {
    // SAFETY: PR_SET_THP_DISABLE takes integers.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
