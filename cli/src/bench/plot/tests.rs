//! That a picture shows every engine, and that what cannot be drawn is refused beforehand.

use super::*;
use crate::bench::load::tests::load;
use crate::bench::round::{LatUs, Round};
use crate::bench::summary::Series;
use crate::job::JobFile;

fn rows(engines: &[&'static str]) -> Vec<Row> {
    let mut rows = Vec::new();
    for depth in [1, 8, 64] {
        let load = load(&format!("[a<b]\nbs=4k\niodepth={depth}"), &[1 << 20]).expect("fits");
        for engine in engines {
            let p50 = 90.0 * f64::from(depth);
            let round = Round {
                iops: 9e4,
                bw_bytes: 4e8,
                lat_us: LatUs {
                    p50,
                    p99: 3.0 * p50,
                    p999: 9.0 * p50,
                },
                ..Round::default()
            };
            let series = Series {
                engine,
                rounds: &[round],
            };
            rows.push(series.row(&load, &[], &[]));
        }
    }
    rows
}

#[test]
fn every_engine_is_a_line_in_both_panels_and_in_the_legend() {
    let engines = ["fio", "ringfield", "fio-hugepages", "mmap"];
    let svg = draw(&rows(&engines), "sweep <1>");
    for engine in engines {
        assert!(svg.contains(&format!(">{engine}</text>")), "{engine}");
        let lines = svg
            .lines()
            .filter(|line| line.starts_with("<polyline") && line.contains(color(engine)));
        // p50, p99 and throughput, three points each.
        let points: Vec<usize> = lines.map(|line| line.matches(',').count()).collect();
        assert_eq!(points, [3, 3, 3], "{engine}");
    }
    assert!(svg.contains("sweep &lt;1&gt;") && svg.contains(">64</text>"));
    for outside in ["href", "url(", "@import", "<script", "NaN", "inf"] {
        assert!(!svg.contains(outside), "{outside}");
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_before_measuring() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("f");
    std::fs::write(&file, vec![0; 1 << 20]).expect("written");
    let check = |text: &str, path: &str| {
        let jobs = JobFile::parse(Path::new("t.fio"), text.as_bytes()).expect("good");
        let plan = Plan::new(&jobs, std::slice::from_ref(&file)).expect("a plan");
        check(&plan, Path::new(path)).map_err(|e| e.to_string())
    };
    let two = "[global]\nstonewall\n[a]\n[b]\niodepth=2";
    assert_eq!(check(two, "p.svg"), Ok(()));
    for (text, path, expected) in [
        (
            "[a]",
            "p.svg",
            "--plot p.svg: needs sections of at least two depths, the job has one section",
        ),
        (
            "[a]\n[b]\niodepth=2",
            "p.svg",
            "--plot p.svg: sections a, b run at the same time: separate them by stonewall",
        ),
        (
            "[global]\nstonewall\n[a]\n[b]\niodepth=2\nbs=8k",
            "p.svg",
            "--plot p.svg: sections may differ in iodepth only, [a] and [b] read otherwise",
        ),
        (
            "[global]\nstonewall\n[a]\n[b]",
            "p.svg",
            "--plot p.svg: two sections have iodepth=1",
        ),
        (
            two,
            "/no/such/p.svg",
            "--plot /no/such/p.svg: there is no directory to write this file in",
        ),
    ] {
        assert_eq!(check(text, path), Err(expected.to_owned()));
    }
}
