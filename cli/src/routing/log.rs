//! A routing log: which experts fired, token by token and layer by layer.
//!
//! Text: lines that begin with `#` say other things, the first other line names the columns, every further one is an
//! expert that fired. A token is known by its `step`, and by `turn` and `phase` where those columns are there; its rows of
//! one layer follow each other. Only pairs are kept, so that a log of any length can be read.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::interrupt;

/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 4096;
/// Most experts that fire for a token in a layer: each is a pair with all others.
const TOGETHER_MAX: usize = 64;
/// Expert numbers are below this.
const EXPERTS_MAX: u32 = 4096;
/// Lines between two looks at whether to stop.
const LOOK_LINES: u64 = 1 << 16;

/// How often the experts of a layer fired, alone and in pairs.
#[derive(Debug, Default)]
pub(super) struct Firings {
    /// By the smaller and the larger number; how often an expert fired stands at the pair with itself.
    pairs: HashMap<(u32, u32), u32>,
    most: u32,
}

impl Firings {
    /// The last of `group` fired for the token for which the others did.
    pub(super) fn join(&mut self, group: &[u32]) {
        let Some(&last) = group.last() else {
            return;
        };
        self.most = self.most.max(last);
        for &other in group {
            let count = self
                .pairs
                .entry((last.min(other), last.max(other)))
                .or_insert(0);
            *count = count.saturating_add(1);
        }
    }

    /// The largest number of all that fired.
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// How often each of `experts` fired with each, row by row.
    pub(super) fn matrix(&self, experts: usize) -> Vec<u32> {
        let mut matrix = vec![0; experts * experts];
        for (&(one, other), &count) in &self.pairs {
            for (row, column) in [(one, other), (other, one)] {
                if let Some(place) = matrix.get_mut(row as usize * experts + column as usize) {
                    *place = count;
                }
            }
        }
        matrix
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct RoutingLog {
    path: PathBuf,
    layers: BTreeMap<u32, Firings>,
}

/// Where the columns that count are.
struct Columns {
    names: usize,
    turn: Option<usize>,
    phase: Option<usize>,
    step: usize,
    layer: usize,
    expert: usize,
}

/// A token in a layer: turn, phase, step, layer.
type Token = (u64, u64, u64, u32);

impl RoutingLog {
    /// # Errors
    /// A file that cannot be read; one that is no such log, with the line that is wrong; an interrupt.
    pub(super) fn read(path: &Path) -> Result<RoutingLog> {
        let file = File::open(path).at("cannot open", path)?;
        let mut lines = Lines {
            path,
            from: BufReader::new(file),
            line: Vec::new(),
            number: 0,
        };
        let mut log = RoutingLog {
            path: path.to_owned(),
            layers: BTreeMap::new(),
        };
        let Some(head) = lines.next()? else {
            return Err(lines.wrong("is empty: a line with the names of the columns was expected"));
        };
        let columns = Columns::of(head).map_err(|why| lines.wrong(&why))?;
        let mut group: Vec<u32> = Vec::new();
        let mut token: Option<Token> = None;
        while let Some(row) = lines.next()? {
            let (this, expert) = columns.row(row).map_err(|why| lines.wrong(&why))?;
            if token.replace(this).is_some_and(|last| last != this) {
                group.clear();
            }
            if group.contains(&expert) {
                return Err(lines.wrong(&format!(
                    "expert {expert} fires a second time for the same step and layer"
                )));
            }
            if group.len() == TOGETHER_MAX {
                return Err(lines.wrong(&format!(
                    "more than {TOGETHER_MAX} experts fire for one step and layer"
                )));
            }
            group.push(expert);
            let fired = log.layers.entry(this.3).or_default();
            fired.join(&group);
        }
        match log.layers.is_empty() {
            true => Err(lines.wrong("no row of an expert that fired")),
            false => Ok(log),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn layer(&self, layer: u32) -> Option<&Firings> {
        self.layers.get(&layer)
    }
}

impl Columns {
    fn of(head: &str) -> std::result::Result<Columns, String> {
        let names: Vec<&str> = head.split(',').map(str::trim).collect();
        let find = |name: &str| names.iter().position(|found| *found == name);
        let must = |name: &str| {
            find(name).ok_or_else(|| {
                format!("no column `{name}`: the first line names the columns, step, layer and expert among them")
            })
        };
        Ok(Columns {
            names: names.len(),
            turn: find("turn"),
            phase: find("phase"),
            step: must("step")?,
            layer: must("layer")?,
            expert: must("expert")?,
        })
    }

    fn row(&self, row: &str) -> std::result::Result<(Token, u32), String> {
        let values: Vec<&str> = row.split(',').map(str::trim).collect();
        if values.len() != self.names {
            return Err(format!(
                "{} values, and {} columns have names",
                values.len(),
                self.names
            ));
        }
        let number = |at: usize, name: &str| -> std::result::Result<u64, String> {
            let value = values.get(at).copied().unwrap_or_default();
            let shown: String = value.escape_debug().take(40).collect();
            value
                .parse()
                .map_err(|_| format!("{name} is `{shown}`, and a number was expected"))
        };
        let optional = |at: Option<usize>, name: &str| at.map_or(Ok(0), |at| number(at, name));
        let layer = number(self.layer, "layer")?;
        let layer = u32::try_from(layer).map_err(|_| format!("layer {layer} is too large"))?;
        let expert = number(self.expert, "expert")?;
        let below = u64::from(EXPERTS_MAX);
        if expert >= below {
            return Err(format!(
                "expert {expert} is too large: numbers below {below} can be used"
            ));
        }
        let token = (
            optional(self.turn, "turn")?,
            optional(self.phase, "phase")?,
            number(self.step, "step")?,
            layer,
        );
        Ok((token, expert as u32))
    }
}

/// The lines of a file that are no comments.
struct Lines<'p, R> {
    path: &'p Path,
    from: R,
    line: Vec<u8>,
    /// Of the last line, from 1.
    number: u64,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<Option<&str>> {
        loop {
            self.line.clear();
            let mut some = self.from.by_ref().take(LINE_BYTES_MAX + 1);
            let read = some
                .read_until(b'\n', &mut self.line)
                .at("cannot read", self.path)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.number.is_multiple_of(LOOK_LINES) {
                interrupt::check()?;
            }
            if self.line.starts_with(&[0x1f, 0x8b]) && self.number == 1 {
                return Err(self.wrong("is compressed: give what `gunzip` makes of it"));
            }
            if read as u64 > LINE_BYTES_MAX {
                return Err(self.wrong(&format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            let is_empty = self.line.trim_ascii().is_empty();
            if !is_empty && !self.line.starts_with(b"#") {
                break;
            }
        }
        match std::str::from_utf8(&self.line) {
            Ok(line) => Ok(Some(line.trim())),
            Err(_) => Err(self.wrong("is no text")),
        }
    }

    fn wrong(&self, why: &str) -> Error {
        Error::message(format!(
            "{}:{}: {why}",
            self.path.display(),
            self.number.max(1)
        ))
    }
}
