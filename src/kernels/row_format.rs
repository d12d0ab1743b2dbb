//! How the elements of a row are stored.

use super::formats::{Format, with_format};

/// Gives `$then!` its own arguments and all row formats, with their names in GGUF.
macro_rules! row_formats {
    ($then:ident! { $($arguments:tt)* }) => {
        $crate::kernels::row_format::$then! {
            $($arguments)*;
            F32 "F32",
            F16 "F16",
            Bf16 "BF16",
            Q4_0 "Q4_0",
            Q4_1 "Q4_1",
            Q5_0 "Q5_0",
            Q5_1 "Q5_1",
            Q8_0 "Q8_0",
            Q2_K "Q2_K",
            Q3_K "Q3_K",
            Q4_K "Q4_K",
            Q5_K "Q5_K",
            Q6_K "Q6_K",
            IQ4_NL "IQ4_NL",
            IQ4_XS "IQ4_XS",
            MXFP4 "MXFP4",
        }
    };
}
pub(super) use {super::formats::match_format, row_formats};

macro_rules! declare {
    ($(#[$attribute:meta])* ; $($name:ident $text:literal,)*) => {
        $(#[$attribute])*
        pub enum RowFormat {
            $($name,)*
        }

        impl RowFormat {
            /// All of them.
            pub const ALL: [RowFormat; [$($text,)*].len()] = [$(RowFormat::$name,)*];

            /// Its name, as GGUF's tools print it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(RowFormat::$name => $text,)*
                }
            }
        }
    };
}
use declare;

row_formats!(declare! {
    /// How the elements of a row are stored, by GGUF's names. Quantized formats pack a row as whole blocks.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    #[allow(missing_docs, non_camel_case_types)]
});

impl RowFormat {
    /// Elements of a block: a row has a multiple of this.
    pub const fn block_elements(self) -> usize {
        with_format!(self, T => <T as Format>::GRAIN)
    }

    /// True where several elements share a scale; false for floats.
    pub const fn is_packed(self) -> bool {
        self.block_elements() > 1
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        with_format!(self, T => size_of::<<T as Format>::Block>() * <T as Format>::GRAIN / <T as Format>::ELEMENTS)
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

impl std::fmt::Display for RowFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
