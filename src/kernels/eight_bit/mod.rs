//! Products of packed weights with activations of eight bits: integers inside a block, floats between blocks.
//!
//! Activations are quantized once ([`Kernels::quantize`]), in the blocks that ggml uses beside each format: 32 elements
//! with a half-precision scale (Q8_0, Q8_1) beside formats of 32 elements, 256 with a single-precision one (Q8_K) beside
//! formats of 256.
//!
//! # The canonical order
//!
//! 1. Inside of block `b` everything is integer, hence exact: `sum[b]`, the products of the quants, each times the
//!    integer scale of its part where the format has such; and `low[b]`, the sums of the activations' quants, each times
//!    the part's integer offset.
//! 2. `p[b] = (d * dx) * sum[b]` for a format without offsets; `fma(d * dx, sum[b], m * s)` for Q4_1 and Q5_1, where `s`
//!    is the block's sum in half precision; `fma(d * dx, sum[b], -(dmin * dx) * low[b])` for formats of 256 with offsets.
//! 3. Lane `b % 16` adds `p[b]` in ascending order of `b`, from zero; then the lanes are added as in exact mode.
//!
//! So a result depends on format, length of the row and on whether the instruction set fuses, and on nothing else. There is
//! code for AVX-512 (with VNNI, or as AVX2 without) and AVX2; the others run plain loops, which do not fuse.
//!
//! [`Kernels::quantize`]: super::Kernels::quantize

mod activations;
mod formats;
mod integers;
mod matvec;
mod quantize;

pub use activations::Activations;
pub(super) use integers::{IntegerAlgorithm, Integers};
