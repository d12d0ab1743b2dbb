//! A job file through `ringfield bench`, and its report.
#![allow(dead_code)]

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

pub(crate) fn bench(dir: &Path, job: &str, arguments: &[&str]) -> Output {
    fs::write(dir.join("job.fio"), job).expect("written");
    Command::cargo_bin("ringfield")
        .expect("the binary is built")
        .current_dir(dir)
        .args(["bench", "job.fio"])
        .args(arguments)
        .output()
        .expect("it runs")
}

pub(crate) fn report(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

pub(crate) fn names(of: &Value) -> Vec<&str> {
    of.as_array()
        .expect("an array")
        .iter()
        .filter_map(|row| row["engine"].as_str())
        .collect()
}

/// Says which engines were left out; fails where that is no fault of this machine. An fio that takes no option of the
/// job, or fails as it reads, was called wrongly.
#[track_caller]
pub(crate) fn skip_omitted(report: &Value) -> Vec<&str> {
    for omitted in report["omitted"].as_array().expect("an array") {
        let why = omitted["why"].as_str().expect("a reason");
        let huge_pages = omitted["engine"] == "fio-hugepages";
        let no_fio = why.starts_with("fio is not") || why.contains("io_queue_init");
        assert!(huge_pages || no_fio, "{omitted}");
        println!("SKIPPED: {}: {why}", omitted["engine"]);
    }
    names(&report["omitted"])
}
