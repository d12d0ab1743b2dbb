//! One option as a job file gives it, and the kinds of values that options have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::amount::Amount;
use super::{JobErrorKind, value};

/// An option as the file gives it.
pub(super) struct Given<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
}

impl<'a> Given<'a> {
    pub(super) fn text(&self) -> Result<&'a str, JobErrorKind> {
        let value = self
            .value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| JobErrorKind::NoValue {
                name: shorten(self.name),
            })?;
        // fio expands $pagesize, ${ENVIRONMENT} and the like.
        if value.contains('$') {
            return Err(self.not_implemented("variables are not expanded"));
        }
        Ok(value)
    }

    pub(super) fn integer(&self) -> Result<u64, JobErrorKind> {
        let text = self.text()?;
        value::integer(text).ok_or_else(|| self.bad("a whole number was expected"))
    }

    pub(super) fn count(&self, min: u32, max: u32) -> Result<u32, JobErrorKind> {
        u32::try_from(self.integer()?)
            .ok()
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| self.bad(format!("a number from {min} to {max} was expected")))
    }

    /// An option that may stand alone: `time_based` is `time_based=1`.
    pub(super) fn flag(&self) -> Result<bool, JobErrorKind> {
        if self.value.is_none() {
            Ok(true)
        } else {
            self.yes_or_no()
        }
    }

    pub(super) fn yes_or_no(&self) -> Result<bool, JobErrorKind> {
        value::yes_or_no(self.text()?).ok_or_else(|| self.bad("0 or 1 was expected"))
    }

    /// True: `rwmixread` and `rwmixwrite` leave no writes, with `all_reads` percent.
    pub(super) fn share_of_reads(&self, all_reads: u32) -> Result<bool, JobErrorKind> {
        match self.count(0, 100)? {
            percent if percent == all_reads => Ok(true),
            _ => Err(self.writes("rwmixread=100 makes it a mix of reads alone")),
        }
    }

    pub(super) fn amount(&self) -> Result<Amount, JobErrorKind> {
        Amount::parse(self.text()?).map_err(|expected| self.bad(expected))
    }

    pub(super) fn time(&self, own_unit_us: u64) -> Result<Duration, JobErrorKind> {
        value::time(self.text()?, own_unit_us)
            .filter(|time| !time.is_zero())
            .ok_or_else(|| self.bad("a time above zero such as 10s was expected"))
    }

    /// A time in microseconds, as long as fio can wait; zero is none.
    pub(super) fn pause(&self) -> Result<Duration, JobErrorKind> {
        value::time(self.text()?, 1)
            .filter(|time| time.as_micros() <= u32::MAX.into())
            .ok_or_else(|| self.bad("a time up to 4294s such as 100us was expected"))
    }

    /// Files separated by `:`; `\:` is the character itself.
    pub(super) fn filenames(&self) -> Result<Arc<[PathBuf]>, JobErrorKind> {
        let text = self.text()?;
        let mut paths = vec![String::new()];
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let escaped = c == '\\' && rest.as_str().starts_with(':');
            match paths.last_mut() {
                Some(path) if escaped => path.extend(rest.next()),
                Some(path) if c != ':' => path.push(c),
                _ => paths.push(String::new()),
            }
        }
        if paths.iter().any(String::is_empty) {
            return Err(self.bad("a name between two colons is missing"));
        }
        if paths.iter().any(|path| path == "-") {
            return Err(self.not_implemented("a file is, standard input is not"));
        }
        Ok(paths.into_iter().map(PathBuf::from).collect())
    }

    pub(super) fn one_of(
        &self,
        known: &[&str],
        text: &'static str,
    ) -> Result<String, JobErrorKind> {
        let value = self.text()?;
        if known.contains(&value) {
            Ok(value.to_owned())
        } else {
            Err(self.not_implemented(text))
        }
    }

    pub(super) fn bad(&self, expected: impl Into<String>) -> JobErrorKind {
        JobErrorKind::BadValue {
            name: shorten(self.name),
            value: shorten(self.value.unwrap_or_default()),
            expected: expected.into(),
        }
    }

    pub(super) fn writes(&self, instead: &'static str) -> JobErrorKind {
        JobErrorKind::Writes {
            name: shorten(self.name),
            value: shorten(self.value.unwrap_or_default()),
            instead,
        }
    }

    pub(super) fn not_implemented(&self, implemented: &'static str) -> JobErrorKind {
        JobErrorKind::ValueNotImplemented {
            name: shorten(self.name),
            value: shorten(self.value.unwrap_or_default()),
            implemented,
        }
    }
}

/// What a message quotes of the file: one short printable line.
pub(super) fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown + "…"
    } else {
        shown
    }
}
