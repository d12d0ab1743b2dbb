//! Model files made for tests: right ones, and wrong ones by changing a part.

use ringfield::{Engine, TensorType};
use std::path::{Path, PathBuf};

pub(crate) fn engine() -> Engine {
    Engine::builder()
        .dram_budget(8 << 20)
        .page_size(4096)
        .build()
        .unwrap()
}

/// A directory on a disk, and files in it.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Dir {
        Dir(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes
}

/// A GGUF file in parts, each of which a test may spoil.
#[derive(Clone)]
pub(crate) struct GgufFile {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    pub(crate) tensor_count: Option<u64>,
    pub(crate) key_count: Option<u64>,
    /// Key, type, bytes of the value.
    pub(crate) keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub(crate) tensors: Vec<TensorPart>,
    pub(crate) alignment: usize,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct TensorPart {
    pub(crate) name: Vec<u8>,
    pub(crate) dim_count: Option<u32>,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) offset: u64,
}

pub(crate) fn tensor(name: &str, dims: &[u64], kind: TensorType, offset: u64) -> TensorPart {
    TensorPart {
        name: name.as_bytes().to_vec(),
        dim_count: None,
        dims: dims.to_vec(),
        kind: kind as u32,
        offset,
    }
}

pub(crate) const U16: u32 = 2;
pub(crate) const U32: u32 = 4;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// The bytes of an array's value.
pub(crate) fn array(element: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    let mut bytes = element.to_le_bytes().to_vec();
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(elements);
    bytes
}

impl GgufFile {
    /// A right file with a key of most types and three tensors.
    pub(crate) fn new() -> GgufFile {
        let words = [string(b"one"), string(b""), string("zw\u{f6}lf".as_bytes())].concat();
        GgufFile {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: vec![
                (b"general.architecture".to_vec(), STRING, string(b"test")),
                (
                    b"general.alignment".to_vec(),
                    U32,
                    64u32.to_le_bytes().to_vec(),
                ),
                (b"test.flag".to_vec(), BOOL, vec![1]),
                (b"test.words".to_vec(), ARRAY, array(STRING, 3, &words)),
                (
                    b"test.numbers".to_vec(),
                    ARRAY,
                    array(U16, 2, &[1, 0, 2, 1]),
                ),
                (b"test.small".to_vec(), 6, 0.5f32.to_le_bytes().to_vec()),
                (b"test.far".to_vec(), 11, (-5i64).to_le_bytes().to_vec()),
            ],
            tensors: vec![
                tensor("embed", &[32, 3], TensorType::Q4_0, 0),
                tensor("norm", &[5], TensorType::F32, 64),
                tensor("blk.0.weight", &[2, 3, 4], TensorType::F16, 128),
            ],
            alignment: 64,
            data: (0..176u32).map(|n| n as u8).collect(),
        }
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        let tensors = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        let keys = self.key_count.unwrap_or(self.keys.len() as u64);
        bytes.extend_from_slice(&tensors.to_le_bytes());
        bytes.extend_from_slice(&keys.to_le_bytes());
        for (key, kind, value) in &self.keys {
            bytes.extend_from_slice(&string(key));
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(value);
        }
        for tensor in &self.tensors {
            bytes.extend_from_slice(&string(&tensor.name));
            let dims = tensor.dim_count.unwrap_or(tensor.dims.len() as u32);
            bytes.extend_from_slice(&dims.to_le_bytes());
            for dim in &tensor.dims {
                bytes.extend_from_slice(&dim.to_le_bytes());
            }
            bytes.extend_from_slice(&tensor.kind.to_le_bytes());
            bytes.extend_from_slice(&tensor.offset.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len().next_multiple_of(self.alignment.max(1)), 0);
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

/// A safetensors file of a header and data.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}
