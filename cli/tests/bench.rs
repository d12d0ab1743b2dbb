//! `ringfield bench`: what it prints, what it leaves out with a reason, and that it cleans up.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used)]

mod job;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assert_cmd::Command;
use job::{bench, names, report, skip_omitted};
use serde_json::Value;

const JOB: &str = "[global]\nioengine=io_uring\ndirect=1\nfixedbufs=1\nregisterfiles=1\n\
    [randread-4k]\nrw=randread\nbs=4k\niodepth=8\nsize=32m\nruntime=100ms\ntime_based=1\n";

#[test]
fn every_engine_is_a_row_or_has_a_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = report(&bench(dir.path(), JOB, &["--rounds", "1", "--json"]));
    let mut all = names(&report["rows"]);
    for row in report["rows"].as_array().expect("rows") {
        for key in [
            "engine",
            "job",
            "rw",
            "bs",
            "iodepth",
            "iops",
            "bw_bytes",
            "lat_us",
            "cpu_us_per_io",
            "backend",
            "flags",
            "fixed_buffer_share",
            "iowq_threads",
            "spread",
            "rounds",
        ] {
            assert!(row.get(key).is_some(), "{key} in {row}");
        }
        assert_eq!(
            (row["rw"].as_str(), row["bs"].as_u64()),
            (Some("randread"), Some(4096))
        );
        assert!(row["iops"].as_f64().is_some_and(|iops| iops > 0.0), "{row}");
        for quantile in ["p50", "p99", "p999"] {
            assert!(
                row["lat_us"][quantile].as_f64().is_some_and(|us| us > 0.0),
                "{row}"
            );
        }
    }
    skip_omitted(&report);
    all.extend(names(&report["omitted"]));
    all.sort_unstable();
    assert_eq!(
        all,
        [
            "fio",
            "fio-aa",
            "fio-hugepages",
            "mmap",
            "pread",
            "ringfield"
        ]
    );
    let left: Vec<_> = fs::read_dir(dir.path())
        .expect("a directory")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "only the job is left: {left:?}");
}

const SECTIONS: &str = "[global]\nbs=4k\nsize=16m\nfilename=data\nruntime=60ms\ntime_based\n\
    [lone]\nrw=randread\n[large]\nrw=randread\nbs=64k\niodepth=8\nrate_iops=100\n\
    [mixed]\nstonewall\nrw=randread\nbssplit=4k/50:16k\niodepth=4\n\
    [array]\nrw=read\nbsrange=8k-16k\nfilename=data:more\nnumjobs=2\niodepth=4\n";

#[test]
fn every_section_is_a_row_of_every_engine() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = report(&bench(dir.path(), SECTIONS, &["--rounds", "1", "--json"]));
    let omitted = skip_omitted(&report);
    let rows = report["rows"].as_array().expect("rows");
    for engine in [
        "ringfield",
        "fio",
        "fio-hugepages",
        "fio-aa",
        "mmap",
        "pread",
    ] {
        let of: Vec<&Value> = rows.iter().filter(|row| row["engine"] == engine).collect();
        if omitted.contains(&engine) {
            continue;
        }
        let jobs: Vec<_> = of.iter().filter_map(|row| row["job"].as_str()).collect();
        assert_eq!(jobs, ["lone", "large", "mixed", "array"], "{engine}");
        for (row, (bs, bs_max)) in of
            .iter()
            .zip([(4, 4), (64, 64), (4, 16), (8, 16)].map(|(a, b)| (a << 10, b << 10)))
        {
            assert_eq!(
                (row["bs"].as_u64(), row["bs_max"].as_u64()),
                (Some(bs), Some(bs_max))
            );
            let number = |key: &str| row[key].as_f64().expect("a number");
            let mean = number("bw_bytes") / number("iops");
            assert!(
                (bs as f64 * 0.999..bs_max as f64 * 1.001).contains(&mean),
                "{mean} {row}"
            );
        }
        let rate = of[1]["iops"].as_f64().expect("a number");
        assert!(rate < 250.0, "{engine} at {rate}");
    }
    assert_eq!(report["file"], "data:more");
    let left = fs::read_dir(dir.path()).expect("a directory").count();
    assert_eq!(left, 1, "only the job is left");
}

#[test]
fn no_engine_reads_faster_than_the_rate() {
    let dir = tempfile::tempdir().expect("a directory");
    for depth in [1, 4] {
        let job = format!(
            "[j]\nrw=randread\nbs=4k\nsize=8m\nruntime=200ms\ntime_based\nrate_iops=50\niodepth={depth}\n"
        );
        let report = report(&bench(dir.path(), &job, &["--rounds", "1", "--json"]));
        for row in report["rows"].as_array().expect("rows") {
            let rate = row["iops"].as_f64().expect("a number");
            assert!((25.0..51.0).contains(&rate), "{rate} in {row}");
        }
    }
}

