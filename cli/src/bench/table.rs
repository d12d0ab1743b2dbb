//! The report of a bench for people.

use std::fmt::Write;

use super::summary::{Ratios, Row, Spread};
use super::{Engine, Omitted, Report};
use crate::console::{self, grouped, latency};
use crate::size::Size;

pub(super) fn show(report: &Report) -> String {
    let mut text = String::new();
    // Any other engine may be left out of a section.
    let ours = |row: &&Row| row.engine == Engine::Ringfield.name();
    let sections: Vec<&Row> = report.rows.iter().filter(ours).collect();
    let several = sections.len() > 1;
    // Writing to a `String` cannot fail.
    if several {
        let _ = writeln!(text, "{}: {}", report.job, rest_of_title(report));
        for row in sections {
            let _ = writeln!(text, "  {}: {}", row.job, what(row));
        }
        text.push('\n');
    } else if let Some(row) = sections.first() {
        let _ = writeln!(
            text,
            "{}: {}, {}\n",
            report.job,
            what(row),
            rest_of_title(report)
        );
    }
    let mut head = vec![
        "job",
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
    let mut rows: Vec<Vec<String>> = report.rows.iter().map(cells).collect();
    let names: &[usize] = if several { &[0, 1] } else { &[0] };
    if several {
        // A section's name stands at its first row only.
        let mut last = String::new();
        for name in rows.iter_mut().filter_map(|row| row.first_mut()) {
            match *name == last {
                true => name.clear(),
                false => last.clone_from(name),
            }
        }
    } else {
        head.remove(0);
        rows.iter_mut().for_each(|row| drop(row.remove(0)));
    }
    let _ = writeln!(text, "{}\n", console::table(&head, names, rows));
    for (engine, notes) in all_notes(report) {
        let _ = writeln!(text, "{engine:14} {notes}");
    }
    for (engines, omitted) in by_reason(&report.omitted) {
        let jobs = omitted.jobs.as_ref().map(|jobs| format!(" in {jobs}"));
        let _ = writeln!(
            text,
            "{:14} not run{}: {}",
            engines.join(", "),
            jobs.unwrap_or_default(),
            omitted.why
        );
    }
    text.trim_end().to_owned()
}

/// What was left out for the same reason, together.
fn by_reason(omitted: &[Omitted]) -> Vec<(Vec<&'static str>, &Omitted)> {
    let mut reasons: Vec<(Vec<&'static str>, &Omitted)> = Vec::new();
    for one in omitted {
        let same =
            |(_, known): &&mut (_, &Omitted)| (&known.jobs, &known.why) == (&one.jobs, &one.why);
        match reasons.iter_mut().find(same) {
            Some((engines, _)) => engines.push(one.engine),
            None => reasons.push((vec![one.engine], one)),
        }
    }
    reasons
}

/// What a picture of all rows shows.
pub(super) fn sweep_title(report: &Report) -> String {
    let what = report.rows.first().map_or(String::new(), |row| {
        format!("{} of {}, ", row.rw, row.block_sizes)
    });
    // A name's last part: a picture has little room.
    let names = report.file.split(':');
    let names: Vec<&str> = names.filter_map(|path| path.rsplit('/').next()).collect();
    format!(
        "{what}{} ({}); medians of {}",
        names.join(", "),
        Size(report.file_bytes),
        rounds(report)
    )
}

fn rest_of_title(report: &Report) -> String {
    format!(
        "{} ({}); medians of {}",
        report.file,
        Size(report.file_bytes),
        rounds(report)
    )
}

fn rounds(report: &Report) -> String {
    let s = if report.rounds == 1 { "" } else { "s" };
    format!("{} round{s}", report.rounds)
}

fn what(row: &Row) -> String {
    format!(
        "{} of {}, {} in flight, {} host thread{}",
        row.rw,
        row.block_sizes,
        row.iodepth,
        row.numjobs,
        if row.numjobs == 1 { "" } else { "s" }
    )
}

/// The notes of each engine; where its sections differ, each with the sections it is about.
fn all_notes(report: &Report) -> Vec<(&'static str, String)> {
    let mut groups: Vec<(&'static str, String, Vec<&str>)> = Vec::new();
    for row in &report.rows {
        let notes = notes(row);
        let known = groups
            .iter_mut()
            .find(|(engine, known, _)| (*engine, known) == (row.engine, &notes));
        match known {
            Some((_, _, jobs)) => jobs.push(&row.job),
            None => groups.push((row.engine, notes, vec![&row.job])),
        }
    }
    // Together by engine, in the order of the rows.
    let place = |engine| report.rows.iter().position(|row| row.engine == engine);
    groups.sort_by_key(|(engine, _, _)| place(*engine));
    let alone = |engine| groups.iter().filter(|(of, _, _)| *of == engine).count() == 1;
    groups
        .iter()
        .map(|(engine, notes, jobs)| match alone(*engine) {
            true => (*engine, notes.clone()),
            false => (*engine, format!("{}: {notes}", jobs.join(", "))),
        })
        .collect()
}

fn cells(row: &Row) -> Vec<String> {
    let ratio = |ratios: &Option<Ratios>| ratios.as_ref().map_or("-".into(), |r| interval(&r.iops));
    vec![
        row.job.clone(),
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
    if let Some(checked) = row.checked {
        notes.push(format!(
            "checksums of {} pages verified at {:.1} GB/s",
            grouped(checked.pages as f64),
            checked.gb_per_s
        ));
    }
    if row.iowq_threads > 0 {
        notes.push(format!("{} io-wq threads", row.iowq_threads));
    }
    if row.hit_share > 0.0 {
        notes.push(format!("{:.1} % hits left out", row.hit_share * 100.0));
    }
    notes.join(", ")
}
