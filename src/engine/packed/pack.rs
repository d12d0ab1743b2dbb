//! Packing: a model's files are read, laid out anew, and written to the members of an array.
//!
//! A window of pages is read ahead (`Gatherer`); each page is put together in a frame of the pool, gets its checksum, and
//! goes to its member's device. Then come the directories, then the superblocks, each synced before the next, and last of
//! all the names.

use super::gather::Gatherer;
use super::layout::Layout;
use super::source::{self, SourceFile};
use super::writer::ArrayWriter;
use crate::engine::Engine;
use crate::engine::array::MEMBERS_MAX;
use crate::engine::array::superblock::{HAS_INDEX, Superblock};
use crate::engine::builder::EngineBuilder;
use crate::error::{Error, Result};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// Default size of a page, in bytes: one read of it takes about as long as a device needs to start one.
const PAGE_BYTES: u64 = 256 << 10;
/// Bytes that are read ahead, and bytes that are being written: what keeps a fast device busy.
const WINDOW_BYTES: u64 = 4 << 20;
/// Bytes of the pool, for both and what lies across pages; more would only take the time of its first touch.
const POOL_BYTES: u64 = 16 << 20;
/// Frames of the pool at least.
const FRAMES_MIN: u64 = 24;
/// Metadata: the headers of large models.
const METADATA_BYTES: u64 = 24 << 20;

/// Pages of a window.
pub(super) fn window_pages(page_bytes: u64) -> usize {
    (WINDOW_BYTES / page_bytes).clamp(4, 256) as usize
}

/// What becomes of the experts of a layer: in which order they lie.
type ExpertOrder<'p> = Box<dyn Fn(u32, u64) -> Option<Vec<u32>> + 'p>;

/// Rewrites a model into a packed field: pages with checksums, rows that no page cuts, the parts of an expert side by side,
/// striped over as many files as are named. Nothing of the model is lost: [`crate::PackedField::unpack`] gives back the same files.
///
/// # Examples
/// ```no_run
/// # fn main() -> ringfield::Result<()> {
/// let packed = ringfield::Pack::new(["model.gguf"])
///     .page_size(256 << 10)
///     .run(["/mnt/a/model.rf", "/mnt/b/model.rf"], |_| true)?;
/// println!("{} bytes of padding", packed.padding_bytes);
/// # Ok(()) }
/// ```
pub struct Pack<'p> {
    sources: Vec<PathBuf>,
    page_bytes: u64,
    replace: bool,
    order: ExpertOrder<'p>,
}

impl std::fmt::Debug for Pack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack")
            .field("sources", &self.sources)
            .field("page_bytes", &self.page_bytes)
            .finish_non_exhaustive()
    }
}

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packed {
    /// Tensors.
    pub tensors: u64,
    /// Bytes of the model's files.
    pub source_bytes: u64,
    /// Lengths of the members together, in bytes.
    pub packed_bytes: u64,
    /// Of these, bytes behind the last row of a page and between tensors.
    pub padding_bytes: u64,
    /// Of these, superblocks and directories.
    pub checksum_bytes: u64,
    /// Of both, zeros at the end of pages that are neither stored nor read: holes of the files.
    pub hole_bytes: u64,
    /// Pages of the array.
    pub pages: u64,
}

