//! `ringfield run` and `ringfield plan` on the two real models, where they are there.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const MODELS: [&str; 2] = [
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma-3-270m-q4_k_m.gguf",
];

fn ringfield(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfield"))
        .args(arguments)
        .output()
        .unwrap()
}

fn model(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: models/{name} is not here: scripts/get-models.sh takes it");
    None
}

/// The last line of `--json`.
fn last_line(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn the_text_is_the_same_in_every_budget_and_the_numbers_add_up() {
    for name in MODELS {
        let Some(path) = model(name) else { return };
        let path = path.to_str().unwrap();
        let mut texts = Vec::new();
        for (dram, backend) in [("24MiB", "auto"), ("100MiB", "pread"), ("400MiB", "auto")] {
            let output = ringfield(&[
                "run",
                path,
                "--dram",
                dram,
                "--backend",
                backend,
                "-p",
                "The capital of France is",
                "-n",
                "8",
                "--json",
            ]);
            let done = last_line(&output);
            let text = String::from_utf8(output.stdout).unwrap();
            let pieces: String = text
                .lines()
                .rev()
                .skip(1)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .map(|line| {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    line["text"].as_str().unwrap().to_owned()
                })
                .collect();
            assert_eq!(done["text"], pieces);
            assert_eq!(done["tokens"].as_array().unwrap().len(), 8);
            assert!(
                done["tok_per_s"].as_f64().unwrap() > 0.0
                    && done["prompt_tok_per_s"].as_f64().unwrap() > 0.0
            );
            let (read, hits) = (
                done["bytes_read"].as_u64().unwrap(),
                done["hit_share"].as_f64().unwrap(),
            );
            assert!(read > 0 && (0.0..=1.0).contains(&hits));
            let token = |percentile: &str| done[percentile].as_f64().unwrap();
            let (median, most) = (token("token_p50_ms"), token("token_p99_ms"));
            assert!(0.0 < median && median <= most, "{median} {most}");
            let peak = done["peak_bytes"].as_u64().unwrap();
            let budget = done["dram_bytes"].as_u64().unwrap();
            if dram == "24MiB" {
                assert!(peak < budget + (32 << 20), "{name}: {peak} bytes");
                assert!(hits < 0.3);
            }
            if dram == "400MiB" {
                assert_eq!(hits, 1.0, "all of it is in memory");
            }
            texts.push(done["text"].as_str().unwrap().to_owned());
        }
        assert!(texts.iter().all(|text| text == &texts[0]), "{texts:?}");
        assert!(texts[0].len() > 5, "{texts:?}");
    }
}

#[test]
fn activations_of_eight_bits_are_the_default() {
    let Some(path) = model(MODELS[0]) else { return };
    let path = path.to_str().unwrap();
    let text = |more: &[&str]| {
        let prompt = ["-p", "The capital of France is", "-n", "80", "--json"];
        let all = [&["run", path], &prompt[..], more].concat();
        let done = last_line(&ringfield(&all));
        done["text"].as_str().unwrap().to_owned()
    };
    let eight_bit = text(&["--arithmetic", "eight-bit"]);
    assert!(eight_bit.starts_with(" Paris"), "{eight_bit}");
    assert_eq!(eight_bit, text(&["--dram", "24MiB"]));
    assert_ne!(eight_bit, text(&["--arithmetic", "exact"]));
    assert_eq!(eight_bit, text(&["--warm-up"]));
    let unknown = ringfield(&["run", path, "-p", "x", "--arithmetic", "four-bit"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_message_is_answered_in_the_form_that_the_model_knows() {
    let Some(path) = model(MODELS[0]) else { return };
    let path = path.to_str().unwrap();
    let output = ringfield(&[
        "run",
        path,
        "--chat",
        "-p",
        "Say hello.",
        "-n",
        "24",
        "--json",
    ]);
    let done = last_line(&output);
    // The system's message and the user's, in marks.
    assert!(done["prompt_tokens"].as_u64().unwrap() > 20);
    assert!(!done["text"].as_str().unwrap().contains("<|im_"), "{done}");
}

#[test]
fn a_full_context_ends_the_text() {
    let Some(path) = model(MODELS[0]) else { return };
    let path = path.to_str().unwrap();
    let done = last_line(&ringfield(&[
        "run", path, "-p", "One two", "--ctx", "6", "-n", "50", "--json",
    ]));
    assert_eq!(done["finish"], "context");
    let refused = ringfield(&[
        "run",
        path,
        "-p",
        "One two three four five six",
        "--ctx",
        "3",
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("3 tokens")
    );
}

#[test]
fn ctrl_c_ends_the_text_at_once_and_says_so() {
    let Some(path) = model(MODELS[1]) else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfield"))
        .args([
            "run",
            path.to_str().unwrap(),
            "--dram",
            "24MiB",
            "-p",
            "Once",
            "-n",
            "4000",
            "--ctx",
            "3000",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let interrupted = Instant::now();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert!(interrupted.elapsed() < Duration::from_secs(5));
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("tokens at") && said.contains("interrupted"),
        "{said}"
    );
}

#[test]
fn ctrl_c_ends_a_plan_and_a_model_that_is_still_being_read() {
    let Some(path) = model(MODELS[1]) else { return };
    let path = path.to_str().unwrap();
    for arguments in [
        &["plan", path, "--dram", "24MiB", "--time", "60"][..],
        &["run", path, "-p", "Once", "-n", "100000", "--kv", "4GiB"],
    ] {
        for after_ms in [5, 60, 300] {
            let child = Command::new(env!("CARGO_BIN_EXE_ringfield"))
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(after_ms));
            let interrupted = Instant::now();
            let pid = child.id().to_string();
            let sent = Command::new("kill").args(["-INT", &pid]).status();
            assert!(sent.unwrap().success());
            let output = child.wait_with_output().unwrap();
            assert!(interrupted.elapsed() < Duration::from_secs(5));
            let said = String::from_utf8(output.stderr).unwrap();
            // As a shell reports it, or the signal itself where it was not waited for yet.
            match output.status.code() {
                Some(status) => assert!(status == 130 && said.contains("interrupted"), "{said}"),
                None => assert!(after_ms == 5),
            }
        }
    }
}

#[test]
fn all_of_a_model_stays_where_nobody_says_how_much() {
    for name in MODELS {
        let Some(path) = model(name) else { return };
        for page in ["4KiB", "64KiB", "1MiB"] {
            let path = path.to_str().unwrap();
            let plan = ringfield(&["plan", path, "--page-size", page, "--time", "1", "--json"]);
            assert!(plan.status.success(), "{plan:?}");
            let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
            assert_eq!(plan["streamed_bytes"], 0, "{name}, pages of {page}");
        }
        let path = path.to_str().unwrap();
        let refused = ringfield(&["plan", path, "--page-size", "8388608T"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
}

#[test]
fn a_text_is_scored_chunk_by_chunk() {
    let Some(path) = model(MODELS[0]) else { return };
    let path = path.to_str().unwrap();
    let text = tempfile::NamedTempFile::new().unwrap();
    let file = text.path().to_str().unwrap();
    std::fs::write(
        file,
        "One two three four five six seven eight nine ten. ".repeat(20),
    )
    .unwrap();
    let scored = |arguments: &[&str]| -> serde_json::Value {
        let output = ringfield(&[&["perplexity", path, file, "--json"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let all = scored(&["--ctx", "40", "--arithmetic", "exact"]);
    let chunks = all["chunks"].as_u64().unwrap();
    assert!(chunks >= 5 && all["tokens"] == 19 * chunks, "{all}");
    // It says the same again and again.
    let value = |scored: &serde_json::Value| scored["perplexity"].as_f64().unwrap();
    assert!((1.0..2.0).contains(&value(&all)), "{all}");
    let eight_bit = scored(&["--ctx", "40", "--dram", "24MiB"]);
    let ratio = value(&eight_bit) / value(&all);
    assert!(ratio != 1.0 && (ratio - 1.0).abs() < 0.02, "{eight_bit}");
    assert_eq!(scored(&["--ctx", "40", "--chunks", "2"])["tokens"], 38);
    let short = ringfield(&["perplexity", path, file]);
    assert_eq!(short.status.code(), Some(1));
    assert!(String::from_utf8(short.stderr).unwrap().contains("--ctx"));
}

#[test]
fn what_cannot_be_run_is_one_line_that_says_why() {
    let missing = ringfield(&["run", "no-such.gguf", "-p", "x"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(ringfield(&["run", "no-such.gguf"]).status.code(), Some(2));
    let Some(path) = model(MODELS[0]) else { return };
    let path = path.to_str().unwrap();
    for (arguments, says) in [
        (&["--dram", "1MiB"][..], "at least"),
        (&["--kv", "1KiB"], "kv_budget"),
    ] {
        let output = ringfield(&[&["run", path, "-p", "x"], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_plan_says_what_stays_and_what_is_read() {
    for name in MODELS {
        let Some(path) = model(name) else { return };
        let path = path.to_str().unwrap();
        let output = ringfield(&["plan", path, "--dram", "48MiB", "--time", "1", "--json"]);
        assert!(output.status.success(), "{output:?}");
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |name: &str| plan[name].as_u64().unwrap();
        assert!(
            of("resident_bytes") < of("dram_bytes") && of("resident_bytes") > of("dram_bytes") / 2
        );
        assert!(of("streamed_bytes") > of("resident_bytes") / 2);
        assert!(of("beside_bytes") < 16 << 20);
        // How near it comes is measured on a machine that does nothing else; here it is no nonsense.
        let run = last_line(&ringfield(&[
            "run", path, "--dram", "48MiB", "-p", "Once", "-n", "24", "--json",
        ]));
        let ratio =
            plan["predicted_tok_per_s"].as_f64().unwrap() / run["tok_per_s"].as_f64().unwrap();
        assert!((0.25..4.0).contains(&ratio), "{plan} but {run}");
    }
}