#[test]
fn sections_run_together_unless_a_stonewall_parts_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let job = |wall: &str| {
        format!(
            "[global]\nrw=randread\nsize=8m\nruntime=400ms\ntime_based\nfilename=data\n\
             [a]\n[b]\n{wall}[c]\n{wall}"
        )
    };
    for peer in ["pread", "fio"] {
        let arguments = ["--rounds", "1", "--json", "--compare", peer];
        let seconds = |wall| {
            let begin = std::time::Instant::now();
            let report = report(&bench(dir.path(), &job(wall), &arguments));
            skip_omitted(&report);
            // Huge pages may be there now and gone a moment later.
            let rows = names(&report["rows"]);
            let lasting = rows.iter().filter(|engine| **engine != "fio-hugepages");
            (begin.elapsed().as_secs_f64(), lasting.count())
        };
        let (together, rows) = seconds("");
        let (apart, rows_apart) = seconds("stonewall\n");
        assert_eq!(rows, rows_apart);
        assert!(apart > together + 0.8, "{peer}: {together} s, {apart} s");
    }
}

#[test]
fn a_depth_sweep_is_drawn_and_what_is_none_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let sweep = "[global]\nrw=randread\nsize=8m\nruntime=50ms\ntime_based\nstonewall\nfilename=data\n\
        [one]\n[four]\niodepth=4\n";
    let arguments = ["--rounds", "1", "--compare", "pread", "--plot", "p.svg"];
    let output = bench(dir.path(), sweep, &arguments);
    assert!(output.status.success(), "{output:?}");
    let svg = fs::read_to_string(dir.path().join("p.svg")).expect("a picture");
    assert!(svg.starts_with("<svg ") && svg.contains(">ringfield</text>"));
    let thinking = bench(dir.path(), &format!("{sweep}thinktime=1ms\n"), &arguments);
    assert_eq!(
        String::from_utf8_lossy(&thinking.stderr),
        "ringfield: --plot p.svg: sections may differ in iodepth only, [one] and [four] read otherwise\n"
    );
    let refused = bench(dir.path(), JOB, &arguments);
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        "ringfield: --plot p.svg: needs sections of at least two depths, the job has one section\n"
    );
}

#[test]
fn a_printed_fio_job_runs_in_fio_and_gives_the_engine_its_settings() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("data"), vec![7; 8 << 20]).expect("written");
    let settings = [
        "fio-job",
        "--queue-depth",
        "12",
        "--page-size",
        "8KiB",
        "--budget",
        "24MiB",
        "--block-size",
        "16KiB",
        "--runtime",
        "0.1",
        "--file",
        "data",
        "--backend",
        "pread",
    ];
    let printed = Command::cargo_bin("ringfield")
        .expect("the binary is built")
        .args(settings)
        .output()
        .expect("it runs");
    assert!(printed.status.success(), "{printed:?}");
    let job = String::from_utf8(printed.stdout).expect("text");
    let of_job = |more: &[&str]| {
        let arguments = [&["--rounds", "1", "--compare", "mmap", "--json"], more].concat();
        let report = report(&bench(dir.path(), &job, &arguments));
        let row = report["rows"][0].clone();
        assert_eq!(
            (row["bs"].as_u64(), row["iodepth"].as_u64()),
            (Some(16384), Some(12))
        );
        (row["backend"].clone(), row["flags"].to_string())
    };
    let (backend, flags) = of_job(&[]);
    assert_eq!(backend, "pread");
    assert!(
        flags.contains("pages of 8 KiB") && flags.contains("budget 24 MiB"),
        "{flags}"
    );
    let (_, flags) = of_job(&["--page-size", "16KiB"]);
    assert!(
        flags.contains("pages of 16 KiB") && flags.contains("budget 24 MiB"),
        "{flags}"
    );

    let fio = std::process::Command::new("fio")
        .current_dir(dir.path())
        .args(["--readonly", "job.fio"])
        .output();
    match fio {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(e) => println!("SKIPPED: fio: {e}"),
    }
}

#[test]
fn without_fio_the_rest_runs_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("job.fio"), JOB).expect("written");
    let output = Command::cargo_bin("ringfield")
        .expect("the binary is built")
        .current_dir(dir.path())
        .env("PATH", "")
        .args([
            "bench",
            "job.fio",
            "--rounds",
            "1",
            "--runtime",
            "0.05",
            "--json",
        ])
        .output()
        .expect("it runs");
    let report = report(&output);
    assert_eq!(names(&report["rows"]), ["ringfield", "mmap", "pread"]);
    assert_eq!(
        names(&report["omitted"]),
        ["fio", "fio-hugepages", "fio-aa"]
    );
    assert_eq!(
        report["omitted"][0]["why"],
        "fio is not installed (apt install fio)"
    );
}

/// An fio that reads nothing: it reports jobs of depth one and fails with others.
const PICKY_FIO: &str = r#"#!/bin/sh
case "$*" in
--version) echo fio-0.1 ;;
*--iodepth=1*) echo '{
  "jobs": [{"error": 0, "usr_cpu": 1, "sys_cpu": 1, "job_runtime": 50, "read": {
    "total_ios": 10, "iops": 200, "io_bytes": 40960, "lat_ns":
    {"percentile": {"50.000000": 1, "99.000000": 1, "99.900000": 1}}}}]}' ;;