impl<'p> Pack<'p> {
    /// Packs the model in these files: one file of a GGUF model (the others of its set are found by its name), or all
    /// safetensors files of one.
    pub fn new<P: AsRef<Path>>(sources: impl IntoIterator<Item = P>) -> Pack<'p> {
        let sources = sources.into_iter().map(|path| path.as_ref().to_path_buf());
        Pack {
            sources: sources.collect(),
            page_bytes: PAGE_BYTES,
            replace: false,
            order: Box::new(|_, _| None),
        }
    }

    /// Bytes of a page: a power of two from 4 KiB to 4 MiB. Default 256 KiB. An engine that reads the field has pages of
    /// the same size.
    #[must_use]
    pub fn page_size(mut self, bytes: u64) -> Pack<'p> {
        self.page_bytes = bytes;
        self
    }

    /// Takes the place of files that exist already. Default: they are an error.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Pack<'p> {
        self.replace = replace;
        self
    }

    /// In which order the experts of a layer lie: given a layer and its number of experts, the place of each, or `None`
    /// for their own order. What is no permutation is an error of [`Pack::run`].
    #[must_use]
    pub fn expert_order(mut self, order: impl Fn(u32, u64) -> Option<Vec<u32>> + 'p) -> Pack<'p> {
        self.order = Box::new(order);
        self
    }

    /// Packs into the files `members`, each on a device of its own where there are several. They appear when all is there;
    /// before, and after an error, there is nothing under their names.
    ///
    /// `progress` is called now and then; where it returns false, packing ends with [`Error::Cancelled`].
    ///
    /// # Errors
    /// [`Error::Create`] and [`Error::Write`] for the members; [`Error::Malformed`] and those of [`Engine::open`] and
    /// [`crate::Field::read`] for the model; [`Error::InvalidOption`].
    pub fn run<P: AsRef<Path>>(
        &self,
        members: impl IntoIterator<Item = P>,
        mut progress: impl FnMut(Progress) -> bool,
    ) -> Result<Packed> {
        let members = members.into_iter().map(|path| path.as_ref().to_path_buf());
        let members: Vec<PathBuf> = members.collect();
        self.check(&members)?;
        let engine = engine(self.page_bytes)?;
        let mut files = source::open(&engine, &self.sources)?;
        let source_bytes = files.iter().map(|file| file.field.len()).sum();
        let layout = Layout::of(&mut files, self.page_bytes, &self.order)?;
        // Pages that no member would have are not worth a case of their own.
        let len = layout.len.max(self.page_bytes * members.len() as u64);
        let superblock = Superblock {
            array: random_id(),
            member: 0,
            members: members.len() as u32,
            generation: 1,
            page_bytes: self.page_bytes,
            len,
            features: HAS_INDEX,
            optional_features: 0,
            root: Default::default(),
            index_at: layout.index_at,
            index_bytes: layout.len - layout.index_at,
            creator: concat!("ringfield ", env!("CARGO_PKG_VERSION")).into(),
        };
        let mut writer = ArrayWriter::create(&engine, superblock, &members, self.replace)?;
        let report = |done: u64| {
            let now = Progress {
                done_bytes: done,
                total_bytes: len,
            };
            match progress(now) {
                true => Ok(()),
                false => Err(Error::Cancelled),
            }
        };
        copy(&engine, &files, &layout, &mut writer, report)?;
        let packed_bytes = writer.bytes();
        let pages = writer.pages();
        let hole_bytes = writer.finish(self.replace)?;
        let index = &layout.index;
        let held = index.entries.iter().map(|entry| entry.rows.bytes());
        let headers = index
            .files
            .iter()
            .map(|file| file.header.end - file.header.start);
        let held: u64 = held.chain(headers).sum::<u64>() + layout.len - layout.index_at;
        Ok(Packed {
            tensors: index.entries.iter().filter(|e| e.role.is_some()).count() as u64,
            source_bytes,
            packed_bytes,
            padding_bytes: (pages * self.page_bytes).saturating_sub(held),
            hole_bytes,
            checksum_bytes: packed_bytes - pages * self.page_bytes,
            pages,
        })
    }

    fn check(&self, members: &[PathBuf]) -> Result<()> {
        let invalid =
            |option, value: String, why: String| Error::InvalidOption { option, value, why };
        if !self.page_bytes.is_power_of_two() || !(4096..=4 << 20).contains(&self.page_bytes) {
            let why = "a power of two from 4096 to 4194304".into();
            return Err(invalid("page_size", self.page_bytes.to_string(), why));
        }
        if members.is_empty() || members.len() > MEMBERS_MAX as usize {
            let why = format!("an array has 1 to {MEMBERS_MAX}");
            return Err(invalid("members", members.len().to_string(), why));
        }
        let places: Vec<PathBuf> = members.iter().map(|path| place_of(path)).collect();
        for (k, path) in members.iter().enumerate() {
            if places[k + 1..].contains(&places[k]) {
                let why = "named twice; each member is a file of its own".into();
                return Err(invalid("members", path.display().to_string(), why));
            }
        }
        Ok(())
    }
}

/// Where a file will lie, however it is called.
fn place_of(path: &Path) -> PathBuf {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new(".")).canonicalize();
    match (directory, path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path.to_path_buf(),
    }
}

/// An engine for packing: with pages of that size, and room for the window.
pub(super) fn engine(page_bytes: u64) -> Result<Engine> {
    EngineBuilder::new()
        .page_size(page_bytes)
        .dram_budget(POOL_BYTES.max(FRAMES_MIN * page_bytes) + METADATA_BYTES + (2 << 20))
        .metadata_budget(METADATA_BYTES)
        .build()
}

fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    // Keyed by the operating system's random numbers.
    let (one, other) = (
        RandomState::new().hash_one(0u8),
        RandomState::new().hash_one(1u8),
    );
    id[..8].copy_from_slice(&one.to_le_bytes());
    id[8..].copy_from_slice(&other.to_le_bytes());
    id
}

/// Copies everything, page by page, and last the index.
fn copy(
    engine: &Engine,
    files: &[SourceFile],
    layout: &Layout,
    writer: &mut ArrayWriter,
    mut report: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let page_bytes = writer.page_bytes();
    let index = layout.index.encode();
    let fields = files.iter().map(|file| file.field.clone()).collect();
    let mut gatherer = Gatherer::new(engine, fields, layout.copies(), page_bytes)?;
    for page in 0..writer.pages() {
        let start = page * page_bytes;
        writer.write(page, |bytes| {
            gatherer.fill(page, bytes)?;
            // What of the index lies in this page.
            let (from, to) = (start.max(layout.index_at), start + page_bytes);
            let part = from..to.min(layout.len);
            if !part.is_empty() {
                let at = (part.start - start) as usize;
                let part = &index[(part.start - layout.index_at) as usize..]
                    [..(part.end - part.start) as usize];
                bytes[at..at + part.len()].copy_from_slice(part);
            }
            Ok(())
        })?;
        report(start)?;
    }
    Ok(())
}
