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

/// Runs `gguf tensor` of `dir`'s model, to `weight.f32` there.
fn tensor(dir: &Path, name: &str) -> Output {
    Command::cargo_bin("ringfield")
        .expect("the binary is built")
        .args(["gguf", "tensor", "model.gguf", name, "--out", "weight.f32"])
        .current_dir(dir)
        .output()
        .expect("it runs")
}

#[test]
fn a_tensor_is_written_as_floats_and_replaces_what_was_there() {
    let dir = dir();
    let bytes = fs::read(gguf(dir.path())).expect("read");
    let out = dir.path().join("weight.f32");
    fs::write(&out, "something else").expect("written");
    let output = tensor(dir.path(), "weight");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let written = fs::read(&out).expect("read");
    assert_eq!(written, bytes[bytes.len() - 1_200_000..]);
    let files = fs::read_dir(dir.path()).expect("a directory").count();
    assert_eq!(files, 2, "the model and its tensor");
}

#[test]
fn a_tensor_that_cannot_be_written_is_one_line_and_leaves_what_was_there() {
    let dir = dir();
    let model = gguf(dir.path());
    let out = dir.path().join("weight.f32");
    fs::write(&out, "something else").expect("written");
    let fails = |name: &str, why: &str| {
        let output = tensor(dir.path(), name);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(why) && !text.contains('\u{1b}'), "{text}");
        assert_eq!(fs::read(&out).expect("read"), b"something else");
        let files = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(files, 2, "the model and what was there");
    };
    fails("wei\u{1b}ght", "`ringfield gguf list model.gguf`");
    // Integers are no rows of a matrix: type 26 is I32.
    let mut bytes = fs::read(&model).expect("read");
    let data = bytes.len() - 1_200_000;
    let kind = (0..data)
        .rev()
        .find(|&at| bytes[at..].starts_with(&1000u64.to_le_bytes()))
        .expect("the second dimension")
        + 8;
    bytes[kind] = 26;
    fs::write(&model, &bytes).expect("written");
    fails("weight", "`weight` is I32");
    // Cut off: the header says more than there is.
    fs::write(&model, &bytes[..bytes.len() - 1]).expect("written");
    fails("weight", "model.gguf");
    fs::remove_file(&out).expect("removed");
    fs::create_dir(&out).expect("made");
    let output = tensor(dir.path(), "weight");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("weight.f32: it is not a file"), "{text}");
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
