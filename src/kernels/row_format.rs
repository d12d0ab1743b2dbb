//! How the elements of a row are stored.

/// How the elements of a row are stored, by GGUF's names. Quantized formats pack a row as whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum RowFormat {
    F32,
    F16,
    Bf16,
}

impl RowFormat {
    /// All of them.
    pub const ALL: [RowFormat; 3] = [RowFormat::F32, RowFormat::F16, RowFormat::Bf16];

    /// Elements of a block: a row has a multiple of this.
    pub const fn block_elements(self) -> usize {
        match self {
            RowFormat::F32 | RowFormat::F16 | RowFormat::Bf16 => 1,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            RowFormat::F32 => 4,
            RowFormat::F16 | RowFormat::Bf16 => 2,
        }
    }

    /// Bytes of a row of `elements`; `None` where they are no whole blocks, or too many.
    pub const fn row_bytes(self, elements: usize) -> Option<usize> {
        if elements.is_multiple_of(self.block_elements()) {
            (elements / self.block_elements()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }
}
