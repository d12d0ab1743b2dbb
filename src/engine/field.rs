//! A file of any size, read through the pool.

use super::Engine;
use super::array::ArrayMap;
use super::claim::Pinned;
use super::core::Core;
use super::future::ReadFuture;
use super::geometry::Geometry;
use super::view::View;
use crate::error::{Error, Result};
use crate::ring::file::OpenFile;
use crate::ring::grant::Grant;
use crate::ring::handle::Ring;
use crate::ring::shared::Control;
use crate::tiers::pool::Pool;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of a field, and who reads it.
pub(crate) struct Member {
    pub(crate) ring: Arc<Ring>,
    pub(crate) file: Arc<OpenFile>,
    /// The file's number in the ring.
    pub(crate) file_index: u32,
}

impl Member {
    /// Closes the file, once its last read is done.
    pub(crate) fn forget(&self) {
        self.ring.shared.control(Control::RemoveFile {
            index: self.file_index,
        });
    }
}

/// What all handles of an open field share.
pub(crate) struct FieldShared {
    pub(crate) core: Arc<Core>,
    /// One file, or those of an array; `None` for one that is missing.
    pub(crate) members: Box<[Option<Member>]>,
    /// Where pages lie on the members, and their checksums; `None` for a file that is read as it is.
    pub(crate) array: Option<Box<ArrayMap>>,
    /// No member is missing.
    pub(crate) complete: bool,
    /// What is not as it should be with an array, for the report.
    pub(crate) grants: Vec<Grant>,
    /// What errors call it: the path of the first file.
    pub(crate) path: PathBuf,
    pub(crate) id: u32,
    pub(crate) geometry: Geometry,
    /// Bytes charged to the metadata budget.
    pub(crate) charged: u64,
}

impl FieldShared {
    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        &self.core.pool
    }

    /// The number of the member that a unit lies on.
    #[inline]
    pub(crate) fn member_number(&self, unit: u64) -> u32 {
        self.array
            .as_deref()
            .map_or(0, |array| array.member_of(unit))
    }

    /// The member that a unit lies on, where it is not missing.
    #[inline]
    pub(crate) fn member_of(&self, unit: u64) -> Option<&Member> {
        self.members
            .get(self.member_number(unit) as usize)?
            .as_ref()
    }

    /// The ring of all members, where they share one.
    pub(crate) fn only_ring(&self) -> Option<&Arc<Ring>> {
        let mut rings = self.members.iter().flatten().map(|member| &member.ring);
        let first = rings.next()?;
        rings.all(|ring| Arc::ptr_eq(ring, first)).then_some(first)
    }

    /// Checks a range and finds its units: (first, count). An empty range has none.
    #[inline]
    pub(crate) fn units(&self, range: &Range<u64>) -> Result<(u64, u32)> {
        if range.start >= range.end || range.end > self.geometry.len {
            if range.start == range.end && range.end <= self.geometry.len {
                return Ok((0, 0));
            }
            return Err(self.out_of_bounds(range));
        }
        let first = self.geometry.unit(range.start);
        let last = self.geometry.unit(range.end - 1);
        if first == last && self.complete {
            // One unit fits the pool, and so do the directory pages above it: `open` has seen to that.
            return Ok((first, 1));
        }
        let count = last - first + 1;
        let frames = u64::from(self.pool().frame_count());
        let mut need = count.saturating_mul(u64::from(self.geometry.span));
        if let Some(array) = self.array.as_deref()
            && need <= frames
        {
            if let Some((member, page)) = array.missing(first, count as u32) {
                return Err(self.missing(member, page));
            }
            need += u64::from(array.nodes_above(first, count as u32));
        }
        if need > frames {
            return Err(Error::RangeTooLarge { need, frames });
        }
        Ok((first, count as u32))
    }

    #[cold]
    fn missing(&self, member: u32, page: u64) -> Error {
        Error::MissingMember {
            path: self.path.clone(),
            member,
            members: self.members.len() as u32,
            page: Some(page),
        }
    }

    #[cold]
    fn out_of_bounds(&self, range: &Range<u64>) -> Error {
        Error::OutOfBounds {
            path: self.path.clone(),
            start: range.start,
            end: range.end,
            len: self.geometry.len,
        }
    }

    #[inline]
    fn check_fork(&self) -> Result<()> {
        if self.core.is_forked() {
            Err(Error::Forked)
        } else {
            Ok(())
        }
    }

    #[inline]
    pub(crate) fn read(&self, range: Range<u64>) -> Result<View<'_>> {
        self.check_fork()?;
        let (first, count) = self.units(&range)?;
        // What the two ways give is a few words, so that the fast one stays in registers: a view that is built in
        // memory and read back at once costs more than the lookup.
        let pinned = match self.hit_one(first, count, range.start) {
            Some(frame) => Pinned::resident(first, frame),
            None => self.acquire_slow(first, count)?,
        };
        let len = (range.end - range.start) as usize;
        Ok(View::new(self, range.start, len, pinned))
    }

    #[inline]
    fn hit_one(&self, first: u64, count: u32, start: u64) -> Option<u32> {
        if count != 1 {
            return None;
        }
        let within = start - self.geometry.origin(first);
        let (frame, read_ahead) = self.pool().hit(self.key(first), within)?;
        self.core.hits.add(1);
        if read_ahead {
            // Its use made room for more of the plan.
            self.core.feed_plan();
        }
        Some(frame)
    }

    #[cold]
    #[inline(never)]
    fn acquire_slow(&self, first: u64, count: u32) -> Result<Pinned> {
        let pinned = if count == 0 {
            Pinned::NOTHING
        } else {
            self.acquire(first, count)?
        };
        self.core.feed_plan();
        Ok(pinned)
    }

    pub(crate) fn ready(&self) -> Result<()> {
        self.check_fork()
    }
}

