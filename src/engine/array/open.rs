//! Opening an array: the files that were named are its members, all of them, of one generation.

use super::info::hex;
use super::map::{ArrayMap, MemberMap};
use super::superblock::Superblock;
use super::superblocks::Superblocks;
use crate::engine::Engine;
use crate::engine::core::{Core, refused};
use crate::engine::field::{Field, FieldShared, Member};
use crate::engine::geometry::Geometry;
use crate::error::{Error, Result};
use crate::ring::file::OpenFile;
use crate::ring::grant::Grant;
use crate::ring::handle::Ring;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to open an array.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ArrayOptions {
    degraded: bool,
}

impl ArrayOptions {
    /// All members must be there.
    pub fn new() -> ArrayOptions {
        ArrayOptions::default()
    }

    /// Opens the array where members are missing too: their pages fail with [`Error::MissingMember`], the others can be
    /// read. Default: false, a missing member is an error of `open_array`.
    #[must_use]
    pub fn degraded(mut self, degraded: bool) -> ArrayOptions {
        self.degraded = degraded;
        self
    }
}

impl Engine {
    /// Opens a packed field by the files of its array, in any order. Each is read by the submission loop of its device, and
    /// every page is compared with its checksum before anybody sees it.
    ///
    /// Takes a shared lock (flock(2)) on each file for as long as the field is open.
    ///
    /// # Errors
    /// [`Error::Malformed`] where a file is no packed field, is damaged or cut short, or of a version or with features that
    /// are not known; [`Error::ArrayMismatch`] where the files are not of one array; [`Error::MissingMember`];
    /// [`Error::PageSizeMismatch`]; [`Error::Locked`]; those of [`Engine::open`].
    ///
    /// # Examples
    /// ```no_run
    /// # fn main() -> ringfield::Result<()> {
    /// let engine = ringfield::Engine::builder().page_size(256 << 10).build()?;
    /// let field = engine.open_array(["/mnt/a/model.rf", "/mnt/b/model.rf"])?;
    /// println!("{} bytes on two devices", field.len());
    /// # Ok(()) }
    /// ```
    pub fn open_array<P: AsRef<Path>>(&self, files: impl IntoIterator<Item = P>) -> Result<Field> {
        self.open_array_with(files, ArrayOptions::new())
    }

    /// Like [`Engine::open_array`], with options.
    ///
    /// # Errors
    /// As `open_array`.
    pub fn open_array_with<P: AsRef<Path>>(
        &self,
        files: impl IntoIterator<Item = P>,
        options: ArrayOptions,
    ) -> Result<Field> {
        let paths = files.into_iter().map(|path| path.as_ref().to_path_buf());
        self.core.open_array(&paths.collect::<Vec<_>>(), options)
    }
}

/// A file of an array that was opened, and what its superblock says.
pub(crate) struct ArrayFile {
    pub(crate) file: OpenFile,
    pub(crate) superblock: Superblock,
    /// What is wrong with the copy that was not believed.
    pub(crate) damaged: Option<String>,
}

/// An array all of whose files fit together.
pub(crate) struct ArrayParts {
    /// By their number; `None` for those that are missing.
    files: Vec<Option<ArrayFile>>,
    len: u64,
    map: ArrayMap,
}

impl ArrayParts {
    /// Sorts the files of an array.
    ///
    /// # Errors
    /// See [`Engine::open_array`].
    pub(crate) fn of(files: Vec<ArrayFile>, options: ArrayOptions) -> Result<ArrayParts> {
        let Some(first) = files.first() else {
            return Err(Error::InvalidOption {
                option: "open_array",
                value: "no file".into(),
                why: "an array has at least one".into(),
            });
        };
        let first_path = first.file.path.clone();
        let wanted = first.superblock.clone();
        let mut members: Vec<Option<ArrayFile>> = (0..wanted.members).map(|_| None).collect();
        for file in files {
            let path = file.file.path.clone();
            let mismatch = |what: String| Error::ArrayMismatch {
                path: path.clone(),
                first: first_path.clone(),
                what,
            };
            let found = &file.superblock;
            if found.array != wanted.array {
                return Err(mismatch(format!(
                    "it is of array {}, and that of array {}",
                    hex(&found.array),
                    hex(&wanted.array)
                )));
            }
            if found.generation != wanted.generation {
                return Err(mismatch(format!(
                    "it is of generation {}, and that of generation {}",
                    found.generation, wanted.generation
                )));
            }
            let same = Superblock {
                member: wanted.member,
                root: wanted.root,
                ..found.clone()
            };
            if same != wanted {
                return Err(mismatch("their superblocks contradict each other".into()));
            }
            let number = found.member;
            match members.get_mut(number as usize) {
                Some(place @ None) => *place = Some(file),
                Some(Some(other)) => {
                    let other = other.file.path.display();
                    return Err(mismatch(format!(
                        "it is member {number}, and so is {other}"
                    )));
                }
                None => {
                    return Err(mismatch(format!(
                        "it is member {number} of {}",
                        wanted.members
                    )));
                }
            }
        }
        let missing = members.iter().position(Option::is_none);
        if let Some(missing) = missing.filter(|_| !options.degraded) {
            return Err(Error::MissingMember {
                path: first_path,
                member: missing as u32,
                members: wanted.members,
                page: None,
            });
        }
        let map = ArrayMap {
            id: wanted.array,
            page_bytes: wanted.page_bytes,
            index: wanted.index_at..wanted.index_at + wanted.index_bytes,
            members: members
                .iter()
                .map(|file| {
                    let superblock = &file.as_ref()?.superblock;
                    Some(MemberMap {
                        layout: superblock.layout()?,
                        root: superblock.root,
                    })
                })
                .collect(),
        };
        Ok(ArrayParts {
            files: members,
            len: wanted.len,
            map,
        })
    }
}

