//! The element types of tensors, and how many bytes they take.

use crate::kernels::RowFormat;

/// How a tensor's elements are stored: `ggml_type` of ggml.h, by the names that GGUF's tools print.
///
/// Quantized types store a row in blocks of [`TensorType::block_elements`] elements; a row is whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
#[non_exhaustive]
#[repr(u32)]
pub enum TensorType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    NVFP4 = 40,
    Q1_0 = 41,
}

use TensorType as T;

/// What a type's rows are made of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rows {
    /// The kernels have it.
    Of(RowFormat),
    /// Elements and bytes of a block (ggml-common.h).
    Blocks(u64, u64),
}

use Rows::{Blocks, Of};

/// Every type.
const TYPES: [(TensorType, Rows); 34] = [
    (T::F32, Of(RowFormat::F32)),
    (T::F16, Of(RowFormat::F16)),
    (T::Q4_0, Of(RowFormat::Q4_0)),
    (T::Q4_1, Of(RowFormat::Q4_1)),
    (T::Q5_0, Of(RowFormat::Q5_0)),
    (T::Q5_1, Of(RowFormat::Q5_1)),
    (T::Q8_0, Of(RowFormat::Q8_0)),
    (T::Q8_1, Blocks(32, 36)),
    (T::Q2_K, Of(RowFormat::Q2_K)),
    (T::Q3_K, Of(RowFormat::Q3_K)),
    (T::Q4_K, Of(RowFormat::Q4_K)),
    (T::Q5_K, Of(RowFormat::Q5_K)),
    (T::Q6_K, Of(RowFormat::Q6_K)),
    (T::Q8_K, Blocks(256, 292)),
    (T::IQ2_XXS, Blocks(256, 66)),
    (T::IQ2_XS, Blocks(256, 74)),
    (T::IQ3_XXS, Blocks(256, 98)),
    (T::IQ1_S, Blocks(256, 50)),
    (T::IQ4_NL, Of(RowFormat::IQ4_NL)),
    (T::IQ3_S, Blocks(256, 110)),
    (T::IQ2_S, Blocks(256, 82)),
    (T::IQ4_XS, Of(RowFormat::IQ4_XS)),
    (T::I8, Blocks(1, 1)),
    (T::I16, Blocks(1, 2)),
    (T::I32, Blocks(1, 4)),
    (T::I64, Blocks(1, 8)),
    (T::F64, Blocks(1, 8)),
    (T::IQ1_M, Blocks(256, 56)),
    (T::BF16, Of(RowFormat::Bf16)),
    (T::TQ1_0, Blocks(256, 54)),
    (T::TQ2_0, Blocks(256, 66)),
    (T::MXFP4, Of(RowFormat::MXFP4)),
    (T::NVFP4, Blocks(64, 36)),
    (T::Q1_0, Blocks(128, 18)),
];

impl TensorType {
    /// The type that a file names by `code`.
    pub(crate) fn of(code: u32) -> Option<TensorType> {
        TYPES
            .iter()
            .map(|&(kind, _)| kind)
            .find(|&kind| kind as u32 == code)
    }

    /// The number that files name it by.
    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    fn rows(self) -> Rows {
        TYPES
            .iter()
            .find(|&&(kind, _)| kind == self)
            .map_or(Blocks(1, 1), |&(_, rows)| rows)
    }

    /// Elements of a block; 1 where the type is not quantized.
    pub fn block_elements(self) -> u64 {
        match self.rows() {
            Of(format) => format.block_elements() as u64,
            Blocks(elements, _) => elements,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> u64 {
        match self.rows() {
            Of(format) => format.block_bytes() as u64,
            Blocks(_, bytes) => bytes,
        }
    }

    /// What the kernels call it; `None` where they have no such rows.
    pub fn row_format(self) -> Option<RowFormat> {
        match self.rows() {
            Of(format) => Some(format),
            Blocks(..) => None,
        }
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // `Debug` writes the variant's name, which is the type's.
        f.pad(&format!("{self:?}"))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{TYPES, TensorType};
    use crate::kernels::RowFormat;

    #[test]
    fn every_type_is_in_the_table_once() {
        for (k, &(kind, _)) in TYPES.iter().enumerate() {
            assert_eq!(TensorType::of(kind as u32), Some(kind));
            assert!(TYPES[..k].iter().all(|&(other, _)| other != kind));
        }
        // The gaps are types that were removed from ggml.
        for code in [4, 5, 31, 32, 33, 36, 37, 38, 42, u32::MAX] {
            assert_eq!(TensorType::of(code), None);
        }
    }

    #[test]
    fn every_row_format_is_the_type_of_its_name() {
        let types = TYPES.iter().filter_map(|&(kind, _)| {
            let format = kind.row_format()?;
            assert_eq!(kind.to_string(), format.name());
            Some(format)
        });
        let mut formats: Vec<RowFormat> = types.collect();
        formats.sort_by_key(|format| RowFormat::ALL.iter().position(|other| other == format));
        assert_eq!(formats, RowFormat::ALL);
    }

    #[test]
    fn blocks_are_as_large_as_in_ggml() {
        for (kind, elements, bytes) in [
            (TensorType::F32, 1, 4),
            (TensorType::F16, 1, 2),
            (TensorType::BF16, 1, 2),
            (TensorType::Q4_0, 32, 18),
            (TensorType::Q4_1, 32, 20),
            (TensorType::Q5_0, 32, 22),
            (TensorType::Q5_1, 32, 24),
            (TensorType::Q8_0, 32, 34),
            (TensorType::Q2_K, 256, 84),
            (TensorType::Q3_K, 256, 110),
            (TensorType::Q4_K, 256, 144),
            (TensorType::Q5_K, 256, 176),
            (TensorType::Q6_K, 256, 210),
            (TensorType::IQ4_NL, 32, 18),
            (TensorType::IQ4_XS, 256, 136),
            (TensorType::MXFP4, 32, 17),
        ] {
            assert_eq!(
                (kind.block_elements(), kind.block_bytes()),
                (elements, bytes),
                "{kind}"
            );
        }
    }
}
