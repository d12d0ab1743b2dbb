//! What every command promises: exit statuses, one clear line for an error, no escape codes.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used)]

use std::fs;
use std::process::Output;

use assert_cmd::Command;

fn ringfield(arguments: &[&str]) -> Output {
    Command::cargo_bin("ringfield")
        .expect("the binary is built")
        .args(arguments)
        .output()
        .expect("it runs")
}

fn error_line(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in [
        &[][..],
        &["serve"],
        &["bench"],
        &["bench", "j.fio", "--rounds", "4"],
        &["bench", "j.fio", "--page-size", "many"],
        &["bench", "j.fio", "--compare", "dd"],
        &["demo", "--budget", "1XB"],
        &["demo", "--time", "-1"],
        &["doctor", "a", "b"],
    ] {
        let output = ringfield(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_exit_with_0() {
    for argument in ["--help", "--version"] {
        let output = ringfield(&[argument]);
        assert_eq!(output.status.code(), Some(0));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("demo-worker"));
    }
}

#[test]
fn errors_are_one_line_that_names_the_thing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("verify.fio"), "[global]\ndirect=1\n[j]\nverify=md5\n").expect("written");
    fs::write(path("sizeless.fio"), "[j]\nrw=read\n").expect("written");
    fs::write(path("buffered.fio"), "[j]\ndirect=0\n").expect("written");
    fs::write(path("tiny"), "x").expect("written");
    fs::write(path("huge.fio"), "[j]\nsize=1g\n").expect("written");

    let cases: &[(&[&str], &str)] = &[
        (
            &["bench", &path("absent.fio")],
            "absent.fio: No such file or directory (os error 2)",
        ),
        (
            &["bench", &path("verify.fio")],
            "verify.fio:4: option 'verify' is not implemented yet",
        ),
        (
            &["bench", &path("sizeless.fio")],
            "job [j] has no size in bytes to make it with (or give --file)",
        ),
        (
            &["bench", &path("buffered.fio"), "--file", &path("tiny")],
            "direct=0 is not implemented",
        ),
        (
            &["bench", &path("huge.fio"), "--file", &path("tiny")],
            "tiny has 1 B, job [j] reads 1 GiB",
        ),
        (
            &["bench", &path("huge.fio"), "--file", &path("")],
            "neither a regular file nor a block",
        ),
        (&["demo", "--budget", "1MiB"], "--budget 1 MiB is too small"),
        (&["demo", "--size", "64KiB"], "--size 64 KiB is too small"),
        (
            &["demo", "--model", &path("tiny")],
            "tiny has 1 B; the demo reads pieces of 1 MiB",
        ),
        (
            &["demo", "--model", &path("absent")],
            "absent: No such file or directory (os error 2)",
        ),
        (
            &["demo", "--model", "/dev/null"],
            "/dev/null is not a regular file",
        ),
        (
            &["demo", "--dir", &path("absent")],
            "absent: No such file or directory (os error 2)",
        ),
        (
            &["demo", "--dir", &path(""), "--size", "1000T"],
            "free, the file needs 1000 TiB",
        ),
    ];
    for (arguments, expected) in cases {
        let line = error_line(&ringfield(arguments));
        assert!(
            line.starts_with("ringfield: ") && line.contains(expected),
            "{line}"
        );
    }
}

#[test]
fn a_pipe_as_input_is_refused_without_waiting() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        return println!("SKIPPED: mkfifo cannot be run");
    }
    let job = dir.path().join("j.fio").display().to_string();
    fs::write(&job, "[j]\nrw=read\n").expect("written");
    let cases: &[&[&str]] = &[
        &["bench", &pipe],
        &["bench", &job, "--file", &pipe],
        &["demo", "--model", &pipe],
    ];
    for arguments in cases {
        let output = Command::cargo_bin("ringfield")
            .expect("the binary is built")
            .args(*arguments)
            .timeout(std::time::Duration::from_secs(20))
            .output()
            .expect("it runs");
        error_line(&output);
    }
}
