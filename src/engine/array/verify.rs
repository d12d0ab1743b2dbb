//! Reading all of a packed field, to find what is damaged before somebody needs it.

use super::open::ArrayOptions;
use super::repair::repair;
use super::superblock::{Copy, SUPERBLOCK_BYTES};
use super::superblocks::Superblocks;
use crate::engine::packed::Progress;
use crate::engine::{EngineBuilder, Field};
use crate::error::{Error, Result};
use crate::ring::fault::Fault;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pages that are read at once.
const PAGES_AT_ONCE: usize = 32;
/// Damages that are named; more are counted.
const DAMAGES_MAX: usize = 10_000;

/// Reads every byte that is stored of a packed field and compares it with what it should be: pages and directories with their
/// checksums, superblocks with each other, and what lies between with zeros.
///
/// # Examples
/// ```no_run
/// # fn main() -> ringfield::Result<()> {
/// let found = ringfield::Verify::new(["model.rf"]).rate(200 << 20).run(|_| true)?;
/// for damage in &found.damages {
///     println!("{damage}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Verify {
    files: Vec<PathBuf>,
    rate: Option<u64>,
    repair: bool,
}

/// What was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Pages that were compared with their checksums.
    pub pages: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What is damaged; the first 10 000.
    pub damages: Vec<Damage>,
    /// Damages in all.
    pub damage_count: u64,
    /// Superblocks that were damaged and are whole again.
    pub repaired: Vec<String>,
    /// Members of the array that were not named.
    pub missing: Vec<u32>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Its number among the members.
    pub member: u32,
    /// The page, where it is a page of the field.
    pub page: Option<u64>,
    /// Where it begins in the file.
    pub offset: u64,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, offset) = (self.path.display(), self.offset);
        match self.page {
            Some(page) => write!(
                f,
                "{path}: page {page} (bytes from {offset}): {}",
                self.what
            ),
            None => write!(f, "{path}: bytes from {offset}: {}", self.what),
        }
    }
}

impl Verify {
    /// Verifies the packed field in these files. Members that are not named are not looked at.
    pub fn new<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Verify {
        let files = files.into_iter().map(|path| path.as_ref().to_path_buf());
        Verify {
            files: files.collect(),
            rate: None,
            repair: false,
        }
    }

    /// Reads at most this many bytes a second, so that others have the rest of the device. Default: as fast as it goes.
    #[must_use]
    pub fn rate(mut self, bytes_per_second: u64) -> Verify {
        self.rate = Some(bytes_per_second);
        self
    }

    /// Writes a superblock that is damaged anew from the other copy of its file, under an exclusive lock. Pages have no
    /// second copy. Default: false, nothing is written.
    #[must_use]
    pub fn repair(mut self, repair: bool) -> Verify {
        self.repair = repair;
        self
    }

    /// Verifies. `progress` is called now and then; where it returns false, it ends with [`Error::Cancelled`].
    ///
    /// # Errors
    /// Those of [`crate::Engine::open_array`], but for missing members; [`Error::Locked`] where a superblock is to be
    /// repaired and somebody reads the file; [`Error::InvalidOption`]. What is damaged is no error but in [`Verified`].
    pub fn run(&self, mut progress: impl FnMut(Progress) -> bool) -> Result<Verified> {
        if self.rate == Some(0) {
            return Err(Error::InvalidOption {
                option: "rate",
                value: "0".into(),
                why: "at least a byte a second".into(),
            });
        }
        let mut verified = Verified::default();
        let mut page_bytes = 4096;
        for path in &self.files {
            let both = Superblocks::read(path)?;
            let (first, file_bytes) = (both.copies[0].clone().ok(), both.file_bytes);
            let (superblock, damaged) = both.chosen(path)?;
            page_bytes = superblock.page_bytes;
            if let Some(what) = damaged {
                if self.repair {
                    verified.repaired.push(repair(path)?);
                    continue;
                }
                let copy = match first.as_ref() == Some(&superblock) {
                    true => Copy::Last,
                    false => Copy::First,
                };
                let offset = copy.at(file_bytes);
                verified.add(path, superblock.member, None, offset, what);
            }
        }
        let engine = EngineBuilder::new()
            .page_size(page_bytes)
            .dram_budget((2 * PAGES_AT_ONCE as u64 + 16) * page_bytes + (24 << 20))
            .metadata_budget(16 << 20)
            .build()?;
        let options = ArrayOptions::new().degraded(true);
        let field = engine.open_array_with(&self.files, options)?;
        verified.check_gaps(&field)?;
        let mut pace = Pace {
            rate: self.rate,
            started: Instant::now(),
        };
        verified.check_pages(&field, &mut |now| {
            pace.keep(now.done_bytes);
            progress(now)
        })?;
        Ok(verified)
    }
}

