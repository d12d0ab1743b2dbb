//! A tensor's bytes as the page cache gives them, to compare with.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CHUNK_BYTES, Place};
use crate::engine_run::source::Source;
use crate::error::{Context, Error, Result};

/// Reads by `pread`. Of a packed field it reads the pages where they lie in the members' files.
pub(super) struct PlainRead {
    /// By the number of the member; of a foreign model none.
    members: Vec<Member>,
    page_bytes: u64,
    open: HashMap<PathBuf, File>,
    buffer: Vec<u8>,
}

struct Member {
    path: PathBuf,
    data_at: u64,
}

impl PlainRead {
    pub(super) fn new(source: &Source) -> PlainRead {
        let mut members: Vec<_> = source.members().collect();
        members.sort_by_key(|(_, info)| info.member);
        let page_bytes = members.first().map_or(1, |(_, info)| info.page_bytes);
        let member = |(path, info): (&Path, &ringfield::PackedInfo)| Member {
            path: path.to_owned(),
            data_at: info.data_at,
        };
        PlainRead {
            members: members.into_iter().map(member).collect(),
            page_bytes,
            open: HashMap::new(),
            buffer: vec![0; CHUNK_BYTES as usize],
        }
    }

    pub(super) fn digest(&mut self, place: &Place) -> Result<[u8; 32]> {
        let mut digest = Sha256::new();
        for piece in place.pieces(CHUNK_BYTES) {
            let mut at = piece.start;
            while at < piece.end {
                let (path, range) = self.locate(place.field.path(), at..piece.end);
                at += range.end - range.start;
                digest.update(self.read(&path, range)?);
            }
        }
        Ok(digest.finalize().into())
    }

    /// Where the first bytes of a range of the field lie: a file, and a range of it.
    fn locate(&self, field: &Path, range: Range<u64>) -> (PathBuf, Range<u64>) {
        let (page, within) = (range.start / self.page_bytes, range.start % self.page_bytes);
        let members = self.members.len().max(1) as u64;
        let Some(member) = self.members.get((page % members) as usize) else {
            return (field.to_owned(), range);
        };
        let start = member.data_at + page / members * self.page_bytes + within;
        let bytes = (self.page_bytes - within).min(range.end - range.start);
        (member.path.clone(), start..start + bytes)
    }

    fn read(&mut self, path: &Path, range: Range<u64>) -> Result<&[u8]> {
        if !self.open.contains_key(path) {
            let file = File::open(path).at("cannot open", path)?;
            self.open.insert(path.to_owned(), file);
        }
        let bytes = (range.end - range.start) as usize;
        let (Some(file), Some(into)) = (self.open.get(path), self.buffer.get_mut(..bytes)) else {
            return Err(Error::message(
                "a piece is larger than the buffer for pieces",
            ));
        };
        file.read_exact_at(into, range.start)
            .at("cannot read", path)?;
        Ok(into)
    }
}
