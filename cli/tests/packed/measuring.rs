//! `ringfield bench` and `ringfield demo` on packed fields.

use std::fs;
use std::path::Path;

use crate::{json, made, refused, text};

/// A field of 24 MB in one file, and in two.
fn field(page_size: &str) -> tempfile::TempDir {
    let dir = made::dir();
    let mut file = made::Gguf::default();
    file.tensor("token_embd.weight", &[1024, 6000], 0.0, 1.0);
    file.write(&dir.path().join("large.gguf"));
    text(
        dir.path(),
        &[
            "pack",
            "large.gguf",
            "--out",
            "a.rf",
            "--page-size",
            page_size,
        ],
    );
    dir
}

fn bench(dir: &Path, job: &str) -> [&'static str; 7] {
    fs::write(dir.join("job.fio"), job).expect("written");
    [
        "bench",
        "job.fio",
        "--rounds",
        "1",
        "--runtime",
        "0.1",
        "--compare",
    ]
}

#[test]
fn the_engine_reads_with_checksums_what_the_others_read_without() {
    let dir = field("16KiB");
    let job = "[j]\nrw=randread\nbs=16k\niodepth=8\nruntime=1\ntime_based\nfilename=a.rf\n\
        [end]\nstonewall\nrw=read\nbs=4k\noffset=75%\nfilename=a.rf\n";
    let bench = bench(dir.path(), job);
    let report = json(dir.path(), &[&bench[..], &["mmap,pread,fio"]].concat());
    let rows = report["rows"].as_array().expect("rows");
    let of = |engine: &str| {
        rows.iter()
            .filter(|row| row["engine"] == engine)
            .collect::<Vec<_>>()
    };
    for row in of("ringfield") {
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        assert!(
            number(&row["checked"]["pages"]) > 10.0 && number(&row["checked"]["gb_per_s"]) > 0.0,
            "{row}"
        );
        assert!(
            row["flags"].to_string().contains("pages of 16 KiB"),
            "{row}"
        );
    }
    for peer in ["mmap", "pread"] {
        assert_eq!(of(peer).len(), 2);
        assert!(
            of(peer)
                .iter()
                .all(|row| row.get("checked").is_none() && row["iops"].as_f64() > Some(0.0))
        );
    }
    let said = text(dir.path(), &[&bench[..], &["mmap"]].concat());
    assert!(
        said.contains("checksums of ") && said.contains(" GB/s"),
        "{said}"
    );
}

#[test]
fn a_damaged_page_ends_a_bench_and_a_demo() {
    let dir = field("256KiB");
    let facts = json(dir.path(), &["inspect", "a.rf"]);
    let data_at = facts["files"][0]["data_at"].as_u64().expect("a number");
    // The last byte of the last whole page that both read.
    let pages = facts["bytes"].as_u64().expect("a number") / (256 << 10);
    crate::flip(&dir.path().join("a.rf"), data_at + (pages << 18) - 1);
    let bench = bench(
        dir.path(),
        "[j]\nrw=read\nbs=256k\niodepth=4\nfilename=a.rf\n",
    );
    let runtime: Vec<&str> = bench
        .iter()
        .map(|&a| if a == "0.1" { "60" } else { a })
        .collect();
    let said = refused(dir.path(), &[&runtime[..], &["mmap"]].concat());
    assert!(
        said.contains(&format!("a.rf: page {}", pages - 1)) && said.contains("checksum"),
        "{said}"
    );
    let demo = [
        "demo", "--model", "a.rf", "--budget", "32MiB", "--time", "5",
    ];
    assert!(refused(dir.path(), &demo).contains("checksum"));
}

#[test]
fn what_fio_cannot_read_too_is_refused() {
    let dir = field("256KiB");
    let at = dir.path();
    text(at, &["pack", "large.gguf", "--out", "m0", "--out", "m1"]);
    for (job, arguments, says) in [
        ("[j]\nfilename=m0\n", &["mmap"][..], "m0 is member 0 of 2"),
        (
            "[j]\nfilename=large.gguf:a.rf\n",
            &["mmap"],
            "a.rf is a packed field: give it a section of its own",
        ),
        (
            "[j]\nfilename=a.rf\n",
            &["mmap", "--page-size", "4KiB"],
            "a.rf was packed with pages of 256 KiB",
        ),
        (
            "[j]\nfilename=a.rf\nsize=40m\n",
            &["mmap"],
            "job [j] reads 40 MiB",
        ),
    ] {
        let said = refused(at, &[&bench(at, job)[..], arguments].concat());
        assert!(said.contains(says), "{said}");
    }
    assert!(refused(at, &["demo", "--model", "m1"]).contains("m1 is member 1 of 2"));
}

#[test]
fn a_demo_reads_the_same_bytes_three_times() {
    // With pages of 4 MiB a burst of 24 would not fit into what is enough for smaller ones.
    for (page_size, pages, budget) in [("4KiB", 4096, "32MiB"), ("4MiB", 4 << 20, "136MiB")] {
        let dir = field(page_size);
        let facts = json(dir.path(), &["inspect", "a.rf"]);
        let report = json(
            dir.path(),
            &[
                "demo", "--model", "a.rf", "--time", "0.1", "--budget", budget,
            ],
        );
        assert_eq!(report["region_bytes"], facts["bytes"]);
        let rows = report["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), 9);
        for row in rows {
            assert_eq!(row["wrong"], 0, "{row}");
            assert!(row["reads"].as_u64() > Some(0), "{row}");
        }
        let note = format!(
            "whole pages of {}",
            if pages == 4096 { "4 KiB" } else { "4 MiB" }
        );
        assert!(
            report["notes"].to_string().contains(&note),
            "{}",
            report["notes"]
        );
    }
    let dir = field("4MiB");
    let said = refused(
        dir.path(),
        &["demo", "--model", "a.rf", "--budget", "64MiB"],
    );
    assert!(said.contains("--budget 64 MiB is too small"), "{said}");
}
