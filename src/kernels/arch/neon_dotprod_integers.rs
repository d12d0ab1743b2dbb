//! NEON with the dot product (FEAT_DotProd): four products are added up by one instruction.

use super::neon::Neon;
use super::neon_integers::Dots;
use super::proof::proof;
use super::registers::registers;
use crate::kernels::eight_bit::IntegerAlgorithm;
use std::arch::aarch64::*;
use std::arch::asm;

proof! {
    /// The proof that the processor has the dot product beside what [`Neon`] needs.
    NeonDotprod runs IntegerAlgorithm, is_aarch64_feature_detected: "dotprod" "neon"
}

impl Dots for NeonDotprod {
    #[inline(always)]
    fn neon(self) -> Neon {
        Neon::of_dotprod(self)
    }

    /// The intrinsic, `vdotq_s32`, is not stable yet.
    #[inline(always)]
    fn add_dot(self, to: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
        let mut sum = to;
        // SAFETY: the processor has the instruction, because `self` exists; it reads and writes the three registers that are
        // named, each declared as what is done with it, and neither memory nor flags.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.16b",
                sum = inout(vreg) sum,
                weights = in(vreg) weights,
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }

    #[inline(always)]
    fn scale(self, highest: int8x16_t) -> int8x16_t {
        // Of each two words, which are the same.
        registers!(vreinterpretq_s8_s32(vshrq_n_s32::<24>(
            vreinterpretq_s32_s8(highest)
        )))
    }

    #[inline(always)]
    fn add_dot_scaled(
        self,
        to: int32x4_t,
        weights: int8x16_t,
        x: int8x16_t,
        scale: int8x16_t,
    ) -> int32x4_t {
        let dot = self.add_dot(registers!(vdupq_n_s32(0)), weights, x);
        registers!(vmlaq_s32(to, dot, vreinterpretq_s32_s8(scale)))
    }
}