impl Drop for FieldShared {
    fn drop(&mut self) {
        if self.core.is_forked() {
            return;
        }
        self.core.forget_field(self);
        for member in self.members.iter().flatten() {
            member.forget();
        }
    }
}

/// An open file: a handle that is cheap to clone. Two opens of the same unchanged file share their pages.
///
/// The file is taken to be immutable while it is open. Its device, inode, length, mtime and ctime are compared at every
/// short read and by [`Engine::report`]; a change is [`Error::FileChanged`].
#[derive(Clone)]
pub struct Field {
    pub(crate) shared: Arc<FieldShared>,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Field")
            .field("path", &self.shared.path)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Field {
    /// Length in bytes, as at `open`.
    pub fn len(&self) -> u64 {
        self.shared.geometry.len
    }

    /// True for an empty file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The path it was opened by; of an array that of its first file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// True where reads bypass the page cache.
    pub fn is_direct(&self) -> bool {
        let mut members = self.shared.members.iter().flatten();
        members.all(|member| member.file.direct)
    }

    /// True for a packed field, whose pages are compared with their checksums.
    pub fn is_checked(&self) -> bool {
        self.shared.array.is_some()
    }

    /// The engine it belongs to.
    pub fn engine(&self) -> Engine {
        Engine {
            core: self.shared.core.clone(),
        }
    }

    /// Pins the bytes `range` and returns a view of them; blocks while they are read from the device.
    ///
    /// Inside an async runtime use [`Field::read_async`]: this call blocks its worker.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::RangeTooLarge`], [`Error::PoolPinned`]; [`Error::Read`] or
    /// [`Error::FileChanged`] where the device or the file failed; [`Error::TimedOut`] after `read_deadline`;
    /// [`Error::Busy`] where too many reads wait already; [`Error::Forked`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?; let path = dir.path().join("weights.bin");
    /// # std::fs::write(&path, vec![7u8; 100_000])?;
    /// let engine = ringfield::Engine::builder().dram_budget(8 << 20).build()?;
    /// let field = engine.open(&path)?;
    /// let view = field.read(70_000..70_016)?;
    /// assert_eq!(view.as_slice(), Some(&[7u8; 16][..]));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn read(&self, range: Range<u64>) -> Result<View<'_>> {
        self.shared.read(range)
    }

    /// Reads all `ranges` with one submission and waits for them; see [`super::Batch`].
    ///
    /// What `batch` held before is released. Afterwards `batch.view(i)` is range `i`.
    ///
    /// # Errors
    /// The first error of any range, after all have ended; the other ranges can still be viewed. [`Error::Busy`] where
    /// the batch is smaller than `ranges`.
    pub fn read_many(&self, ranges: &[Range<u64>], batch: &mut super::Batch) -> Result<()> {
        batch.read_many(self, ranges)
    }

    /// Like [`Field::read`], as a future of any executor. It can be dropped at any time: the read goes on in the engine's
    /// own memory.
    pub fn read_async(&self, range: Range<u64>) -> ReadFuture<'_> {
        ReadFuture::new(&self.shared, range)
    }

    /// Asks for `ranges` to be read ahead of need. Never blocks; ranges outside the field are ignored, and under pressure
    /// any part may be dropped. Returns how many units (pages or extents) were queued.
    pub fn prefetch(&self, ranges: &[Range<u64>]) -> usize {
        self.shared.prefetch(ranges)
    }

    /// True where all of `range` is in the pool at this moment. Pins nothing, counts as no use and reads nothing.
    pub fn is_resident(&self, range: Range<u64>) -> bool {
        match self.shared.units(&range) {
            Ok((first, count)) => (first..first + u64::from(count))
                .all(|unit| self.shared.pool().is_resident(self.shared.key(unit))),
            Err(_) => false,
        }
    }

    /// Names a range of this field for [`Engine::plan`].
    pub fn at(&self, range: Range<u64>) -> super::FieldRange {
        super::FieldRange {
            field: self.clone(),
            range,
        }
    }
}

/// How to open a field.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    pub(crate) extent: Option<u64>,
    pub(crate) extent_base: u64,
}

impl OpenOptions {
    /// A field of pages.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Cuts the field into extents of `bytes` (one expert, one neuron cluster): the frames of one are adjacent in memory,
    /// so that [`View::as_slice`] is one slice, and it is read, pinned and evicted as one. Default: pages.
    ///
    /// Costs room where `bytes` is not a multiple of the page size: each extent takes whole pages.
    #[must_use]
    pub fn extent(mut self, bytes: u64) -> OpenOptions {
        self.extent = Some(bytes);
        self
    }

    /// An offset in the file at which an extent begins, in bytes; any alignment. Default 0.
    #[must_use]
    pub fn extent_base(mut self, offset: u64) -> OpenOptions {
        self.extent_base = offset;
        self
    }
}
