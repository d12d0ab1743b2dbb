//! The files that were packed, byte for byte.

use super::gather::Gatherer;
use super::index::IndexContent;
use super::layout::{Copy, in_pages, runs_of};
use super::new_file::NewFile;
use super::opened::PackedField;
use super::pack::{Progress, WINDOW_PAGES};
use crate::engine::write::Writing;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

impl PackedField {
    /// Writes the files that were packed into `directory`, each by its own name, and returns their paths. Each appears when
    /// it is whole.
    ///
    /// `progress` is called now and then; where it returns false, unpacking ends with [`Error::Cancelled`].
    ///
    /// # Errors
    /// [`Error::Create`] and [`Error::Write`] for the files; those of [`crate::Field::read`] for the field: a damaged page
    /// is an error, never wrong bytes.
    pub fn unpack(
        &self,
        directory: impl AsRef<Path>,
        replace: bool,
        mut progress: impl FnMut(Progress) -> bool,
    ) -> Result<Vec<PathBuf>> {
        let files = self.files()?;
        let mut now = Progress {
            done_bytes: 0,
            total_bytes: files.iter().map(|file| file.bytes).sum(),
        };
        let mut paths = Vec::with_capacity(files.len());
        for (number, file) in files.iter().enumerate() {
            let path = directory.as_ref().join(file_name(&file.name)?);
            self.unpack_file(number as u32, &path, replace, |bytes| {
                now.done_bytes += bytes;
                progress(now)
            })?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn unpack_file(
        &self,
        number: u32,
        path: &Path,
        replace: bool,
        mut progress: impl FnMut(u64) -> bool,
    ) -> Result<()> {
        let (file, _) = self.file(number)?;
        let engine = self.field().engine();
        let page_bytes = engine.page_size();
        let content = self.content(number)?;
        // Whole pages are written; what is too much of the last one is cut off afterwards.
        let len = file.len.next_multiple_of(page_bytes);
        let new = NewFile::create(path, len, replace)?;
        let to = engine.core.open_for_writing(new.descriptor()?, path)?;
        let copies = copies(&content).into_iter();
        let copies = copies.flat_map(|copy| in_pages(copy, page_bytes));
        let mut gatherer = Gatherer::new(&engine, vec![self.field().clone()], copies, page_bytes)?;
        let mut under_way: VecDeque<Writing> = VecDeque::with_capacity(WINDOW_PAGES);
        for page in 0..len / page_bytes {
            if under_way.len() >= WINDOW_PAGES
                && let Some(writing) = under_way.pop_front()
            {
                to.shared.finish_write(writing)?;
            }
            let mut filled = Ok(());
            under_way.push_back(to.shared.write_unit(page, |bytes| {
                filled = gatherer.fill(page, bytes);
            })?);
            filled?;
            if !progress(page_bytes.min(file.len - page * page_bytes)) {
                return Err(Error::Cancelled);
            }
        }
        for writing in under_way {
            to.shared.finish_write(writing)?;
        }
        drop(to);
        new.truncate(file.len)?;
        new.sync()?;
        new.publish(replace)
    }

    /// What of the index is about one file, which becomes file 0.
    fn content(&self, number: u32) -> Result<IndexContent> {
        let file = self.index.file(number)?;
        let mut content = IndexContent::default();
        let first = u64::from(file.first_entry);
        for entry in first..first + u64::from(file.tensors) + u64::from(file.others) {
            let mut entry = self.index.entry(entry)?;
            if let Some(places) = self.index.places(&entry)? {
                entry.places_at = Some(content.places.len() as u64);
                content.places.extend(places);
            }
            entry.file = 0;
            content.entries.push(entry);
        }
        content.files.push(file);
        Ok(content)
    }
}

/// What is copied from the field to the file, in the order of the file.
fn copies(content: &IndexContent) -> Vec<Copy> {
    let mut copies = Vec::new();
    for file in &content.files {
        copies.push(Copy {
            file: 0,
            from: 0,
            to: file.header.start,
            len: file.header.end - file.header.start,
        });
    }
    for entry in &content.entries {
        copies.extend(runs_of(content, entry, 0..entry.rows.count));
    }
    // The runs are those of packing: the other way round.
    for copy in &mut copies {
        std::mem::swap(&mut copy.from, &mut copy.to);
    }
    copies.sort_by_key(|copy| copy.to);
    copies
}

/// The name of a file, if it is one.
fn file_name(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    match path.file_name() {
        Some(file) if file == path.as_os_str() => Ok(path),
        _ => Err(Error::InvalidOption {
            option: "unpack",
            value: name.to_owned(),
            why: "the field calls a file by a path, which could lie anywhere".into(),
        }),
    }
}
