//! The element types of tensors, and how many bytes they take.

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

/// Every type with the elements and the bytes of a block (ggml-common.h).
const TYPES: [(TensorType, u64, u64); 34] = [
    (T::F32, 1, 4),
    (T::F16, 1, 2),
    (T::Q4_0, 32, 18),
    (T::Q4_1, 32, 20),
    (T::Q5_0, 32, 22),
    (T::Q5_1, 32, 24),
    (T::Q8_0, 32, 34),
    (T::Q8_1, 32, 36),
    (T::Q2_K, 256, 84),
    (T::Q3_K, 256, 110),
    (T::Q4_K, 256, 144),
    (T::Q5_K, 256, 176),
    (T::Q6_K, 256, 210),
    (T::Q8_K, 256, 292),
    (T::IQ2_XXS, 256, 66),
    (T::IQ2_XS, 256, 74),
    (T::IQ3_XXS, 256, 98),
    (T::IQ1_S, 256, 50),
    (T::IQ4_NL, 32, 18),
    (T::IQ3_S, 256, 110),
    (T::IQ2_S, 256, 82),
    (T::IQ4_XS, 256, 136),
    (T::I8, 1, 1),
    (T::I16, 1, 2),
    (T::I32, 1, 4),
    (T::I64, 1, 8),
    (T::F64, 1, 8),
    (T::IQ1_M, 256, 56),
    (T::BF16, 1, 2),
    (T::TQ1_0, 256, 54),
    (T::TQ2_0, 256, 66),
    (T::MXFP4, 32, 17),
    (T::NVFP4, 64, 36),
    (T::Q1_0, 128, 18),
];

impl TensorType {
    /// The type that a file names by `code`.
    pub(crate) fn of(code: u32) -> Option<TensorType> {
        TYPES
            .iter()
            .map(|&(kind, _, _)| kind)
            .find(|&kind| kind as u32 == code)
    }

    fn block(self) -> (u64, u64) {
        TYPES
            .iter()
            .find(|&&(kind, _, _)| kind == self)
            .map_or((1, 1), |&(_, elements, bytes)| (elements, bytes))
    }

    /// Elements of a block; 1 where the type is not quantized.
    pub fn block_elements(self) -> u64 {
        self.block().0
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> u64 {
        self.block().1
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

    #[test]
    fn every_type_is_in_the_table_once() {
        for (k, &(kind, elements, bytes)) in TYPES.iter().enumerate() {
            assert_eq!(TensorType::of(kind as u32), Some(kind));
            assert_eq!(
                (kind.block_elements(), kind.block_bytes()),
                (elements, bytes)
            );
            assert!(TYPES[..k].iter().all(|&(other, _, _)| other != kind));
        }
        // The gaps are types that were removed from ggml.
        for code in [4, 5, 31, 32, 33, 36, 37, 38, 42, u32::MAX] {
            assert_eq!(TensorType::of(code), None);
        }
    }
}
