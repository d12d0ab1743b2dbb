//! Options of fio's that every engine of `ringfield bench` takes for the same.

// A test ends at the first thing that is not as it must be, in its helper functions too.
#![allow(clippy::expect_used)]

mod job;

use std::fs;
use std::path::Path;

use job::{bench, report, skip_omitted};
use serde_json::Value;

/// The rows of a job of one section on a file of 32 MiB, which fails where an engine says no.
fn rows(dir: &Path, options: &str) -> Vec<Value> {
    let file = dir.join("data");
    if !file.exists() {
        fs::write(file, vec![5; 32 << 20]).expect("written");
    }
    let job = format!("[j]\nfilename=data\n{options}\n");
    let report = report(&bench(dir, &job, &["--rounds", "1", "--json"]));
    skip_omitted(&report);
    report["rows"].as_array().expect("rows").clone()
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().expect("a number")
}

#[test]
fn every_engine_thinks_as_often_as_fio() {
    let dir = tempfile::tempdir().expect("a directory");
    for (options, most) in [
        // Four reads, then ten milliseconds.
        ("thinktime=10ms\nthinktime_blocks=4", 400.0),
        // A queue of eight is filled once, as the first completion ends that; as the others are
        // counted behind the next read, each is waited for alone from then on.
        (
            "iodepth=8\niodepth_batch_complete_max=1\nthinktime=10ms",
            100.0 + 8.0 / 0.4,
        ),
        // 24 reads are handed over, however few may be in flight.
        (
            "iodepth=8\nthinktime=10ms\nthinktime_blocks=24\nthinktime_blocks_type=issue",
            2400.0,
        ),
    ] {
        let job = format!("rw=randread\nbs=4k\nruntime=400ms\ntime_based\n{options}");
        for row in rows(dir.path(), &job) {
            let rate = number(&row, "iops") / (1.0 - number(&row, "hit_share"));
            assert!(
                (most / 5.0..most * 1.1).contains(&rate),
                "{options}: {rate} in {row}"
            );
        }
    }
}

#[test]
fn every_engine_takes_lists_shares_holes_and_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    for (options, rw, bytes) in [
        ("bs=8k,64k\nsize=50%\noffset=25%", "read", 8192.0),
        ("bs=8k\nrw=read:24k\nio_size=50%", "read:24576", 8192.0),
        (
            "bs=8k\nrw=read:4k\noffset=4k\niodepth=4",
            "read:4096",
            8192.0,
        ),
        (
            "bs=4k\nrw=randread:8\nio_size=4m\niodepth=4",
            "randread:8",
            4096.0,
        ),
        (
            "bsrange=16k-16k,4k-8k\nrw=randread:3\nruntime=50ms\ntime_based\nnumjobs=2",
            "randread:3",
            16384.0,
        ),
    ] {
        for row in rows(dir.path(), options) {
            assert_eq!(row["rw"], rw);
            let mean = number(&row, "bw_bytes") / number(&row, "iops");
            assert!((mean - bytes).abs() < 1.0, "{options}: {mean} in {row}");
        }
    }
}

#[test]
fn reads_of_the_same_place_are_hits() {
    let dir = tempfile::tempdir().expect("a directory");
    let of = |options: &str| {
        let job = format!("bs=4k\nrw=randread:8\nio_size=2m\n{options}");
        let rows = rows(dir.path(), &job);
        let ours = rows.iter().find(|row| row["engine"] == "ringfield");
        number(ours.expect("our row"), "hit_share")
    };
    assert!(of("rw_sequencer=identical") > 0.8);
    assert!(of("rw_sequencer=sequential") < 0.5);
}

#[test]
fn a_section_of_hints_is_read_in_their_lane_beside_one_that_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let job = "[global]\nrw=randread\nnorandommap\nsize=64m\nruntime=300ms\ntime_based\nfilename=data\n\
        [demand]\nbs=4k\n[hints]\n; ringfield: prefetch\nbs=64k\niodepth=16\n\
        [slow]\n# ringfield: prefetch\nbs=4k\niodepth=4\nthinktime=10ms\nthinktime_blocks=2\n";
    let arguments = ["--rounds", "1", "--compare", "pread", "--json"];
    let report = report(&bench(dir.path(), job, &arguments));
    for row in report["rows"].as_array().expect("rows") {
        let hints = row["job"] != "demand" && row["engine"] == "ringfield";
        assert_eq!(row["flags"].to_string().contains("prefetch lane"), hints);
        assert!(number(row, "iops") > 0.0, "{row}");
        // What the device read ahead is no hit by chance, of which there are a quarter here.
        assert!(number(row, "hit_share") < 0.5, "{row}");
        // Two to begin with, and what is in flight as it stops, every ten milliseconds.
        assert!(row["job"] != "slow" || number(row, "iops") < 700.0, "{row}");
    }
}
