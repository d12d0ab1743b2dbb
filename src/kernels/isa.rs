//! Which instruction set computes.

use super::arch::{IntegerProof, Proof};
use super::eight_bit::IntegerAlgorithm;
use super::simd::Algorithm;

/// An instruction set that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// x86-64 with AVX-512 F, BW, DQ and VL, AVX2, FMA and F16C.
    Avx512,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with SSE4.1 (and SSSE3).
    Sse41,
    /// AArch64, little-endian.
    Neon,
    /// WebAssembly with 128-bit SIMD.
    Simd128,
    /// Any processor.
    Scalar,
}

impl Isa {
    /// All of them, the widest first.
    pub const ALL: [Isa; 6] = [
        Isa::Avx512,
        Isa::Avx2,
        Isa::Sse41,
        Isa::Neon,
        Isa::Simd128,
        Isa::Scalar,
    ];

    /// True where this processor has every feature of it.
    pub fn is_available(self) -> bool {
        Proof::of(self).is_some()
    }

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Sse41 => "sse4.1",
            Isa::Neon => "neon",
            Isa::Simd128 => "simd128",
            Isa::Scalar => "scalar",
        }
    }

    /// True where a product and a sum are rounded once. Instruction sets of one kind give the same bits.
    pub fn fuses(self) -> bool {
        matches!(self, Isa::Avx512 | Isa::Avx2 | Isa::Neon)
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The kernels of one instruction set. A copy is as good as the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels {
    proof: Proof,
    integers: IntegerProof,
}

impl Default for Kernels {
    fn default() -> Kernels {
        Kernels::new()
    }
}

impl Kernels {
    /// The widest instruction set of this processor.
    pub fn new() -> Kernels {
        let widest = Isa::ALL.into_iter().find_map(Proof::of);
        Kernels::of(widest.unwrap_or(Proof::NONE_NEEDED))
    }

    fn of(proof: Proof) -> Kernels {
        Kernels {
            proof,
            integers: IntegerProof::beside(proof.isa()),
        }
    }

    /// The kernels of `isa`; `None` where this processor lacks it.
    pub fn with(isa: Isa) -> Option<Kernels> {
        Proof::of(isa).map(Kernels::of)
    }

    /// The instruction set that computes.
    pub fn isa(self) -> Isa {
        self.proof.isa()
    }

    /// What multiplies eight-bit integers beside it ([`Kernels::matvec_quantized`]): the name of some instructions, such as
    /// `avx512-vnni`, or `scalar` where plain loops do. For people to read.
    pub fn integers(self) -> &'static str {
        self.integers.name()
    }

    /// Runs an algorithm on it.
    #[inline]
    pub(super) fn run<A: Algorithm>(self, algorithm: A) -> A::Output {
        self.proof.run(algorithm)
    }

    /// Runs an algorithm on the integers that belong to it.
    #[inline]
    pub(super) fn run_integers<A: IntegerAlgorithm>(self, algorithm: A) -> A::Output {
        self.integers.run(algorithm)
    }
}
