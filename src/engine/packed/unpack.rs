//! The files that were packed, byte for byte.

use super::gather::Gatherer;
use super::index::IndexContent;
use super::layout::{Copy, in_pages, runs_of};
use super::new_file::NewFile;
use super::opened::PackedField;
use super::pack::Progress;
use super::window::WriteWindow;
use crate::engine::array::FORMAT;
use crate::error::{Error, Result};
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
            total_bytes: files
                .iter()
                .fold(0, |sum: u64, file| sum.saturating_add(file.bytes)),
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
        let copies = copies(&content).flat_map(|copy| in_pages(copy, page_bytes));
        let mut gatherer = Gatherer::new(&engine, vec![self.field().clone()], copies, page_bytes)?;
        let mut window = WriteWindow::new(to);
        for page in 0..len / page_bytes {
            window.write(page, |bytes| {
                gatherer.fill(page, bytes)?;
                Ok(((), bytes.len() as u64))
            })?;
            if !progress(page_bytes.min(file.len - page * page_bytes)) {
                return Err(Error::Cancelled);
            }
        }
        window.finish()?;
        drop(window);
        new.truncate(file.len)?;
        new.sync()?;
        new.publish(replace)
    }

    /// What of the index is about one file, which becomes file 0: its entries in the order of the file.
    fn content(&self, number: u32) -> Result<IndexContent> {
        let file = self.index.file(number)?;
        let mut content = IndexContent::default();
        let first = u64::from(file.first_entry);
        for entry in first..first + u64::from(file.tensors) + u64::from(file.others) {
            let mut entry = self.index.entry(entry)?;
            if self.index.places(&entry)?.is_some() && content.places.is_empty() {
                content.places = self.index.all_places()?;
            }
            entry.file = 0;
            content.entries.push(entry);
        }
        content.entries.sort_by_key(|entry| entry.source_at);
        let mut end = file.header.end - file.header.start;
        for entry in content
            .entries
            .iter()
            .filter(|entry| entry.rows.bytes() > 0)
        {
            if entry.source_at < end {
                return Err(Error::Malformed {
                    path: self.field().path().to_path_buf(),
                    format: FORMAT,
                    at: file.header.start,
                    what: format!("two parts of {} at its byte {}", file.name, entry.source_at),
                });
            }
            end = entry.source_at + entry.rows.bytes();
        }
        content.files.push(file);
        Ok(content)
    }
}

/// What is copied from the field to the file, in the order of the file.
fn copies(content: &IndexContent) -> impl Iterator<Item = Copy> {
    let headers = content.files.iter().map(|file| Copy {
        file: 0,
        from: 0,
        to: file.header.start,
        len: file.header.end - file.header.start,
    });
    let entries = content.entries.iter();
    let rows = entries.flat_map(|entry| runs_of(content, entry, 0..entry.rows.count));
    // The runs are those of packing: the other way round.
    headers.chain(rows).map(|copy| Copy {
        from: copy.to,
        to: copy.from,
        ..copy
    })
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
