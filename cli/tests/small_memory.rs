//! Commands whose budget is their own choice, under a memory limit that is smaller than what they would like.
#![cfg(test)]

#[path = "../../tests/child/mod.rs"]
mod child;
#[path = "../../tests/memory_group/mod.rs"]
mod memory_group;
mod restricted;
#[path = "../../tests/seccomp/mod.rs"]
mod seccomp;

use child::skipped;
use memory_group::MemoryGroup;
use restricted::{Machine, model_on_disk, succeeded};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// In a group of its own for each command.
fn limited(group: &MemoryGroup) -> Machine {
    let group = group.path().to_owned();
    Machine::that(move |command| {
        let mut entrance = MemoryGroup::entrance(&group);
        // SAFETY: one write, which allocates nothing.
        unsafe { command.pre_exec(move || entrance.write_all(b"0")) };
    })
}

#[test]
fn the_doctor_sees_the_same_under_a_small_memory_limit() {
    let (dir, _) = model_on_disk();
    let anyway = Machine::unrestricted().doctor(dir.path());
    for (limit, shown) in [
        (48 << 20, "48 MiB"),
        (32 << 20, "32 MiB"),
        (16 << 20, "16 MiB"),
    ] {
        let group = match MemoryGroup::new(limit) {
            Ok(group) => group,
            Err(why) => skipped!("{why}"),
        };
        let doctor = limited(&group).doctor(dir.path());
        doctor.lost(&[], &anyway);
        let row = doctor.row("memory limit");
        assert_eq!(row.granted, format!("{shown} for this control group"));
    }
}

#[test]
fn models_are_listed_and_verified_under_a_small_memory_limit() {
    let (_dir, model) = model_on_disk();
    for limit in [30 << 20, 15 << 20] {
        let group = match MemoryGroup::new(limit) {
            Ok(group) => group,
            Err(why) => skipped!("{why}"),
        };
        let machine = limited(&group);
        let run = |action: &str, path: &Path| {
            succeeded(&machine.run(&["safetensors", action], path).unwrap())
        };
        assert!(run("list", &model).contains("300000"));
        assert_eq!(run("verify", &model).matches(" right").count(), 3);
    }
}

#[test]
fn a_limit_that_no_pool_fits_is_an_error_that_says_what_is_needed() {
    let (_dir, model) = model_on_disk();
    let group = match MemoryGroup::new(6 << 20) {
        Ok(group) => group,
        Err(why) => skipped!("{why}"),
    };
    let machine = limited(&group);
    for action in ["list", "verify"] {
        let output = machine.run(&["safetensors", action], &model).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("bytes are needed") && error.lines().count() == 1,
            "{error}"
        );
    }
}
