//! What the demo reads: a file of its own, or the user's.

use std::fs;
use std::path::{Path, PathBuf};

use ringfield::PackedInfo;

use crate::args::DemoArgs;
use crate::console;
use crate::content::Content;
use crate::engine_run;
use crate::error::{Context, Error, Result};
use crate::made_file::MadeFile;
use crate::size::Size;

use super::workload::Workload;

const MADE_BYTES: u64 = 1 << 30;
/// Of a foreign file, so that digests and the pass that takes them stay small.
const MODEL_BYTES_MAX: u64 = 4 << 30;

/// The file that is read, and what it holds.
pub(super) struct Field {
    pub(super) path: PathBuf,
    pub(super) made: Option<MadeFile>,
    pub(super) file_bytes: u64,
    /// Of these, what can be read: of a packed field its pages.
    pub(super) readable_bytes: u64,
    /// Where the part that is read begins: in a packed field behind its superblock and directory.
    pub(super) begin: u64,
    /// The part that is read.
    pub(super) region_bytes: u64,
    /// Of a packed field, whose pages have checksums.
    pub(super) page_bytes: Option<u64>,
    pub(super) content: Content,
}

impl Field {
    /// The model, or a file made for this.
    ///
    /// # Errors
    /// No room, no such file, or an interrupt.
    pub(super) fn prepare(args: &DemoArgs) -> Result<Field> {
        match &args.model {
            Some(model) => Field::model(model, args.size),
            None => Field::make(args),
        }
    }

    fn make(args: &DemoArgs) -> Result<Field> {
        let bytes = args.size.map_or(MADE_BYTES, |size| size.0);
        let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
        let path = dir.join(format!("ringfield-demo-{}.field", std::process::id()));
        let bar = console::bytes_bar(bytes, &format!("making {}", path.display()));
        let made = MadeFile::create(path, bytes, |done| bar.set_position(done))?;
        bar.finish_and_clear();
        // The workers run in this directory too, but say a path that no one can misread.
        let path = fs::canonicalize(made.path()).at("cannot find", made.path())?;
        Ok(Field {
            path,
            made: Some(made),
            file_bytes: bytes,
            readable_bytes: bytes,
            begin: 0,
            region_bytes: bytes,
            page_bytes: None,
            content: Content::Pattern,
        })
    }

    fn model(path: &Path, size: Option<Size>) -> Result<Field> {
        let metadata = fs::metadata(path).at("cannot read", path)?;
        if !metadata.is_file() {
            return Err(Error::message(format!(
                "{} is not a regular file",
                path.display()
            )));
        }
        let file_bytes = metadata.len();
        let packed = packed(path)?;
        let begin = packed.as_ref().map_or(0, |info| info.data_at);
        let readable_bytes = packed.as_ref().map_or(file_bytes, |info| info.array_bytes);
        let region_bytes = readable_bytes.min(size.map_or(MODEL_BYTES_MAX, |size| size.0));
        if region_bytes < Workload::Expert.read_bytes() {
            return Err(Error::message(format!(
                "{} has {}; the demo reads pieces of 1 MiB",
                path.display(),
                Size(readable_bytes)
            )));
        }
        let bar = console::bytes_bar(region_bytes, "reading the file once, to check against");
        let content = Content::of_file(path, begin, region_bytes, |done| bar.set_position(done))?;
        bar.finish_and_clear();
        let path = fs::canonicalize(path).at("cannot find", path)?;
        Ok(Field {
            path,
            made: None,
            file_bytes,
            readable_bytes,
            begin,
            region_bytes,
            page_bytes: packed.map(|info| info.page_bytes),
            content,
        })
    }
}

/// What a packed field says of itself, which all readers must be able to read: a field in one file.
fn packed(path: &Path) -> Result<Option<PackedInfo>> {
    if !PackedInfo::is_packed(path) {
        return Ok(None);
    }
    let info = engine_run::packed_info(path)?;
    match info.members {
        1 => Ok(Some(info)),
        members => Err(Error::message(format!(
            "{} is member {} of {members}: the demo reads packed fields of one file, as mmap and pread can",
            path.display(),
            info.member
        ))),
    }
}
