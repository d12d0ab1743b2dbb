//! The report of a demo for people.

use std::fmt::Write;

use super::worker::Reader;
use super::workload::Workload;
use super::{Report, Row};
use crate::console::{self, grouped, latency};
use crate::doctor::Item;
use crate::size::Size;

pub(super) fn show(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "{} of {}, read with {} of memory",
        Size(report.region_bytes),
        if report.made {
            "a file made for this"
        } else {
            report.file.as_str()
        },
        Size(report.budget_bytes),
    );
    let _ = match (&report.memory_limit.bytes, &report.memory_limit.why) {
        (Some(bytes), _) => writeln!(
            text,
            "every reader limited to {} by a {} group, from a cold page cache, one host thread\n",
            Size(*bytes),
            report.memory_limit.kind
        ),
        (None, why) => writeln!(
            text,
            "mmap and pread are NOT LIMITED in memory ({}): run as root to compare fairly\n\
             from a cold page cache, one host thread\n",
            why.as_deref().unwrap_or("no reason known")
        ),
    };
    let head = [
        "workload",
        "reader",
        "MB/s",
        "reads/s",
        "p50",
        "p99",
        "peak memory",
        "to mmap",
        "verified",
    ];
    let rows = report.rows.iter().map(cells).collect();
    let _ = writeln!(text, "{}\n", console::table(&head, &[0, 1], rows));
    let _ = writeln!(
        text,
        "p50 and p99: one read, or a whole burst; the engine keeps {} random or {} sequential \
         reads in flight",
        Workload::Random.in_flight(),
        Workload::Sequential.in_flight()
    );
    granted(&mut text, &report.report);
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let _ = write!(
        text,
        "\nNext:\n  \
         ringfield demo --model FILE.gguf     the same with your own file\n  \
         ringfield doctor PATH                what this machine grants, and how to get more\n  \
         ringfield bench JOB.fio              an fio job through the engine, fio, mmap and pread"
    );
    text
}

fn cells(row: &Row) -> Vec<String> {
    let first = row.reader == Reader::ALL[0];
    vec![
        if first {
            row.workload.name().to_owned()
        } else {
            String::new()
        },
        row.reader.name().to_owned(),
        grouped(row.bw_bytes / 1e6),
        grouped(row.reads_per_s),
        latency(row.lat_us.p50),
        latency(row.lat_us.p99),
        format!("{} MiB", row.peak_memory_bytes >> 20),
        format!("{:.1}×", row.ratio_to_mmap),
        match row.wrong {
            0 => format!("all {}", grouped(row.reads as f64)),
            wrong => format!(
                "{} WRONG of {}",
                grouped(wrong as f64),
                grouped(row.reads as f64)
            ),
        },
    ]
}

/// What decides its speed, of what the engine got, in one line; and each thing it did not get.
fn granted(text: &mut String, items: &[Item]) {
    let named = [
        "backend",
        "io_uring flags",
        "registered buffers",
        "huge pages",
        "direct I/O",
    ];
    let granted: Vec<String> = named
        .iter()
        .filter_map(|name| {
            let item = items
                .iter()
                .find(|item| item.name() == *name && item.why.is_empty())?;
            Some(match *name {
                "registered buffers" => (*name).to_owned(),
                "direct I/O" => format!("direct I/O {}", item.granted.trim_start_matches("yes, ")),
                _ => item.granted.clone(),
            })
        })
        .collect();
    if !granted.is_empty() {
        let _ = writeln!(text, "granted to the engine: {}", granted.join(" · "));
    }
    for item in items.iter().filter(|item| !item.why.is_empty()) {
        let fix = if item.fix.is_empty() {
            String::new()
        } else {
            format!(" → {}", item.fix)
        };
        let _ = writeln!(
            text,
            "degraded: {}: {} ({}){fix}",
            item.name(),
            item.granted,
            item.why
        );
    }
}
