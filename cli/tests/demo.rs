//! `ringfield demo`: verified reads, and nothing left behind, however it ends.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("ringfield"));
    command
        .current_dir(dir)
        .args(["demo", "--budget", "64MiB"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn report(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 9);
    for row in rows {
        assert_eq!(row["wrong"], 0, "{row}");
        assert!(
            row["reads"].as_u64().is_some_and(|reads| reads > 0),
            "{row}"
        );
        assert!(
            row["peak_memory_bytes"]
                .as_u64()
                .is_some_and(|bytes| bytes > 0),
            "{row}"
        );
    }
    if report["memory_limit"]["bytes"].is_null() {
        println!("SKIPPED: memory limit: {}", report["memory_limit"]["why"]);
    } else {
        let limit = report["memory_limit"]["bytes"].as_u64().expect("a number");
        assert!(
            rows.iter()
                .all(|row| row["peak_memory_bytes"].as_u64() <= Some(limit))
        );
    }
    report
}

/// Control groups of `pid` that are still there.
fn groups(pid: u32) -> Vec<String> {
    let name = format!("ringfield-demo-{pid}");
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-name", &name])
        .output();
    found.map_or_else(
        |_| Vec::new(),
        |found| {
            String::from_utf8_lossy(&found.stdout)
                .lines()
                .map(str::to_owned)
                .collect()
        },
    )
}

#[test]
fn every_read_is_right_and_nothing_is_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let child = command(dir.path(), &["--size", "96MiB", "--time", "0.1", "--json"])
        .spawn()
        .expect("it starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("it ends");
    let report = report(&output);
    assert_eq!(
        (report["made"].as_bool(), report["file_bytes"].as_u64()),
        (Some(true), Some(96 << 20))
    );
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    assert_eq!(groups(pid), [""; 0]);
}

#[test]
fn a_foreign_file_of_odd_length_is_read_to_its_end_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let model = dir.path().join("model.gguf");
    let bytes: Vec<u8> = (0..(3_u32 << 20) + 77)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as u8)
        .collect();
    fs::write(&model, &bytes).expect("written");
    let output = command(
        dir.path(),
        &["--model", "model.gguf", "--time", "0.1", "--json"],
    )
    .output()
    .expect("it runs");
    let report = report(&output);
    assert_eq!(report["region_bytes"].as_u64(), Some(bytes.len() as u64));
    assert!(
        report["notes"][0]
            .as_str()
            .is_some_and(|note| note.contains("fits into the budget"))
    );
    let sequential = report["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["workload"] == "sequential");
    assert!(sequential.into_iter().all(|row| row["reads"] == 4));
    assert_eq!(fs::read(&model).expect("still there"), bytes);
}

#[test]
fn the_table_has_no_escape_codes_where_no_terminal_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = command(dir.path(), &["--size", "32MiB", "--time", "0.1"])
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for expected in [
        "random 4 KiB",
        "sequential 1 MiB",
        "bursts of 24 × 1 MiB",
        "Next:",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!text.contains('\x1b') && output.stderr.is_empty());
}

/// Interrupts a demo once `ready` and checks that it cleaned up.
fn interrupt(arguments: &[&str], signal: &str, ready: impl Fn(&Path) -> bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let child = command(dir.path(), arguments).spawn().expect("it starts");
    let pid = child.id();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ready(dir.path()) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "ringfield: interrupted\n"
    );
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    assert_eq!(groups(pid), [""; 0]);
}

fn made_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[test]
fn interrupted_while_making_its_file_it_removes_the_file() {
    interrupt(&["--size", "2GiB", "--time", "0.1"], "INT", |dir| {
        made_bytes(dir) > 0
    });
}

#[test]
fn terminated_while_measuring_it_removes_the_file_and_the_group() {
    let full = 32 << 20;
    interrupt(&["--size", "32MiB", "--time", "5"], "TERM", |dir| {
        let ready = made_bytes(dir) == full;
        if ready {
            thread::sleep(Duration::from_millis(300));
        }
        ready
    });
}

#[test]
fn a_killed_worker_fails_the_demo_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let child = command(dir.path(), &["--size", "32MiB", "--time", "5"])
        .spawn()
        .expect("it starts");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let deadline = Instant::now() + Duration::from_secs(30);
    let worker = loop {
        let workers = fs::read_to_string(&children).unwrap_or_default();
        if let Some(worker) = workers.split_whitespace().next() {
            break worker.to_owned();
        }
        assert!(Instant::now() < deadline, "no worker was started");
        thread::sleep(Duration::from_millis(5));
    };
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -KILL {worker}")])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8_lossy(&output.stderr);
    assert!(line.contains("was killed"), "{line}");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
}