*)
    echo "fio: pid=$$, err=1/file:engines/io_uring.c:998, func=io_queue_init, error=Operation not permitted"
    exit 1
    ;;
esac
"#;

#[test]
fn what_fio_fails_with_is_told_of_the_sections_it_failed_in_and_all_else_is_measured() {
    let dir = tempfile::tempdir().expect("a directory");
    let fio = dir.path().join("fio");
    fs::write(&fio, PICKY_FIO).expect("written");
    fs::set_permissions(&fio, fs::Permissions::from_mode(0o755)).expect("executable");
    fs::write(
        dir.path().join("job.fio"),
        "[global]\nfilename=data\nsize=1m\nbs=4k\nruntime=50ms\ntime_based\nstonewall\n\
         [lone]\n[two]\niodepth=2\n[four]\niodepth=4\n",
    )
    .expect("written");
    let run = |json: &[&str]| {
        Command::cargo_bin("ringfield")
            .expect("the binary is built")
            .current_dir(dir.path())
            .env("PATH", dir.path())
            .args(["bench", "job.fio", "--rounds", "3"])
            .args(json)
            .output()
            .expect("it runs")
    };
    let report = report(&run(&["--json"]));
    let sections = |engine: &str| -> Vec<&str> {
        let rows = report["rows"].as_array().expect("rows").iter();
        let rows = rows.filter(|row| row["engine"] == engine);
        rows.filter_map(|row| row["job"].as_str()).collect()
    };
    for engine in ["ringfield", "mmap", "pread"] {
        assert_eq!(sections(engine), ["lone", "two", "four"]);
    }
    let why = "fio failed: io_queue_init: Operation not permitted";
    for engine in ["fio", "fio-aa"] {
        assert_eq!(sections(engine), ["lone"]);
        let omitted = report["omitted"].as_array().expect("omitted").iter();
        let omitted: Vec<_> = omitted.filter(|row| row["engine"] == engine).collect();
        let [omitted] = omitted.as_slice() else {
            panic!("{engine} once: {omitted:?}")
        };
        assert_eq!(
            (&omitted["jobs"], &omitted["why"]),
            (&"two, four".into(), &why.into())
        );
    }

    let text = String::from_utf8(run(&[]).stdout).expect("text");
    for section in ["lone", "two", "four"] {
        assert!(
            text.contains(&format!("\n  {section}: read of 4 KiB, ")),
            "{text}"
        );
    }
    let told: Vec<&str> = text.lines().filter(|line| line.contains(why)).collect();
    let [line] = told.as_slice() else {
        panic!("one line for all: {text}")
    };
    assert!(
        line.starts_with("fio, ") && line.contains("fio-aa not run in two, four: "),
        "{line}"
    );
}

#[test]
fn the_table_has_no_escape_codes_and_no_progress_where_no_terminal_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = bench(
        dir.path(),
        JOB,
        &["--rounds", "1", "--runtime", "0.05", "--compare", "mmap"],
    );
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("ringfield") && text.contains("mmap") && text.contains("reads/s"));
    assert!(!text.contains('\x1b'), "{text}");
    assert!(
        output.stderr.is_empty(),
        "{:?}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_file_of_the_user_is_read_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("mine.bin");
    fs::write(&file, vec![9; 8 << 20]).expect("written");
    for job in [
        "[j]\nrw=read\nbs=64k\niodepth=1\nruntime=1\n",
        "[j]\nbs=1m\niodepth=4\nsize=4m\n",
    ] {
        let arguments = [
            "--file",
            "mine.bin",
            "--rounds",
            "1",
            "--compare",
            "pread",
            "--json",
        ];
        let report = report(&bench(dir.path(), job, &arguments));
        assert_eq!(names(&report["rows"]), ["ringfield", "pread"]);
    }
    assert_eq!(fs::read(&file).expect("still there"), vec![9; 8 << 20]);
}

#[test]
fn our_own_profiles_are_understood() {
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fio-profiles");
    let Ok(profiles) = fs::read_dir(&profiles) else {
        return println!("SKIPPED: no fio-profiles here");
    };
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("empty"), "").expect("written");
    for profile in profiles.flatten().map(|entry| entry.path()) {
        // An empty file is refused only after the whole job was understood.
        let job = fs::read_to_string(&profile).expect("text");
        let output = bench(dir.path(), &job, &["--file", "empty"]);
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            line.contains("empty has 0 B"),
            "{}: {line}",
            profile.display()
        );
        let fio = std::process::Command::new("fio")
            .current_dir(dir.path())
            .args(["--readonly", "--parse-only"])
            .arg(&profile)
            .output();
        match fio {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(e) => println!("SKIPPED: fio: {e}"),
        }
    }
}
