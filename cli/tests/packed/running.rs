//! Commands that take models take packed fields.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{json, made, refused, ringfield, text};

/// The tiny model, packed into one file and into two.
fn packed() -> tempfile::TempDir {
    let dir = made::dir();
    made::model(dir.path());
    text(dir.path(), &["pack", "tiny.gguf", "--out", "one.rf"]);
    let two = [
        "pack",
        "tiny.gguf",
        "--out",
        "a.rf",
        "--out",
        "b.rf",
        "--page-size",
        "4KiB",
    ];
    text(dir.path(), &two);
    dir
}

/// What `run --json` says last.
#[track_caller]
fn run(dir: &Path, model: &[&str]) -> Value {
    let prompt = ["-p", "the", "-n", "12", "--dram", "16MiB", "--json"];
    let said = text(dir, &[&["run"], model, &prompt].concat());
    serde_json::from_str(said.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn a_packed_model_goes_on_with_the_same_text() {
    let dir = packed();
    let plain = run(dir.path(), &["tiny.gguf"]);
    assert_eq!(plain["tokens"].as_array().map(Vec::len), Some(12));
    let different: std::collections::HashSet<String> = plain["tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    assert!(
        different.len() > 3,
        "a text that wrong weights would change: {plain}"
    );
    for model in [
        &["one.rf"][..],
        &["one.rf", "--page-size", "256KiB"],
        &["a.rf", "--member", "b.rf"],
        &["b.rf", "--member", "a.rf"],
        &["one.rf", "--arithmetic", "exact"],
    ] {
        let found = run(dir.path(), model);
        assert_eq!(
            (&found["tokens"], &found["text"]),
            (&plain["tokens"], &plain["text"]),
            "{model:?}"
        );
    }
}

#[test]
fn plan_and_perplexity_take_packed_models() {
    let dir = packed();
    let at = dir.path();
    fs::write(at.join("text"), "he then the hen ".repeat(20)).expect("written");
    let scored = |model: &[&str]| {
        json(
            at,
            &[&["perplexity"], model, &["text", "--ctx", "40"]].concat(),
        )
    };
    let plain = scored(&["tiny.gguf"]);
    assert!(plain["perplexity"].as_f64() > Some(1.0), "{plain}");
    assert_eq!(scored(&["one.rf"])["perplexity"], plain["perplexity"]);
    assert_eq!(
        scored(&["a.rf", "--member", "b.rf"])["perplexity"],
        plain["perplexity"]
    );
    let plan = json(at, &["plan", "a.rf", "--member", "b.rf", "--time", "0.1"]);
    assert_eq!(
        plan["streamed_bytes"], 0,
        "all of it stays where nobody says how much: {plan}"
    );
}

#[test]
fn another_size_of_pages_is_told_with_the_fields_own() {
    let dir = packed();
    fs::write(dir.path().join("text"), "x").expect("written");
    for command in [
        &["run", "one.rf", "-p", "x"][..],
        &["plan", "one.rf"],
        &["perplexity", "one.rf", "text"],
        &["gguf", "verify", "one.rf"],
    ] {
        let said = refused(dir.path(), &[command, &["--page-size", "64KiB"]].concat());
        assert!(
            said.contains("--page-size 64 KiB: one.rf was packed with pages of 256 KiB"),
            "{said}"
        );
    }
}

#[test]
fn a_missing_member_is_told_with_the_option_that_names_it() {
    let dir = packed();
    for (arguments, says) in [
        (
            &["run", "a.rf", "-p", "x"][..],
            "a.rf: member 1 of 2 is missing: name its file, with --member FILE",
        ),
        (&["gguf", "list", "b.rf"], "b.rf: member 0 of 2 is missing"),
        (
            &["run", "a.rf", "--member", "one.rf", "-p", "x"],
            "one.rf: ",
        ),
        (
            &["run", "a.rf", "--member", "a.rf", "-p", "x"],
            "a.rf: not of one array with a.rf: it is member 0",
        ),
        (
            &["run", "tiny.gguf", "--member", "b.rf", "-p", "x"],
            "--member b.rf: tiny.gguf is no packed field",
        ),
    ] {
        let said = refused(dir.path(), arguments);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn tensors_are_listed_verified_and_written_as_from_the_model_itself() {
    let dir = packed();
    let at = dir.path();
    made::safetensors(at);
    text(
        at,
        &[
            "pack",
            "model.safetensors",
            "--out",
            "s.rf",
            "--out",
            "t.rf",
            "--page-size",
            "4KiB",
        ],
    );
    for (format, plain, packed) in [
        ("gguf", "tiny.gguf", &["one.rf"][..]),
        ("gguf", "tiny.gguf", &["b.rf", "--member", "a.rf"]),
        (
            "safetensors",
            "model.safetensors",
            &["s.rf", "--member", "t.rf"],
        ),
    ] {
        let list = |model: &[&str]| json(at, &[&[format, "list"], model].concat());
        let tensors = |listing: &Value| -> Vec<(Value, Value, Value, Value)> {
            let rows = listing["tensors"].as_array().expect("an array").iter();
            let keys = |t: &Value| {
                ["name", "type", "shape", "bytes"]
                    .map(|key| t[key].clone())
                    .into()
            };
            rows.map(keys).collect()
        };
        let (own, found) = (list(&[plain]), list(packed));
        assert_eq!(tensors(&own), tensors(&found));
        assert_eq!(own["metadata"], found["metadata"]);
        assert_eq!(found["files"].as_array().map(Vec::len), Some(1));

        let verify = |model: &[&str]| json(at, &[&[format, "verify"], model].concat());
        let own = verify(&[plain])[0]["sha256"].clone();
        for row in verify(packed).as_array().expect("an array") {
            assert_eq!(
                (&row["sha256"], &row["wrong"]),
                (&own, &serde_json::json!([])),
                "{packed:?}"
            );
        }
    }
    let tensor = |model: &[&str], out: &str| {
        text(
            at,
            &[
                &["gguf", "tensor"],
                model,
                &["blk.1.ffn_down.weight", "--out", out],
            ]
            .concat(),
        );
        fs::read(at.join(out)).expect("read")
    };
    let own = tensor(&["tiny.gguf"], "own.f32");
    assert_eq!(own.len(), 96 * 64 * 4);
    assert!(tensor(&["a.rf", "--member", "b.rf"], "packed.f32") == own);
}

#[test]
fn a_field_of_another_format_is_one_line() {
    let dir = packed();
    made::safetensors(dir.path());
    text(dir.path(), &["pack", "model.safetensors", "--out", "s.rf"]);
    assert!(refused(dir.path(), &["run", "s.rf", "-p", "x"]).contains("model.safetensors"));
    assert!(refused(dir.path(), &["safetensors", "list", "one.rf"]).contains("tiny.gguf"));
    assert_eq!(
        ringfield(dir.path(), &["run", "one.rf"]).status.code(),
        Some(2)
    );
}
