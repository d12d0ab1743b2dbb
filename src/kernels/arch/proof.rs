//! That this processor has the features of an instruction set: a value, made by looking at the processor once, then carried.

use super::scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::simd128;
#[cfg(target_arch = "x86_64")]
use super::{avx_vnni_integers, avx2, avx2_integers, avx512, avx512_integers, sse41};
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use super::{neon, neon_dotprod_integers, neon_integers};
use crate::kernels::eight_bit::IntegerAlgorithm;
use crate::kernels::isa::Isa;
use crate::kernels::simd::Algorithm;

/// Declares the proof of one instruction set. The features that are looked for are those that are enabled.
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
))]
macro_rules! proof {
    ($(#[$doc:meta])* $name:ident, $detected:ident: $($feature:tt)*) => {
        $crate::kernels::arch::proof::proof!(
            $(#[$doc])* $name runs $crate::kernels::simd::Algorithm, $detected: $($feature)*
        );
    };
    ($(#[$doc:meta])* $name:ident runs $Algorithm:path, $detected:ident: $($feature:tt)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::kernels) struct $name(());

        impl $name {
            /// `None` where a feature is missing.
            pub(super) fn new() -> Option<$name> {
                let all = $(std::arch::$detected!($feature))&&*;
                all.then_some($name(()))
            }

            #[inline]
            pub(super) fn run<A: $Algorithm>(self, algorithm: A) -> A::Output {
                #[target_feature($(enable = $feature),*)]
                fn with_features<A: $Algorithm>(proof: $name, algorithm: A) -> A::Output {
                    algorithm.run(proof)
                }
                // SAFETY: `self` exists, so `new` has found every one of these features.
                unsafe { with_features(self, algorithm) }
            }
        }
    };
}
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
))]
pub(super) use proof;

/// The proof of any instruction set that this target can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Proof {
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Sse41(sse41::Sse41),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon(neon::Neon),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128(simd128::Simd128),
    Scalar(scalar::Scalar),
}

impl Proof {
    /// Any processor will do.
    pub(in crate::kernels) const NONE_NEEDED: Proof = Proof::Scalar(scalar::Scalar);

    /// `None` where this processor lacks a feature that the kernels of `isa` use.
    pub(in crate::kernels) fn of(isa: Isa) -> Option<Proof> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::Avx512::new().map(Proof::Avx512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::Avx2::new().map(Proof::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Sse41 => sse41::Sse41::new().map(Proof::Sse41),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Isa::Neon => neon::Neon::new().map(Proof::Neon),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Simd128 => Some(Proof::Simd128(simd128::Simd128)),
            Isa::Scalar => Some(Proof::NONE_NEEDED),
            _ => None,
        }
    }

    /// The instruction set.
    pub(in crate::kernels) fn isa(self) -> Isa {
        match self {
            #[cfg(target_arch = "x86_64")]
            Proof::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "x86_64")]
            Proof::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Proof::Sse41(_) => Isa::Sse41,
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Proof::Neon(_) => Isa::Neon,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Proof::Simd128(_) => Isa::Simd128,
            Proof::Scalar(_) => Isa::Scalar,
        }
    }

    /// Runs an algorithm with these features.
    #[inline]
    pub(in crate::kernels) fn run<A: Algorithm>(self, algorithm: A) -> A::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Proof::Avx512(avx512) => avx512.run(algorithm),
            #[cfg(target_arch = "x86_64")]
            Proof::Avx2(avx2) => avx2.run(algorithm),
            #[cfg(target_arch = "x86_64")]
            Proof::Sse41(sse41) => sse41.run(algorithm),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Proof::Neon(neon) => neon.run(algorithm),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Proof::Simd128(simd128) => algorithm.run(simd128),
            Proof::Scalar(scalar) => algorithm.run(scalar),
        }
    }
}

/// The proof of what computes with integers: code for the instruction set where there is such, else plain loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum IntegerProof {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(avx512_integers::Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(avx_vnni_integers::AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2_integers::Avx2Integers),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    NeonDotprod(neon_dotprod_integers::NeonDotprod),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon(neon_integers::NeonIntegers),
    Scalar(scalar::Scalar),
}

impl IntegerProof {
    /// What is best beside `isa`, which this processor has.
    pub(in crate::kernels) fn beside(isa: Isa) -> IntegerProof {
        let mut found = IntegerProof::all_beside(isa);
        found.next().unwrap_or(IntegerProof::Scalar(scalar::Scalar))
    }

    /// All that this processor has for `isa`, the best first. Each gives the same bits.
    pub(super) fn all_beside(isa: Isa) -> impl Iterator<Item = IntegerProof> {
        #[cfg(target_arch = "x86_64")]
        let of_avx2 = || {
            [
                avx_vnni_integers::AvxVnni::new().map(IntegerProof::AvxVnni),
                avx2_integers::Avx2Integers::new().map(IntegerProof::Avx2),
            ]
        };
        let (first, others) = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                let vnni = avx512_integers::Avx512Vnni::new();
                (vnni.map(IntegerProof::Avx512Vnni), of_avx2())
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (None, of_avx2()),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Isa::Neon => {
                let dotprod = neon_dotprod_integers::NeonDotprod::new();
                let neon = neon_integers::NeonIntegers::new();
                let others = [neon.map(IntegerProof::Neon), None];
                (dotprod.map(IntegerProof::NeonDotprod), others)
            }
            _ => (None, [None, None]),
        };
        first.into_iter().chain(others.into_iter().flatten())
    }

    /// Its name, in lower case; `scalar` for plain loops.
    pub(in crate::kernels) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            IntegerProof::Avx512Vnni(_) => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            IntegerProof::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            IntegerProof::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            IntegerProof::NeonDotprod(_) => "neon-dotprod",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            IntegerProof::Neon(_) => "neon",
            IntegerProof::Scalar(_) => "scalar",
        }
    }

    /// Runs an algorithm with these features.
    #[inline]
    pub(in crate::kernels) fn run<A: IntegerAlgorithm>(self, algorithm: A) -> A::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            IntegerProof::Avx512Vnni(vnni) => vnni.run(algorithm),
            #[cfg(target_arch = "x86_64")]
            IntegerProof::AvxVnni(vnni) => vnni.run(algorithm),
            #[cfg(target_arch = "x86_64")]
            IntegerProof::Avx2(avx2) => avx2.run(algorithm),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            IntegerProof::NeonDotprod(dotprod) => dotprod.run(algorithm),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            IntegerProof::Neon(neon) => neon.run(algorithm),
            IntegerProof::Scalar(scalar) => algorithm.run(scalar),
        }
    }
}
