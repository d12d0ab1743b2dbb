//! A job file through `ringfield bench`, and its report.

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
