//! What the user sees: results on standard output, progress on standard error if it is a terminal.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::{Context, Error, Result};

/// Writes a result. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// What writing to standard output answers.
pub(crate) fn print(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.doing("cannot write to standard output"),
    }
}

/// Writes a result as one JSON document.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(serde_json::to_string_pretty(value).map_err(Error::message)?)
}

/// Says something that is no result on standard error.
pub(crate) fn note(text: impl Display) {
    eprintln!("ringfield: {text}");
}

/// A bar over `total` bytes, with rate and time left. Hidden by indicatif where no terminal is.
pub(crate) fn bytes_bar(total: u64, doing: &str) -> ProgressBar {
    bar(
        total,
        doing,
        "{msg:.bold} [{bar:32}] {bytes} of {total_bytes} · {bytes_per_sec} · {eta}",
    )
}

/// A bar over `total` steps, each named while it runs.
pub(crate) fn steps_bar(total: u64, doing: &str) -> ProgressBar {
    let bar = bar(
        total,
        doing,
        "{spinner} [{bar:32}] {pos}/{len} · {msg:.bold}",
    );
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn bar(total: u64, doing: &str, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(doing.to_owned());
    // A template is a constant of this file; a wrong one would only cost the style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}

/// A table with a rule below its head and nothing else: text on the left, numbers on the right.
pub(crate) fn table(head: &[&str], text_columns: &[usize], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table
        .load_style(TableStyle::new().header_separator(rule))
        .set_header(head.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if number == 0 { 0 } else { 1 }, 1));
        if !text_columns.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `12 345` : digits in groups, as tables are read.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Microseconds below a thousand, else milliseconds: three digits to compare.
pub(crate) fn latency(us: f64) -> String {
    match us {
        us if us < 9.95 => format!("{us:.1} µs"),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 9_995.0 => format!("{:.2} ms", us / 1e3),
        us if us < 99_950.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.0} ms", us / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(grouped(1_234_567.4), "1 234 567");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(-1.0), "0");
        assert_eq!(latency(51.2), "51 µs");
        assert_eq!(latency(5.64), "5.6 µs");
        assert_eq!(latency(8_094.0), "8.09 ms");
        assert_eq!(latency(12_345.0), "12.3 ms");
        assert_eq!(latency(123_456.0), "123 ms");
    }
}
