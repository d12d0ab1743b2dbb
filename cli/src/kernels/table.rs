//! The report for people.

use std::fmt::Write;

use super::report::{InBoth, Report, Row};
use crate::console;
use crate::size::Size;

pub(super) fn show(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write!(
        text,
        "instruction set {} (here: {}; not here: {})\neight-bit products by {}; {} thread{}\n\n",
        report.isa,
        isas(report, true),
        isas(report, false),
        report.integers,
        report.threads,
        if report.threads == 1 { "" } else { "s" },
    );
    let (l2, dram) = (size(report.matrix_bytes.l2), size(report.matrix_bytes.dram));
    let head = [
        "only reading, GB/s".to_owned(),
        format!("L2: {l2}"),
        format!("DRAM: {dram}"),
    ];
    let reads = report.reads.iter().map(|read| {
        let kind = if read.prefetched { ", prefetched" } else { "" };
        let rate = |rate: f64, most: f64| {
            let mark = if rate == most { "best " } else { "" };
            format!("{mark}{rate:.1}")
        };
        vec![
            format!("{} pages{kind}", read.pages),
            rate(read.gb_per_s.l2, report.read_gb_per_s.l2),
            rate(read.gb_per_s.dram, report.read_gb_per_s.dram),
        ]
    });
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let _ = writeln!(text, "{}\n", console::table(&head, &[0], reads.collect()));

    let head = [
        "XXH3 checksum",
        "L2: GB/s",
        "of reading",
        "DRAM: GB/s",
        "of reading",
    ];
    let rows = report.checksums.iter().map(|checksum| {
        let mut cells = vec![format!("{} pages", size(checksum.page_bytes))];
        for of in [|both: InBoth<f64>| both.l2, |both: InBoth<f64>| both.dram] {
            cells.push(format!("{:.1}", of(checksum.gb_per_s)));
            cells.push(format!("{:.0} %", 100.0 * of(checksum.share)));
        }
        cells
    });
    let _ = writeln!(text, "{}\n", console::table(&head, &[0], rows.collect()));

    let head = [
        "type",
        "kernel",
        "L2: GB/s",
        "GFLOP/s",
        "of reading",
        "DRAM: GB/s",
        "GFLOP/s",
        "of reading",
    ];
    let mut last = "";
    let rows = report.kernels.iter().map(|row| {
        let first = row.r#type != std::mem::replace(&mut last, row.r#type);
        cells(row, if first { row.r#type } else { "" })
    });
    let _ = writeln!(text, "{}\n", console::table(&head, &[0, 1], rows.collect()));
    let each = if report.threads == 1 {
        ""
    } else {
        ", of which each thread has one; rates are sums"
    };
    let _ = write!(
        text,
        "GB/s: weights as they are stored; GFLOP/s: a product and a sum for each; of reading: share of the best loop above\n\
         exact: times activations of 32 bits; eight-bit: of eight; dequantize: to 32-bit floats in the first-level cache\n\
         matrices of {l2} and {dram}{each}"
    );
    if !report.huge_pages {
        text.push_str("\nhuge pages were not granted: /sys/kernel/mm/transparent_hugepage/enabled must say madvise or always");
    }
    text
}

fn isas(report: &Report, available: bool) -> String {
    let isas = report.isas.iter().filter(|isa| isa.available == available);
    let names: Vec<&str> = isas.map(|isa| isa.isa).collect();
    names.join(", ")
}

fn size(bytes: usize) -> String {
    Size(bytes as u64).to_string()
}

fn cells(row: &Row, name: &str) -> Vec<String> {
    let mut cells = vec![name.to_owned(), row.kernel.to_owned()];
    for of in [|both: InBoth<f64>| both.l2, |both: InBoth<f64>| both.dram] {
        let flops = row.gflop_per_s.map(of);
        cells.push(format!("{:.1}", of(row.gb_per_s)));
        cells.push(flops.map_or_else(String::new, |flops| format!("{flops:.0}")));
        cells.push(format!("{:.0} %", 100.0 * of(row.share)));
    }
    cells
}
