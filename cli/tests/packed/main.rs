//! Packed fields on the command line: made, unpacked, verified, looked at, and taken for the models that they are.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod damage;
mod inspecting;
#[path = "../made/mod.rs"]
mod made;
mod measuring;
mod packing;
mod routing;
mod running;

use std::path::Path;
use std::process::{Command, Output};

/// Runs `ringfield` in `dir`.
fn ringfield(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfield"))
        .current_dir(dir)
        .args(arguments)
        .output()
        .expect("it runs")
}

/// What it prints where all is well.
#[track_caller]
fn text(dir: &Path, arguments: &[&str]) -> String {
    let output = ringfield(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn json(dir: &Path, arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&text(dir, &[arguments, &["--json"]].concat())).expect("one JSON document")
}

/// The one line that says why it did not work.
#[track_caller]
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = ringfield(dir, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// The names of all that is in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Changes a byte of a file.
fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x20], at).expect("written");
}
