//! The report of a bench for people.

use std::fmt::Write;

use super::Report;
use super::summary::{Ratios, Row, Spread};
use crate::console::{self, grouped, latency};
use crate::size::Size;

pub(super) fn show(report: &Report) -> String {
    let mut text = String::new();
    if let Some(row) = report.rows.first() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{}: {} of {}, {} in flight, {} host thread{}, {} ({}); medians of {} rounds\n",
            report.job,
            row.rw,
            Size(row.bs),
            row.iodepth,
            row.numjobs,
            if row.numjobs == 1 { "" } else { "s" },
            report.file,
            Size(report.file_bytes),
            report.rounds
        );
    }
    let head = [
        "engine",
        "reads/s",
        "MB/s",
        "p50",
        "p99",
        "p99.9",
        "CPU/read",
        "spread",
        "reads/s to fio",
        "to fio-hugepages",
    ];
    let rows = report.rows.iter().map(cells).collect();
    let _ = writeln!(text, "{}\n", console::table(&head, &[0], rows));
    for row in &report.rows {
        let _ = writeln!(text, "{:14} {}", row.engine, notes(row));
    }
    for omitted in &report.omitted {
        let _ = writeln!(text, "{:14} not run: {}", omitted.engine, omitted.why);
    }
    text.trim_end().to_owned()
}

fn cells(row: &Row) -> Vec<String> {
    let ratio = |ratios: &Option<Ratios>| ratios.as_ref().map_or("-".into(), |r| interval(&r.iops));
    vec![
        row.engine.to_owned(),
        grouped(row.iops),
        grouped(row.bw_bytes / 1e6),
        latency(row.lat_us.p50),
        latency(row.lat_us.p99),
        latency(row.lat_us.p999),
        latency(row.cpu_us_per_io),
        spread(&row.spread.iops),
        if row.engine == "fio" {
            "1".into()
        } else {
            ratio(&row.ratio_to_fio)
        },
        ratio(&row.ratio_to_fio_hugepages),
    ]
}

/// How far the rounds lie apart, as a share of their median: `±4 %`.
fn spread(of: &Spread) -> String {
    let half = (of.max - of.min) / 2.0;
    format!("±{:.0} %", 100.0 * half / of.median.max(f64::MIN_POSITIVE))
}

/// `1.02 (0.98…1.05)`: the median of the rounds' ratios and how far they lie apart.
fn interval(ratio: &Spread) -> String {
    if ratio.min == ratio.max {
        return format!("{:.2}", ratio.median);
    }
    format!("{:.2} ({:.2}…{:.2})", ratio.median, ratio.min, ratio.max)
}

fn notes(row: &Row) -> String {
    let mut notes = Vec::new();
    notes.extend((row.backend != row.engine).then(|| row.backend.clone()));
    notes.extend(row.flags.iter().cloned());
    if let Some(share) = row.fixed_buffer_share {
        notes.push(format!("registered buffers {:.0} %", share * 100.0));
    }
    if row.iowq_threads > 0 {
        notes.push(format!("{} io-wq threads", row.iowq_threads));
    }
    if row.hit_share > 0.0 {
        notes.push(format!("{:.1} % hits left out", row.hit_share * 100.0));
    }
    notes.join(", ")
}
