//! `ringfield gguf` and `ringfield safetensors`.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// On the disk of the build directory: direct I/O is not to be had everywhere in /tmp.
fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn ringfield(arguments: &[&str], model: &Path) -> Output {
    Command::cargo_bin("ringfield")
        .expect("the binary is built")
        .args(arguments)
        .arg(model)
        .output()
        .expect("it runs")
}

fn json(output: &Output) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A GGUF file of a name with an escape character, an array, a number, and a tensor of 300 000 F32.
fn gguf(dir: &Path) -> PathBuf {
    let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
    bytes.extend([1u64.to_le_bytes(), 3u64.to_le_bytes()].concat());
    for (key, kind, value) in [
        ("general.name", 8u32, string("\u{1b}[2Jloud")),
        (
            "words",
            9,
            [
                &8u32.to_le_bytes()[..],
                &2u64.to_le_bytes(),
                &string("a"),
                &string("b"),
            ]
            .concat(),
        ),
        ("epsilon", 6, 1e-5f32.to_le_bytes().to_vec()),
    ] {
        bytes.extend(string(key));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }
    bytes.extend(string("weight"));
    bytes.extend(2u32.to_le_bytes());
    bytes.extend([300u64.to_le_bytes(), 1000u64.to_le_bytes()].concat());
    bytes.extend([0; 4]);
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend((0..300_000u32).flat_map(u32::to_le_bytes));
    let path = dir.join("model.gguf");
    fs::write(&path, bytes).expect("written");
    path
}

fn safetensors(dir: &Path) -> PathBuf {
    let header = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[200000],"data_offsets":[0,200000]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..200_000u32).map(|n| n as u8));
    let path = dir.join("model.safetensors");
    fs::write(&path, bytes).expect("written");
    path
}

#[test]
fn a_listing_names_what_is_in_a_gguf_file_and_cannot_command_the_terminal() {
    let dir = dir();
    let model = gguf(dir.path());
    let listing = json(&ringfield(&["gguf", "list", "--json"], &model));
    assert_eq!(listing["version"], 3);
    assert_eq!(listing["metadata"][0]["value"], "\u{1b}[2Jloud");
    assert_eq!(listing["metadata"][1]["type"], "array of string");
    assert_eq!(listing["metadata"][1]["len"], 2);
    assert_eq!(listing["metadata"][2]["value"], 1e-5);
    let tensor = &listing["tensors"][0];
    assert_eq!(
        (&tensor["name"], &tensor["type"]),
        (&"weight".into(), &"F32".into())
    );
    assert_eq!(tensor["shape"], serde_json::json!([300, 1000]));
    assert_eq!(tensor["bytes"], 1_200_000);
    assert_eq!(tensor["offset"], listing["files"][0]["data_offset"]);

    let table = ringfield(&["gguf", "list"], &model);
    let text = String::from_utf8(table.stdout).expect("text");
    assert!(
        text.contains("300 × 1000") && text.contains("[2Jloud"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn every_backend_reads_a_model_right_and_gives_the_same_sum() {
    let dir = dir();
    for (format, model) in [
        ("gguf", gguf(dir.path())),
        ("safetensors", safetensors(dir.path())),
    ] {
        let rows = json(&ringfield(
            &[format, "verify", "--json", "--dram", "8MiB"],
            &model,
        ));
        let rows = rows.as_array().expect("rows");
        assert_eq!(rows.len(), 3, "{rows:?}");
        for row in rows {
            assert_eq!(row["wrong"], serde_json::json!([]));
            assert_eq!(row["sha256"], rows[0]["sha256"]);
            assert_eq!(row["tensors"], 1);
            assert!(row["pinned_bytes"].as_u64() <= Some(8 << 20));
        }
    }
}

#[test]
fn a_safetensors_file_is_listed() {
    let dir = dir();
    let listing = json(&ringfield(
        &["safetensors", "list", "--json"],
        &safetensors(dir.path()),
    ));
    assert_eq!(listing["metadata"][0]["key"], "format");
    assert_eq!(listing["tensors"][0]["shape"], serde_json::json!([200_000]));
    assert!(listing.get("version").is_none());
}

#[test]
fn a_file_of_another_format_is_one_line_that_names_it() {
    let dir = dir();
    for (format, model) in [
        ("safetensors", gguf(dir.path())),
        ("gguf", safetensors(dir.path())),
    ] {
        for action in ["list", "verify"] {
            let output = ringfield(&[format, action], &model);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let text = String::from_utf8(output.stderr).expect("text");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(
                text.contains("not a valid") && text.contains("model."),
                "{text}"
            );
        }
    }
}
