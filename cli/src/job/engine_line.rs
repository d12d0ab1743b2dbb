//! The comment in which a job file keeps what fio has no option for.
//!
//! `; ringfield: page_size=4096 dram_budget=16777216 queue_depth=32` is nothing to fio, and to
//! `ringfield bench` the engine's settings; the command line's own come before them.
//!
//! `; ringfield: prefetch` marks the section that it stands in: nobody waits for its reads, and the
//! engine makes them in its lane for hints. To fio and the other peers they are reads like others.

use std::fmt;

use clap::ValueEnum;

use super::{JobErrorKind, value};
use crate::args::{Backend, HugePages};

/// What such a comment begins with, after its `;` or `#`.
pub(super) const MARK: &str = "ringfield:";

/// The comment that marks the reads of a section as hints.
pub(crate) const PREFETCH: &str = "; ringfield: prefetch";

const DEPTH_MAX: u64 = 4096;

/// What one such comment says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EngineLine {
    /// Those of the whole file.
    pub(super) settings: EngineSettings,
    /// The mark of the section.
    pub(super) prefetch: Option<bool>,
}

/// The engine's settings; what is `None` follows from the job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineSettings {
    /// Bytes.
    pub(crate) page_size: Option<u64>,
    /// Bytes.
    pub(crate) dram_budget: Option<u64>,
    pub(crate) queue_depth: Option<u32>,
    pub(crate) backend: Option<Backend>,
    pub(crate) inline_reads: Option<bool>,
    pub(crate) huge_pages: Option<HugePages>,
}

impl EngineSettings {
    /// These, and the others where these say nothing.
    pub(crate) fn or(self, others: &EngineSettings) -> EngineSettings {
        EngineSettings {
            page_size: self.page_size.or(others.page_size),
            dram_budget: self.dram_budget.or(others.dram_budget),
            queue_depth: self.queue_depth.or(others.queue_depth),
            backend: self.backend.or(others.backend),
            inline_reads: self.inline_reads.or(others.inline_reads),
            huge_pages: self.huge_pages.or(others.huge_pages),
        }
    }
}

impl EngineLine {
    /// Reads what follows the mark.
    pub(super) fn parse(text: &str) -> Result<EngineLine, JobErrorKind> {
        let mut line = EngineLine::default();
        for setting in text.split_whitespace() {
            let said = match setting.split_once('=') {
                // As with fio's flags, the name alone is a yes.
                None if setting == "prefetch" => line.mark("1"),
                Some(("prefetch", text)) => line.mark(text),
                Some((name, text)) => line.settings.set(name, text),
                None => line.settings.set(setting, ""),
            };
            said.map_err(|expected| JobErrorKind::EngineSetting {
                setting: super::given::shorten(setting),
                expected,
            })?;
        }
        Ok(line)
    }

    fn mark(&mut self, text: &str) -> Result<(), &'static str> {
        self.prefetch = Some(value::yes_or_no(text).ok_or("0 or 1 was expected")?);
        Ok(())
    }
}

impl EngineSettings {
    fn set(&mut self, name: &str, text: &str) -> Result<(), &'static str> {
        const BYTES: &str = "a size such as 64k was expected";
        match name {
            "page_size" => self.page_size = Some(value::bytes(text).ok_or(BYTES)?),
            "dram_budget" => self.dram_budget = Some(value::bytes(text).ok_or(BYTES)?),
            "queue_depth" => {
                let depth = value::integer(text).filter(|n| (1..=DEPTH_MAX).contains(n));
                let depth = depth.and_then(|n| u32::try_from(n).ok());
                self.queue_depth = Some(depth.ok_or("a number from 1 to 4096 was expected")?);
            }
            "backend" => {
                let backend = Backend::from_str(text, false);
                self.backend = Some(backend.map_err(|_| "auto, uring, pread and mmap are there")?);
            }
            "inline_reads" => {
                self.inline_reads = Some(value::yes_or_no(text).ok_or("0 or 1 was expected")?);
            }
            "huge_pages" => {
                let pages = HugePages::from_str(text, false);
                let known = "auto, explicit, transparent and off are there";
                self.huge_pages = Some(pages.map_err(|_| known)?);
            }
            _ => {
                return Err(
                    "the engine's settings are page_size, dram_budget, queue_depth, backend, \
                     inline_reads and huge_pages, a section's is prefetch",
                );
            }
        }
        Ok(())
    }
}

/// The comment, whole.
impl fmt::Display for EngineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "; {MARK}")?;
        if let Some(bytes) = self.page_size {
            write!(f, " page_size={bytes}")?;
        }
        if let Some(bytes) = self.dram_budget {
            write!(f, " dram_budget={bytes}")?;
        }
        if let Some(depth) = self.queue_depth {
            write!(f, " queue_depth={depth}")?;
        }
        if let Some(backend) = self.backend.and_then(|b| b.to_possible_value()) {
            write!(f, " backend={}", backend.get_name())?;
        }
        if let Some(allowed) = self.inline_reads {
            write!(f, " inline_reads={}", u8::from(allowed))?;
        }
        if let Some(pages) = self.huge_pages.and_then(|p| p.to_possible_value()) {
            write!(f, " huge_pages={}", pages.get_name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let all = EngineSettings {
            page_size: Some(8192),
            dram_budget: Some(48 << 20),
            queue_depth: Some(24),
            backend: Some(Backend::Pread),
            inline_reads: Some(false),
            huge_pages: Some(HugePages::Transparent),
        };
        let text = all.to_string();
        let settings = text.strip_prefix("; ringfield:").expect("the mark");
        let read = EngineLine::parse(settings).expect("good");
        assert_eq!((&read.settings, read.prefetch), (&all, None));
        let none = EngineSettings::default();
        assert_eq!(all.clone().or(&none), all);
        assert_eq!(none.or(&all), all);
    }
}