/// Keeps to a rate.
struct Pace {
    rate: Option<u64>,
    started: Instant,
}

impl Pace {
    fn keep(&mut self, done_bytes: u64) {
        let Some(rate) = self.rate else {
            return;
        };
        let due = Duration::from_secs_f64(done_bytes as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
    }
}

impl Verified {
    /// True where nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.damage_count == 0
    }

    fn add(&mut self, path: &Path, member: u32, page: Option<u64>, offset: u64, what: String) {
        self.damage_count += 1;
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(Damage {
                path: path.to_path_buf(),
                member,
                page,
                offset,
                what,
            });
        }
    }

    /// What lies between the first superblock and the directory is zero.
    fn check_gaps(&mut self, field: &Field) -> Result<()> {
        let Some(array) = field.shared.array.as_deref() else {
            return Ok(());
        };
        for (number, member) in field.shared.members.iter().enumerate() {
            let number = number as u32;
            let (Some(member), Some(Some(map))) = (member, array.members.get(number as usize))
            else {
                self.missing.push(number);
                continue;
            };
            let path = &member.file.path;
            self.bytes += map.layout.file_bytes;
            let read = || -> std::io::Result<Vec<u8>> {
                let mut gap = vec![0; (map.layout.directory_at - SUPERBLOCK_BYTES) as usize];
                File::open(path)?.read_exact_at(&mut gap, SUPERBLOCK_BYTES)?;
                Ok(gap)
            };
            match read() {
                Ok(gap) => {
                    if let Some(at) = gap.iter().position(|&byte| byte != 0) {
                        let offset = SUPERBLOCK_BYTES + at as u64;
                        self.add(
                            path,
                            number,
                            None,
                            offset,
                            "not zero between the superblock and the directory".into(),
                        );
                    }
                }
                Err(e) => self.add(path, number, None, SUPERBLOCK_BYTES, e.to_string()),
            }
        }
        Ok(())
    }

    /// Reads every page; the directories are read with them.
    fn check_pages(
        &mut self,
        field: &Field,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<()> {
        let Some(array) = field.shared.array.as_deref() else {
            return Ok(());
        };
        let (page_bytes, len) = (array.page_bytes, field.len());
        let pages = len.div_ceil(page_bytes);
        let mut batch = field.engine().batch(PAGES_AT_ONCE)?;
        let mut next = 0;
        loop {
            while batch.pending() < PAGES_AT_ONCE && next < pages {
                let page = next;
                next += 1;
                if array.missing(page, 1).is_none() {
                    let range = page * page_bytes..((page + 1) * page_bytes).min(len);
                    batch.submit(field, range, page)?;
                }
            }
            if batch.wait(PAGES_AT_ONCE / 2) == 0 {
                return Ok(());
            }
            while let Some(ready) = batch.next() {
                self.pages += 1;
                let page = ready.tag();
                if let Err(e) = ready.view().map(drop) {
                    self.add_error(page, array.offset_of(page), e)?;
                }
            }
            let now = Progress {
                done_bytes: (next * page_bytes).min(len),
                total_bytes: len,
            };
            if !progress(now) {
                return Err(Error::Cancelled);
            }
        }
    }

    /// Notes an error that says something about the field; others end the verification.
    fn add_error(&mut self, page: u64, at: Option<u64>, error: Error) -> Result<()> {
        match error {
            Error::Read {
                fault: fault @ (Fault::Shutdown | Fault::LoopFailed | Fault::Closed),
                path,
                member,
                offset,
                ..
            } => Err(Error::Read {
                path,
                member,
                page,
                offset,
                fault,
            }),
            Error::Read {
                path,
                member,
                page: failed,
                offset,
                fault,
            } => {
                let what = match failed == page {
                    true => fault.to_string(),
                    false => format!("its directory page at {offset}: {fault}"),
                };
                let at = at.unwrap_or(offset);
                self.add(&path, member.unwrap_or(0), Some(page), at, what);
                Ok(())
            }
            other => Err(other),
        }
    }
}