impl Core {
    fn open_array(self: &Arc<Self>, paths: &[PathBuf], options: ArrayOptions) -> Result<Field> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let files = paths
            .iter()
            .map(|path| self.open_member(path))
            .collect::<Result<_>>()?;
        let parts = ArrayParts::of(files, options)?;
        self.open_parts(parts, |file| self.add_to_ring(file))
    }

    /// Opens a file of an array, and locks it.
    fn open_member(&self, path: &Path) -> Result<ArrayFile> {
        let file = self.open_path(path)?;
        if !file.lock_shared().map_err(|e| refused(&file, &e))? {
            return Err(Error::Locked {
                path: path.to_path_buf(),
                holder: "that writes it",
            });
        }
        // Read after it was locked, by another descriptor: nobody writes it meanwhile. But another file can have its name.
        let superblocks = Superblocks::read(path)?;
        let same = superblocks.inode == (file.identity.device, file.identity.inode);
        let replaced = (!same).then(|| "it was replaced by another file".to_owned());
        let (superblock, damaged) = superblocks.chosen(path)?;
        if let Some(what) = replaced.or_else(|| file.changed()) {
            return Err(Error::FileChanged {
                path: path.to_path_buf(),
                what,
            });
        }
        self.array_file(file, superblock, damaged)
    }

    /// A file with its superblock, and what is wrong with the copy that was not believed.
    pub(crate) fn array_file(
        &self,
        file: OpenFile,
        superblock: Superblock,
        damaged: Option<String>,
    ) -> Result<ArrayFile> {
        if superblock.page_bytes != self.pool.frame_bytes {
            return Err(Error::PageSizeMismatch {
                path: file.path,
                field: superblock.page_bytes,
                engine: self.pool.frame_bytes,
            });
        }
        Ok(ArrayFile {
            file,
            superblock,
            damaged,
        })
    }

    /// Makes a field of new files, which are to be the members of an array and have their lengths, for writing them.
    pub(crate) fn new_array(
        self: &Arc<Self>,
        superblock: &Superblock,
        files: Vec<(File, PathBuf)>,
    ) -> Result<Field> {
        let files = files.into_iter().enumerate().map(|(number, (file, path))| {
            Ok(ArrayFile {
                file: self.path_for_writing(file, &path)?,
                superblock: Superblock {
                    member: number as u32,
                    ..superblock.clone()
                },
                damaged: None,
            })
        });
        let parts = ArrayParts::of(files.collect::<Result<_>>()?, ArrayOptions::new())?;
        self.open_parts(parts, |file| self.add_to_ring(file))
    }

    /// Makes a field of the files of an array. `add` makes a file known to a ring: the ring, and the file's index there.
    pub(crate) fn open_parts(
        self: &Arc<Self>,
        parts: ArrayParts,
        mut add: impl FnMut(&Arc<OpenFile>) -> Result<(Arc<Ring>, u32)>,
    ) -> Result<Field> {
        let ArrayParts { files, len, map } = parts;
        let present = || files.iter().flatten();
        let files_identity = present().map(|f| f.file.identity).collect::<Vec<_>>();
        let written = present().any(|f| f.file.written);
        let identity = (files_identity, None, 0, true, written);
        if let Some(field) = self.known_field(&identity) {
            return Ok(field);
        }
        let frames = u64::from(self.pool.frame_count());
        let need = 1 + u64::from(map.nodes_above(0, 1));
        if need > frames {
            return Err(Error::RangeTooLarge { need, frames });
        }
        let path = present()
            .next()
            .map(|f| f.file.path.clone())
            .unwrap_or_default();
        let names: usize = present().map(|f| f.file.path.as_os_str().len()).sum();
        let each =
            size_of::<Option<Member>>() + size_of::<OpenFile>() + size_of::<MemberMap>() + 256;
        let charged = (size_of::<FieldShared>() + names + files.len() * each) as u64;
        self.charge(|| path.display().to_string(), charged)?;
        let mut members: Vec<Option<Member>> = Vec::with_capacity(files.len());
        let mut grants = Vec::new();
        for (number, file) in files.into_iter().enumerate() {
            let Some(ArrayFile { file, damaged, .. }) = file else {
                grants.push(Grant::less(
                    format!("{}: member {number}", path.display()),
                    "there",
                    "missing",
                    "the array was opened degraded without it",
                    "name its file",
                ));
                members.push(None);
                continue;
            };
            if let Some(why) = damaged {
                grants.push(Grant::less(
                    format!("{}: superblocks", file.path.display()),
                    "two",
                    "one",
                    why,
                    "ringfield verify --repair",
                ));
            }
            let file = Arc::new(file);
            match add(&file) {
                Ok((ring, file_index)) => members.push(Some(Member {
                    ring,
                    file,
                    file_index,
                })),
                Err(e) => {
                    self.discharge(charged);
                    for member in members.iter().flatten() {
                        member.forget();
                    }
                    return Err(e);
                }
            }
        }
        let complete = members.iter().all(Option::is_some);
        let shared = FieldShared {
            core: self.clone(),
            members: members.into_boxed_slice(),
            geometry: Geometry::pages(len, map.page_bytes, 1),
            array: Some(Box::new(map)),
            complete,
            grants,
            path,
            id: self.new_field_id(),
            charged,
        };
        Ok(self.remember_field(identity, shared))
    }
}
