//! The files that a model is in: foreign ones as they are, or those of a packed field.

use std::path::{Path, PathBuf};

use ringfield::{Engine, Error as Refused, Field, Gguf, PackedField, PackedInfo, SafeTensors};

use super::EngineContext;
use crate::args::ModelFiles;
use crate::cgroup;
use crate::console;
use crate::error::{Error, Result};
use crate::size::Size;

/// The engine's pages where no packed field says how large they are.
const PAGE_BYTES: u64 = 64 << 10;
/// For a model's header alone, beside the pages that are being looked at.
const HEADER_BUDGET_BYTES: u64 = 32 << 20;
const HEADER_PAGES: u64 = 16;

/// See the module.
pub(super) struct Source {
    /// The file that was named as the model, then the members.
    paths: Vec<PathBuf>,
    /// What each says of itself; of a foreign file nothing.
    packed: Vec<PackedInfo>,
}

impl Source {
    /// Looks at the files. One with a damaged superblock is read by its other copy, and that is said.
    ///
    /// # Errors
    /// A file of a packed field that cannot be read; members of what is no packed field.
    pub(super) fn of(files: &ModelFiles) -> Result<Source> {
        let paths: Vec<PathBuf> = [&files.model]
            .into_iter()
            .chain(&files.member)
            .cloned()
            .collect();
        if !PackedInfo::is_packed(&files.model) {
            return match files.member.first() {
                None => Ok(Source {
                    paths,
                    packed: Vec::new(),
                }),
                Some(member) => Err(Error::message(format!(
                    "--member {}: {} is no packed field, and has no members",
                    member.display(),
                    files.model.display()
                ))),
            };
        }
        let packed = paths.iter().map(|path| info(path)).collect::<Result<_>>()?;
        Ok(Source { paths, packed })
    }

    /// True for a packed field.
    pub(super) fn is_packed(&self) -> bool {
        !self.packed.is_empty()
    }

    /// The size of the engine's pages: the field's own, or what was asked for.
    ///
    /// # Errors
    /// A size was asked for that is not the field's own.
    pub(super) fn page_bytes(&self, asked: Option<Size>) -> Result<u64> {
        let Some(info) = self.packed.first() else {
            return Ok(asked.map_or(PAGE_BYTES, |size| size.0));
        };
        page_bytes_of(self.path(), info.page_bytes, asked)
    }

    /// An engine with room for what the model says of itself, and none for its tensors.
    pub(super) fn engine_for_headers(&self) -> Result<Engine> {
        let page_bytes = self.page_bytes(None)?;
        let wanted = HEADER_BUDGET_BYTES + HEADER_PAGES * page_bytes;
        let budget = cgroup::budget_bytes(wanted);
        let builder = Engine::builder()
            .page_size(page_bytes)
            .dram_budget(budget)
            .metadata_budget(HEADER_BUDGET_BYTES.min(budget) / 2);
        builder.build().engine("the engine cannot be built")
    }

    /// The model, if it is a GGUF model.
    pub(super) fn gguf(&self, engine: &Engine) -> Result<Gguf> {
        let opened = match self.is_packed() {
            true => Gguf::of(&self.field(engine)?),
            false => Gguf::open(engine, self.path()),
        };
        opened.engine("cannot open the model")
    }

    /// The model's files, if they are safetensors files.
    pub(super) fn safetensors(&self, engine: &Engine) -> Result<Vec<SafeTensors>> {
        const OPENING: &str = "cannot open the model";
        if !self.is_packed() {
            return Ok(vec![
                SafeTensors::open(engine, self.path()).engine(OPENING)?,
            ]);
        }
        let field = self.field(engine)?;
        let packed = PackedField::of(field.clone()).engine(OPENING)?;
        let files = packed.files().engine(OPENING)?;
        (0..)
            .zip(files)
            .map(|(number, _)| SafeTensors::of(&field, number).engine(OPENING))
            .collect()
    }

    /// The packed field in the files.
    fn field(&self, engine: &Engine) -> Result<Field> {
        engine.open_array(&self.paths).map_err(|error| match error {
            Refused::MissingMember {
                member, members, ..
            } => Error::message(format!(
                "{}: member {member} of {members} is missing: name its file, with --member FILE",
                self.path().display()
            )),
            source => Error::Engine {
                what: "cannot open the model".into(),
                source,
            },
        })
    }

    /// The file that was named first.
    fn path(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Each file, with what it says of itself.
    pub(super) fn members(&self) -> impl Iterator<Item = (&Path, &PackedInfo)> {
        self.paths.iter().map(PathBuf::as_path).zip(&self.packed)
    }
}

/// What a file of a packed field says of itself; a damaged superblock is no error, but said.
pub(crate) fn info(path: &Path) -> Result<PackedInfo> {
    let info = PackedInfo::read(path).engine("cannot open the field")?;
    if let Some(damaged) = &info.damaged {
        let path = path.display();
        console::note(format!(
            "{path}: {damaged}; the other one is whole, and `ringfield verify --repair {path}` makes both so"
        ));
    }
    Ok(info)
}

/// `own`, the size of the pages of the packed field in `path`, unless another was asked for.
///
/// # Errors
/// It was.
pub(super) fn page_bytes_of(path: &Path, own: u64, asked: Option<Size>) -> Result<u64> {
    let own = Size(own);
    match asked.filter(|&asked| asked != own) {
        None => Ok(own.0),
        Some(asked) => Err(Error::message(format!(
            "--page-size {asked}: {} was packed with pages of {own}: leave the option out, or pack the model anew with \
             --page-size {asked}",
            path.display()
        ))),
    }
}
