//! The lines of a job file: sections, options, comments and blank lines. Of the comments only
//! the one for the engine says something.

use super::JobErrorKind;
use super::engine_line::MARK;

/// fio's own limit.
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// fio's own limit for a section's name.
const NAME_BYTES_MAX: usize = 255;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Section(&'a str),
    /// `name=value`, or `name` alone for the options that need no value.
    Option {
        name: &'a str,
        value: Option<&'a str>,
    },
    /// What follows the mark of a comment for the engine.
    Engine(&'a str),
}

/// Every line that says something, with its number.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Lines {
            rest: text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text),
            line: 0,
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<(usize, Line<'a>), (usize, JobErrorKind)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = self.rest.iter().position(|&b| b == b'\n');
            let (raw, rest) = match end {
                Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            self.line += 1;
            match parse_line(raw) {
                Ok(None) => {}
                Ok(Some(line)) => return Some(Ok((self.line, line))),
                Err(kind) => return Some(Err((self.line, kind))),
            }
        }
        None
    }
}

fn parse_line(raw: &[u8]) -> Result<Option<Line<'_>>, JobErrorKind> {
    if raw.len() > LINE_BYTES_MAX {
        return Err(JobErrorKind::LineTooLong);
    }
    let text = std::str::from_utf8(raw).map_err(|_| JobErrorKind::NotText)?;
    if text.contains('\0') {
        return Err(JobErrorKind::NotText);
    }
    // fio ends a line at the first of these, wherever it stands.
    let (text, comment) = text.split_once([';', '#']).unwrap_or((text, ""));
    let text = text.trim();
    if let Some(settings) = comment.trim_start().strip_prefix(MARK) {
        return match text.is_empty() {
            true => Ok(Some(Line::Engine(settings))),
            false => Err(JobErrorKind::Malformed(
                "a comment for the engine stands on a line of its own",
            )),
        };
    }
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(section) = text.strip_prefix('[') {
        let name = section
            .strip_suffix(']')
            .ok_or(JobErrorKind::Malformed("a section is a name in [brackets]"))?
            .trim();
        return if name.is_empty() || name.len() > NAME_BYTES_MAX {
            Err(JobErrorKind::Malformed(
                "a section's name has 1 to 255 bytes",
            ))
        } else {
            Ok(Some(Line::Section(name)))
        };
    }
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(JobErrorKind::Malformed("an option is written name=value"));
    }
    Ok(Some(Line::Option { name, value }))
}
