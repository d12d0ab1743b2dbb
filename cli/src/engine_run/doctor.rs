//! What an engine is granted for files in one place.

use std::fs;
use std::path::{Path, PathBuf};

use ringfield::Engine;

use super::EngineContext;
use crate::cgroup;
use crate::doctor::Item;
use crate::error::{Context, Error, Result};
use crate::made_file::MadeFile;

/// Enough for a pool that shows huge pages and registered buffers, as one of less does too.
const BUDGET_BYTES: u64 = 64 << 20;
const MADE_BYTES: u64 = 1 << 20;

/// Builds an engine, opens `path` with it, and asks what was granted. In a directory a small file
/// is made for this and removed, or one that is there is opened where nothing may be made.
pub(crate) fn doctor(path: &Path) -> Result<Vec<Item>> {
    let metadata = fs::metadata(path).at("cannot read", path)?;
    let made = if metadata.is_dir() { make(path) } else { None };
    let file = match &made {
        Some(made) => made.path().to_owned(),
        None if metadata.is_dir() => some_file(path)?,
        None => path.to_owned(),
    };
    let engine = Engine::builder()
        .dram_budget(cgroup::budget_bytes(BUDGET_BYTES))
        .build()
        .engine("the engine cannot be built")?;
    let field = engine
        .open(&file)
        .engine("the engine cannot open the file")?;
    let end = field.len().min(4096);
    field
        .read(0..end)
        .engine("the engine cannot read the file")?;
    let mut items = super::items(&engine);
    // The budget is the doctor's own choice; and the made file stands for its directory.
    items.retain(|item| item.item != "budget");
    let (opened, asked) = (file.display().to_string(), path.display().to_string());
    for item in &mut items {
        item.item = item.item.replace(&opened, &asked);
    }
    Ok(items)
}

fn make(dir: &Path) -> Option<MadeFile> {
    let name = format!("ringfield-doctor-{}.field", std::process::id());
    MadeFile::create(dir.join(name), MADE_BYTES, |_| {}).ok()
}

/// A regular file of the directory.
fn some_file(dir: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).at("cannot read", dir)?;
    let files = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_file()));
    files
        .map(|entry| entry.path())
        .find(|path| fs::File::open(path).is_ok())
        .ok_or_else(|| {
            Error::message(format!(
                "{} can neither be written nor has a file to look at: name a file",
                dir.display()
            ))
        })
}
