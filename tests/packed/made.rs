//! Models made for these tests, their packed fields, and what reading all of one must give.

use crate::content::Random;
use crate::writer::{GgufFile, tensor};
use ringfield::{Engine, EngineBuilder, Error, Field, Gguf, Pack, PackedField, Tensor, TensorType};
use std::path::{Path, PathBuf};

pub(crate) fn builder(page_bytes: u64) -> EngineBuilder {
    Engine::builder()
        .dram_budget((8 << 20).max(page_bytes * 64 + (4 << 20)))
        .page_size(page_bytes)
}

pub(crate) fn engine(page_bytes: u64) -> Engine {
    builder(page_bytes).build().unwrap()
}

/// A directory in memory where there is one: what a test changes and reads thousands of times need not reach a disk.
pub(crate) fn quick_dir() -> tempfile::TempDir {
    let shm = tempfile::tempdir_in("/dev/shm");
    shm.unwrap_or_else(|_| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
}

pub(crate) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..len).map(|_| (random.next() >> 32) as u8).collect()
}

pub(crate) type TensorOf<'t> = (&'t str, &'t [u64], TensorType);

fn row_bytes(elements: u64, kind: TensorType) -> u64 {
    match kind {
        TensorType::F32 => elements * 4,
        TensorType::F16 => elements * 2,
        TensorType::I8 => elements,
        TensorType::Q4_0 => elements / 32 * 18,
        TensorType::Q8_0 => elements / 32 * 34,
        other => panic!("{other}"),
    }
}

/// A GGUF file with these tensors. What lies between them and behind the last is `padding`, or random where there is
/// none.
pub(crate) fn gguf(tensors: &[TensorOf<'_>], seed: u64, padding: Option<u8>) -> GgufFile {
    let mut file = GgufFile::new();
    file.tensors.clear();
    file.data.clear();
    for (name, dims, kind) in tensors {
        let at = file.data.len().next_multiple_of(file.alignment);
        pad(&mut file.data, at, seed, padding);
        file.tensors.push(tensor(name, dims, *kind, at as u64));
        let bytes = row_bytes(dims[0], *kind) * dims[1..].iter().product::<u64>();
        let seed = seed ^ file.tensors.len() as u64;
        file.data.extend(random_bytes(seed, bytes as usize));
    }
    let end = file.data.len() + 77;
    pad(&mut file.data, end, seed, padding);
    file
}

fn pad(data: &mut Vec<u8>, to: usize, seed: u64, padding: Option<u8>) {
    let len = to - data.len();
    match padding {
        Some(byte) => data.resize(to, byte),
        None => data.extend(random_bytes(seed ^ to as u64, len)),
    }
}

pub(crate) fn bytes_of(tensor: &Tensor) -> ringfield::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for run in tensor.runs() {
        for start in run.clone().step_by(64 << 10) {
            let end = run.end.min(start + (64 << 10));
            bytes.extend(tensor.field().read(start..end)?.to_vec());
        }
    }
    Ok(bytes)
}

/// A model that was packed: its file, the members, and what is in them.
pub(crate) struct Made {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) source: PathBuf,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) page: u64,
    /// The bytes of the file.
    pub(crate) model: Vec<u8>,
    /// Those of the members.
    pub(crate) members: Vec<Vec<u8>>,
    /// Those of the field.
    pub(crate) field: Vec<u8>,
    /// Those of the tensors, as a foreign file has them.
    tensors: Vec<(String, Vec<u8>)>,
}

impl Made {
    pub(crate) fn new(file: &GgufFile, members: usize, page: u64) -> Made {
        Made::in_dir(quick_dir(), file, members, page)
    }

