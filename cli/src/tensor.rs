//! `ringfield gguf tensor`: the elements of one tensor, in a file for other programs.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::args::TensorArgs;
use crate::engine_run;
use crate::error::{Context, Error, Result};

/// Runs the command.
///
/// # Errors
/// A model that cannot be read, a tensor that is not there or cannot be computed, a file that cannot be written. Then
/// what was at the file's name is as it was.
pub(crate) fn run(args: &TensorArgs) -> Result<()> {
    let mut out = Unfinished::create(&args.out)?;
    let mut bytes = Vec::new();
    engine_run::elements_of_tensor(&args.files, &args.name, |elements| {
        bytes.clear();
        bytes.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
        out.file
            .write_all(&bytes)
            .at("cannot write", &out.temporary)
    })?;
    out.finish(&args.out)
}

/// A file that has its name once it is whole, and is removed otherwise.
struct Unfinished {
    temporary: PathBuf,
    file: File,
}

impl Unfinished {
    /// Beside `path`, so that it can be renamed.
    fn create(path: &Path) -> Result<Unfinished> {
        // A device or a pipe would be replaced by a file.
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(Error::message(format!(
                "cannot write {}: it is not a file",
                path.display()
            )));
        }
        let mut temporary = OsString::from(path);
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .at("cannot make", &temporary)?;
        Ok(Unfinished { temporary, file })
    }

    fn finish(self, path: &Path) -> Result<()> {
        fs::rename(&self.temporary, path).at("cannot make", path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing is there any more where it was renamed.
        let _ = fs::remove_file(&self.temporary);
    }
}
