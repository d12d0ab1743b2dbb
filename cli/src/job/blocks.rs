//! The block sizes of a job: `bs`, `bsrange` and `bssplit`, each for reads, writes and trims.
//!
//! `bs=4k,8k` is 4k for reads and 8k for writes and trims; what is empty stays as it was, and a
//! comma at the end leaves out the rest. Only reads are made, but fio rounds shares of a file
//! (`size=50%`) to the smallest block of all three.

use super::given::Given;
use super::{BlockSizes, JobErrorKind, value};

const BLOCK_BYTES_MAX: u64 = 64 << 20;
/// fio's own limit.
const SPLIT_ENTRIES_MAX: usize = 64;
/// Reads, writes, trims.
const KINDS: usize = 3;
const READS: usize = 0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// `bs`
    one: [BlockSizes; KINDS],
    /// Where given, `bs` means nothing, wherever it stands.
    range: [Option<BlockSizes>; KINDS],
    split: [Option<BlockSizes>; KINDS],
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks {
            one: [4096; KINDS].map(BlockSizes::One),
            range: Default::default(),
            split: Default::default(),
        }
    }
}

impl Blocks {
    /// The sizes of reads.
    pub(super) fn reads(&self) -> &BlockSizes {
        self.of(READS)
    }

    /// The smallest block of reads, writes and trims, in bytes.
    pub(super) fn least(&self) -> u64 {
        (0..KINDS)
            .map(|kind| self.of(kind).min())
            .min()
            .unwrap_or(512)
    }

    pub(super) fn are_given_twice(&self) -> bool {
        self.range.iter().any(Option::is_some) && self.split.iter().any(Option::is_some)
    }

    fn of(&self, kind: usize) -> &BlockSizes {
        let mixed = self.split[kind].as_ref().or(self.range[kind].as_ref());
        mixed.unwrap_or(&self.one[kind])
    }

    /// `bs=4k`
    pub(super) fn set_one(&mut self, option: &Given) -> Result<(), JobErrorKind> {
        for (place, text) in self.one.iter_mut().zip(lists(option)?) {
            if let Some(text) = text {
                *place = BlockSizes::One(size(option, text)?);
            }
        }
        fits_reads(option, &self.one[READS])
    }

    /// `bsrange=4k-64k`
    pub(super) fn set_range(&mut self, option: &Given) -> Result<(), JobErrorKind> {
        for (place, text) in self.range.iter_mut().zip(lists(option)?) {
            if let Some(text) = text {
                *place = Some(range(option, text)?);
            }
        }
        self.range[READS]
            .iter()
            .try_for_each(|sizes| fits_reads(option, sizes))
    }

    /// `bssplit=4k/50:64k/50`
    pub(super) fn set_split(&mut self, option: &Given) -> Result<(), JobErrorKind> {
        for (place, text) in self.split.iter_mut().zip(lists(option)?) {
            if let Some(text) = text {
                *place = Some(split(option, text)?);
            }
        }
        self.split[READS]
            .iter()
            .try_for_each(|sizes| fits_reads(option, sizes))
    }
}

/// The texts for reads, writes and trims; `None` where nothing is said.
fn lists<'a>(option: &Given<'a>) -> Result<[Option<&'a str>; KINDS], JobErrorKind> {
    let text = option.text()?;
    let mut given = text.split(',').map(str::trim);
    let mut lists = [None; KINDS];
    let mut last = None;
    for list in &mut lists {
        last = given.next().or(last);
        *list = last.filter(|text| !text.is_empty());
    }
    if lists == [None; KINDS] {
        return Err(option.bad("a size such as 4k was expected"));
    }
    match given.next() {
        // `4k,8k,2k,` ends like `4k,8k,2k`.
        None | Some("") if given.next().is_none() => Ok(lists),
        _ => Err(option.bad("at most three are possible: for reads, writes and trims")),
    }
}

fn size(option: &Given, text: &str) -> Result<u64, JobErrorKind> {
    value::bytes(text)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| option.bad("a size such as 4k was expected"))
}

/// As in fio, the ends may stand in either order.
fn range(option: &Given, text: &str) -> Result<BlockSizes, JobErrorKind> {
    let (from, to) = text
        .split_once('-')
        .ok_or_else(|| option.bad("a range such as 4k-64k was expected"))?;
    let (from, to) = (size(option, from.trim())?, size(option, to.trim())?);
    Ok(BlockSizes::Range {
        min: from.min(to),
        max: from.max(to),
    })
}

/// Sizes and their weights in percent. Those without share what is left.
fn split(option: &Given, text: &str) -> Result<BlockSizes, JobErrorKind> {
    let mut given = Vec::new();
    for entry in text.split(':') {
        if given.len() == SPLIT_ENTRIES_MAX {
            return Err(option.bad("at most 64 sizes are possible"));
        }
        let (bytes, weight) = entry.split_once('/').unwrap_or((entry, ""));
        let weight = match weight.trim() {
            "" => None,
            weight => Some(
                value::integer(weight)
                    .and_then(|weight| u32::try_from(weight).ok())
                    .filter(|&weight| weight <= 100)
                    .ok_or_else(|| option.bad("a weight is a number of percent"))?,
            ),
        };
        // A weight of zero is none, as in fio.
        given.push((
            size(option, bytes.trim())?,
            weight.filter(|&weight| weight > 0),
        ));
    }
    let sum: u32 = given.iter().filter_map(|(_, weight)| *weight).sum();
    let without = given.iter().filter(|(_, weight)| weight.is_none()).count();
    let left = 100_u32
        .checked_sub(sum)
        .ok_or_else(|| option.bad("the weights add up to more than 100"))?;
    let share = left / u32::try_from(without.max(1)).unwrap_or(1);
    Ok(BlockSizes::Split {
        entries: given
            .into_iter()
            .map(|(bytes, weight)| (bytes, weight.unwrap_or(share)))
            .collect(),
        text: text.to_owned(),
    })
}

/// Whether reads can have these sizes.
fn fits_reads(option: &Given, sizes: &BlockSizes) -> Result<(), JobErrorKind> {
    let unfit =
        |bytes: &u64| !bytes.is_multiple_of(512) || !(512..=BLOCK_BYTES_MAX).contains(bytes);
    let unfit = match sizes {
        BlockSizes::One(bytes) => Some(*bytes).filter(unfit),
        BlockSizes::Range { min, max } => [*min, *max].into_iter().find(unfit),
        BlockSizes::Split { entries, .. } => entries.iter().map(|&(bytes, _)| bytes).find(unfit),
    };
    let Some(bytes) = unfit else {
        return Ok(());
    };
    let text = option.value.unwrap_or_default().to_ascii_lowercase();
    Err(option.bad(format!(
        "{bytes} bytes is not a multiple of 512 from 512 to 64m, as direct I/O needs{}",
        if text.contains("ib") {
            " (fio reads kib as 1000 bytes and k as 1024)"
        } else {
            ""
        }
    )))
}
