//! `ringfield kernels`: what it prints, and what it refuses.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used)]

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringfield::kernels::{Isa, Kernels, RowFormat};
use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfield"));
    command.arg("kernels").args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("it runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    serde_json::from_str(&text(&output)).expect("one JSON document")
}

fn number(of: &Value) -> f64 {
    of.as_f64().expect("a number")
}

fn kernels_of(report: &Value) -> Vec<(&str, &str)> {
    let rows = report["kernels"].as_array().expect("an array");
    rows.iter()
        .map(|row| (row["type"].as_str(), row["kernel"].as_str()))
        .map(|(kind, kernel)| (kind.expect("a type"), kernel.expect("a kernel")))
        .collect()
}

#[test]
fn every_type_has_every_kernel_that_it_can_have() {
    let report = json(&["--seconds", "0.01"]);
    let mut expected = Vec::new();
    for format in RowFormat::ALL {
        expected.push((format.name(), "exact"));
        if format.is_packed() {
            expected.push((format.name(), "eight-bit"));
        }
        expected.push((format.name(), "dequantize"));
    }
    assert_eq!(kernels_of(&report), expected);

    let kernels = Kernels::new();
    assert_eq!(report["isa"], kernels.isa().name());
    assert_eq!(report["integers"], kernels.integers());
    for (isa, row) in Isa::ALL
        .into_iter()
        .zip(report["isas"].as_array().expect("an array"))
    {
        assert_eq!(row["isa"], isa.name());
        assert_eq!(row["available"], isa.is_available());
    }
}

#[test]
fn rates_agree_with_each_other() {
    let report = json(&["--seconds", "0.02", "--type", "q8_0,f32"]);
    let reads = report["reads"].as_array().expect("an array");
    assert_eq!(reads.len(), 4);
    let checksums = report["checksums"].as_array().expect("an array").iter();
    let pages: Vec<&Value> = checksums.map(|row| &row["page_bytes"]).collect();
    assert_eq!(pages, [&Value::from(4096), &Value::from(262_144)]);
    for matrix in ["l2", "dram"] {
        let most = number(&report["read_gb_per_s"][matrix]);
        let rates = reads.iter().map(|read| number(&read["gb_per_s"][matrix]));
        assert_eq!(rates.fold(0.0, f64::max), most);
        for row in report["kernels"].as_array().expect("an array") {
            let rate = number(&row["gb_per_s"][matrix]);
            assert!(rate > 0.0, "{row}");
            assert!(
                (number(&row["share"][matrix]) * most / rate - 1.0).abs() < 1e-9,
                "{row}"
            );
            // Bytes of 32 weights.
            let bytes = if row["type"] == "F32" { 128.0 } else { 34.0 };
            match &row["gflop_per_s"] {
                Value::Null => assert_eq!(row["kernel"], "dequantize"),
                flops => {
                    assert!((number(&flops[matrix]) / (rate * 64.0 / bytes) - 1.0).abs() < 1e-9);
                }
            }
        }
        for row in report["checksums"].as_array().expect("an array") {
            let rate = number(&row["gb_per_s"][matrix]);
            assert!(rate > 0.0, "{row}");
            assert!(
                (number(&row["share"][matrix]) * most / rate - 1.0).abs() < 1e-9,
                "{row}"
            );
        }
        assert!(number(&report["matrix_bytes"][matrix]) >= 65536.0);
    }
}

#[test]
fn one_type_on_one_instruction_set_is_all_that_is_printed_if_asked_for() {
    let arguments = ["--seconds", "0.01", "--type", "q4_0", "--isa", "Scalar"];
    let report = json(&arguments);
    let kernels = [
        ("Q4_0", "exact"),
        ("Q4_0", "eight-bit"),
        ("Q4_0", "dequantize"),
    ];
    assert_eq!(kernels_of(&report), kernels);
    assert_eq!(
        (&report["isa"], &report["integers"]),
        (&"scalar".into(), &"scalar".into())
    );

    let text = text(&run(&arguments));
    assert!(text.starts_with("instruction set scalar (here: "), "{text}");
    assert!(
        text.contains("eight-bit products by scalar; 1 thread\n"),
        "{text}"
    );
    assert_eq!(text.matches("Q4_0").count(), 1, "{text}");
    assert!(
        !text.contains("Q4_1") && !text.contains("F32") && !text.contains('\x1b'),
        "{text}"
    );
    for head in [
        "only reading, GB/s",
        "XXH3 checksum",
        "256 KiB pages",
        "L2: GB/s",
        "DRAM: GB/s",
        "GFLOP/s",
        "of reading",
    ] {
        assert!(text.contains(head), "{text}");
    }
    assert_eq!(
        text.matches("best ").count(),
        3,
        "one of each matrix, and the line below: {text}"
    );
}

#[test]
fn two_threads_have_a_matrix_each() {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return println!("SKIPPED: this program may use one processor only");
    }
    let arguments = ["--seconds", "0.01", "--type", "F16"];
    let one = json(&arguments);
    let two = json(&[&arguments[..], &["--threads", "2"]].concat());
    assert_eq!((&one["threads"], &two["threads"]), (&1.into(), &2.into()));
    let bytes = |report: &Value, matrix| number(&report["matrix_bytes"][matrix]);
    assert_eq!(bytes(&one, "l2"), bytes(&two, "l2"));
    assert_eq!(bytes(&one, "dram"), 2.0 * bytes(&two, "dram"));
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    for (arguments, expected) in [
        (["--isa", "mmx"], "[possible values: avx512, "),
        (["--type", "Q4_K_M"], "[possible values: F32, "),
        (["--type", "Q4_K,"], "[possible values: F32, "),
        (["--threads", "0"], "0 is not in 1.."),
        (["--seconds", "0"], "a number of seconds from 0.01"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(arguments[0]) && said.contains(expected),
            "{said}"
        );
    }
    let absent = Isa::ALL.into_iter().find(|isa| !isa.is_available());
    let absent = absent.expect("no processor has all").name();
    for (arguments, expected) in [
        (["--isa", absent], "name one that it has: "),
        (["--threads", "60000"], "give at most as many"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let begins = format!("ringfield: {} {}: ", arguments[0], arguments[1]);
        assert!(
            said.starts_with(&begins) && said.contains(expected),
            "{said}"
        );
        assert!(
            output.stdout.is_empty() && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn an_interrupt_ends_it_within_a_long_measurement() {
    let child = command(&["--seconds", "100"]).spawn().expect("it starts");
    // The handler is there before anything is measured.
    thread::sleep(Duration::from_secs(1));
    let interrupted = Instant::now();
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -INT {}", child.id())])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("it ends");
    assert!(interrupted.elapsed() < Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (&*said, &*output.stdout),
        ("ringfield: interrupted\n", &b""[..])
    );
}
