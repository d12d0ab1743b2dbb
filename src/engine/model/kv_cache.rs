//! Keys and values of the positions so far.

use crate::error::{Error, Result};
use crate::kernels::RowFormat;
use std::ops::Range;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KvFormat {
    /// Half precision, rounded to nearest even: two bytes an element. The default.
    #[default]
    F16,
    /// Single precision, exactly as computed: four bytes an element.
    F32,
}

impl KvFormat {
    pub(super) fn row_format(self) -> RowFormat {
        match self {
            KvFormat::F16 => RowFormat::F16,
            KvFormat::F32 => RowFormat::F32,
        }
    }

    fn bytes(self) -> usize {
        match self {
            KvFormat::F16 => 2,
            KvFormat::F32 => 4,
        }
    }
}

/// Keys and values of one session. The memory is reserved when it is made and touched as positions come.
///
/// Rows of one head lie together, so that the scores of a head are one matrix times a vector.
#[derive(Debug)]
pub(super) struct KvCache {
    format: KvFormat,
    heads: usize,
    head_len: usize,
    positions: usize,
    /// Layer, then head, then position.
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl KvCache {
    /// Bytes of a position.
    pub(super) fn position_bytes(
        format: KvFormat,
        layers: usize,
        heads: usize,
        head_len: usize,
    ) -> usize {
        2 * layers * heads * head_len * format.bytes()
    }

    /// # Errors
    /// [`Error::Os`] where there is no such memory.
    pub(super) fn new(
        format: KvFormat,
        layers: usize,
        heads: usize,
        head_len: usize,
        positions: usize,
    ) -> Result<KvCache> {
        let bytes = Self::position_bytes(format, layers, heads, head_len) / 2;
        let bytes = bytes.checked_mul(positions);
        // Tried first, because zeroed memory that is not to be had ends the process.
        let mut trial: Vec<u8> = Vec::new();
        let twice = bytes.and_then(|bytes| bytes.checked_mul(2));
        let bytes = match (bytes, twice.map(|twice| trial.try_reserve_exact(twice))) {
            (Some(bytes), Some(Ok(()))) => bytes,
            _ => {
                return Err(Error::Os {
                    what: format!("memory for keys and values of {positions} tokens"),
                    errno: libc::ENOMEM,
                });
            }
        };
        drop(trial);
        Ok(KvCache {
            format,
            heads,
            head_len,
            positions,
            keys: vec![0; bytes],
            values: vec![0; bytes],
        })
    }

    pub(super) fn format(&self) -> KvFormat {
        self.format
    }

    /// Positions there is room for.
    pub(super) fn positions(&self) -> usize {
        self.positions
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        (self.keys.len() + self.values.len()) as u64
    }

    fn rows(&self, layer: usize, head: usize, positions: Range<usize>) -> Range<usize> {
        let row = self.head_len * self.format.bytes();
        let first = (layer * self.heads + head) * self.positions;
        (first + positions.start) * row..(first + positions.end) * row
    }

    /// Notes the keys and values of a position: all heads, one after the other.
    pub(super) fn put(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        for head in 0..self.heads {
            let row = self.rows(layer, head, position..position + 1);
            let elements = head * self.head_len..(head + 1) * self.head_len;
            encode(
                self.format,
                &keys[elements.clone()],
                &mut self.keys[row.clone()],
            );
            encode(self.format, &values[elements], &mut self.values[row]);
        }
    }

    pub(super) fn keys(&self, layer: usize, head: usize, positions: Range<usize>) -> &[u8] {
        &self.keys[self.rows(layer, head, positions)]
    }

    pub(super) fn values(&self, layer: usize, head: usize, positions: Range<usize>) -> &[u8] {
        &self.values[self.rows(layer, head, positions)]
    }
}

fn encode(format: KvFormat, from: &[f32], to: &mut [u8]) {
    match format {
        KvFormat::F16 => {
            for (&x, to) in from.iter().zip(to.as_chunks_mut::<2>().0) {
                *to = half::f16::from_f32(x).to_le_bytes();
            }
        }
        KvFormat::F32 => {
            for (&x, to) in from.iter().zip(to.as_chunks_mut::<4>().0) {
                *to = x.to_le_bytes();
            }
        }
    }
}
