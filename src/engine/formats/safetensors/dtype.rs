//! The element types of a safetensors file.

/// How a tensor's elements are stored, by the format's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
#[non_exhaustive]
pub enum Dtype {
    Bool,
    F4,
    F6_E2M3,
    F6_E3M2,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    U16,
    I16,
    F16,
    BF16,
    U32,
    I32,
    F32,
    C64,
    U64,
    I64,
    F64,
}

use Dtype as D;

/// Every type with its name in files and the bits of an element.
const TYPES: [(Dtype, &str, u64); 20] = [
    (D::Bool, "BOOL", 8),
    (D::F4, "F4", 4),
    (D::F6_E2M3, "F6_E2M3", 6),
    (D::F6_E3M2, "F6_E3M2", 6),
    (D::U8, "U8", 8),
    (D::I8, "I8", 8),
    (D::F8_E5M2, "F8_E5M2", 8),
    (D::F8_E4M3, "F8_E4M3", 8),
    (D::F8_E8M0, "F8_E8M0", 8),
    (D::U16, "U16", 16),
    (D::I16, "I16", 16),
    (D::F16, "F16", 16),
    (D::BF16, "BF16", 16),
    (D::U32, "U32", 32),
    (D::I32, "I32", 32),
    (D::F32, "F32", 32),
    (D::C64, "C64", 64),
    (D::U64, "U64", 64),
    (D::I64, "I64", 64),
    (D::F64, "F64", 64),
];

impl Dtype {
    pub(super) fn of(name: &[u8]) -> Option<Dtype> {
        let found = TYPES.iter().find(|(_, known, _)| known.as_bytes() == name);
        found.map(|&(dtype, _, _)| dtype)
    }

    /// The type of number `code` in the table, for packed fields.
    pub(crate) fn of_code(code: u32) -> Option<Dtype> {
        TYPES.get(code as usize).map(|&(dtype, _, _)| dtype)
    }

    /// Its number in the table.
    pub(crate) fn code(self) -> u32 {
        TYPES
            .iter()
            .position(|&(dtype, _, _)| dtype == self)
            .unwrap_or(TYPES.len()) as u32
    }

    fn entry(self) -> (&'static str, u64) {
        let found = TYPES.iter().find(|&&(dtype, _, _)| dtype == self);
        found.map_or(("", 0), |&(_, name, bits)| (name, bits))
    }

    /// Bits of an element.
    pub fn bits(self) -> u64 {
        self.entry().1
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.entry().0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Dtype, TYPES};

    #[test]
    fn every_type_is_in_the_table_once() {
        for (k, &(dtype, name, bits)) in TYPES.iter().enumerate() {
            assert_eq!(Dtype::of(name.as_bytes()), Some(dtype));
            assert_eq!((dtype.to_string().as_str(), dtype.bits()), (name, bits));
            assert!(TYPES[..k].iter().all(|&(other, _, _)| other != dtype));
        }
        assert_eq!(Dtype::of(b"f32"), None);
    }
}