    pub(crate) fn in_dir(
        dir: tempfile::TempDir,
        file: &GgufFile,
        members: usize,
        page: u64,
    ) -> Made {
        let source = dir.path().join("model.gguf");
        std::fs::write(&source, file.bytes()).unwrap();
        let paths: Vec<PathBuf> = (0..members)
            .map(|k| dir.path().join(format!("{k}.rf")))
            .collect();
        Pack::new([&source])
            .page_size(page)
            .run(&paths, |_| true)
            .unwrap();
        let engine = engine(page);
        let plain = Gguf::open(&engine, &source).unwrap();
        let tensors = plain.tensors().map(|tensor| {
            let tensor = tensor.unwrap();
            (tensor.name().to_string(), bytes_of(&tensor).unwrap())
        });
        let field = engine.open_array(&paths).unwrap();
        Made {
            model: file.bytes(),
            members: paths.iter().map(|p| std::fs::read(p).unwrap()).collect(),
            field: read_all(&field, |e| panic!("{e}")),
            tensors: tensors.collect(),
            dir,
            source,
            paths,
            page,
        }
    }

    /// The files as they were.
    pub(crate) fn restore(&self) {
        for (path, bytes) in self.paths.iter().zip(&self.members) {
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// The pages of the field.
    pub(crate) fn pages(&self) -> u64 {
        (self.field.len() as u64).div_ceil(self.page)
    }

    /// Opens the field and reads all of it, page by page, tensor by tensor, and into files: right bytes, or an error each.
    /// Returns the errors.
    #[track_caller]
    pub(crate) fn errors(&self, engine: &Engine, unpack: bool) -> Vec<Error> {
        match engine.open_array(&self.paths) {
            Ok(field) => self.errors_of(&field, unpack),
            Err(e) => vec![e],
        }
    }

    #[track_caller]
    pub(crate) fn errors_of(&self, field: &Field, unpack: bool) -> Vec<Error> {
        let mut errors = Vec::new();
        assert_eq!(field.len(), self.field.len() as u64);
        for page in 0..self.pages() {
            let range = page * self.page..field.len().min((page + 1) * self.page);
            match field.read(range.clone()) {
                Ok(view) => assert!(
                    view.to_vec() == self.field[range.start as usize..range.end as usize],
                    "page {page} is wrong"
                ),
                Err(e) => errors.push(e),
            }
        }
        let whole = errors.is_empty();
        if let Err(e) = self.check_tensors(field) {
            assert!(!whole, "all pages can be read, and then: {e}");
            errors.push(e);
        }
        if unpack && let Err(e) = self.check_unpacked(field) {
            assert!(!whole, "all pages can be read, and then: {e}");
            errors.push(e);
        }
        errors
    }

    fn check_tensors(&self, field: &Field) -> ringfield::Result<()> {
        let model = Gguf::of(field)?;
        assert_eq!(model.tensor_count(), self.tensors.len());
        for (tensor, (name, bytes)) in model.tensors().zip(&self.tensors) {
            let tensor = tensor?;
            assert_eq!(tensor.name(), name);
            assert!(bytes_of(&tensor)? == *bytes, "{name} is wrong");
        }
        Ok(())
    }

    fn check_unpacked(&self, field: &Field) -> ringfield::Result<()> {
        let out = self.dir.path().join("unpacked");
        let _ = std::fs::create_dir(&out);
        let packed = PackedField::of(field.clone())?;
        let paths = packed.unpack(&out, true, |_| true)?;
        assert_eq!(paths, [out.join("model.gguf")]);
        assert!(std::fs::read(&paths[0]).unwrap() == self.model);
        Ok(())
    }
}

/// All bytes of a field; a page that cannot be read is `missing`.
pub(crate) fn read_all(field: &Field, missing: impl Fn(Error) -> Vec<u8>) -> Vec<u8> {
    let page = field.engine().page_size();
    let mut bytes = Vec::new();
    for start in (0..field.len()).step_by(page as usize) {
        match field.read(start..field.len().min(start + page)) {
            Ok(view) => bytes.extend(view.to_vec()),
            Err(e) => bytes.extend(missing(e)),
        }
    }
    bytes
}

/// Names of what is in a directory.
pub(crate) fn listed(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
