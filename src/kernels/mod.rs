//! Arithmetic on slices: dot products, matrix times vector over GGUF's row formats, norms, softmax, activations, rotary
//! positions. No I/O, no allocation (but for [`Activations`], which keep theirs), no knowledge of pages.
//!
//! [`Kernels`] is a handle on one instruction set, chosen once by every feature it uses, or forced with
//! [`Kernels::with`]. What it computes is exact mode, where activations are 32-bit floats and a quantized weight is the
//! 32-bit float that it stands for, unless activations of eight bits are asked for.
//!
//! ```
//! use ringfield::kernels::{Kernels, RowFormat};
//!
//! let kernels = Kernels::new();
//! let weights: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let mut out = [0.0f32; 2];
//! kernels.matvec(RowFormat::F32, &weights, &[1.0, 0.0, -1.0], &mut out)?; // two rows of three
//! assert_eq!(out, [-2.0, -2.0]);
//! # Ok::<(), ringfield::kernels::ShapeError>(())
//! ```
//!
//! # The canonical order
//!
//! A result depends on the values, the row's format and length, and the instruction set. It never depends on where the
//! bytes lie, how rows are cut into calls, how many threads or columns there are. So a model says the same whatever the
//! memory budget, the page size, the number of threads and the size of a batch.
//!
//! The sum of a row of `n` products is, for every format:
//! 1. Element `i` belongs to accumulator `(i / 16) % 2`, lane `i % 16`. Each lane adds its products in ascending order of
//!    `i`: `sum = fma(w, x, sum)` where the instruction set fuses (AVX-512, AVX2 with FMA, NEON), `sum + w * x`, rounded
//!    twice, where it does not (SSE4.1, SIMD128, scalar). Rows are filled up with zeros to a multiple of 32.
//! 2. The two accumulators are added lane by lane.
//! 3. Lane `l` and lane `l + 8` are added, then `l + 4`, `l + 2`, `l + 1`.
//!
//! `w` is the element as `dequantize` gives it. Two instruction sets that both fuse give the same bits, and so do two
//! that do not. A batched kernel gives each column the bits of the single one.
//!
//! The sums inside of norms and softmax go the same way. Functions of one element, such as [`Kernels::silu`], depend on
//! that element alone.
//!
//! # Eight-bit activations
//!
//! [`Kernels::matvec_quantized`] multiplies packed rows with columns that [`Kernels::quantize`] has made eight bits of, in
//! the blocks that ggml uses beside each format: 32 elements with a half-precision scale `dx` (Q8_0, Q8_1) beside formats
//! of 32 elements, 256 with a single-precision one (Q8_K) beside formats of 256. The canonical order is then:
//! 1. Inside of block `b` everything is integer, hence exact: `sum[b]`, the products of the quants, each times the
//!    integer scale of its part where the format has such; and `low[b]`, the sums of the activations' quants, each times
//!    the part's integer offset.
//! 2. `p[b] = (d * dx) * sum[b]` for a format without offsets; `fma(d * dx, sum[b], m * s)` for Q4_1 and Q5_1, where `s`
//!    is the scale before it is rounded, times the sum of the block's quants, in half precision; `fma(d * dx, sum[b], -(dmin * dx) * low[b])` for
//!    formats of 256 with offsets.
//! 3. Lane `b % 16` adds `p[b]` in ascending order of `b`, from zero; then the lanes are added as above.
//!
//! There is code for AVX-512 (with VNNI; without it AVX2's computes), AVX2 (with AVX-VNNI or without) and NEON (with the
//! dot product or without), which fuse; the other instruction sets run plain loops, which do not. Which integer
//! instructions there are changes no bit.
//!
//! # The floating-point environment
//!
//! All of this holds where a thread's control word is as it starts: round to nearest, denormals kept, no traps (MXCSR
//! `0x1f80` on x86-64, FPCR 0 on AArch64), which Rust presupposes too. Nobody looks: where foreign code of the host has
//! set flush-to-zero or another rounding on a thread, that thread's results differ in bits.

mod activation;
pub(crate) mod arch;
mod axpy;
mod columns;
mod dequantize;
mod dot;
mod eight_bit;
mod elementwise;
mod exp;
mod formats;
mod isa;
mod matvec;
mod norm;
mod rope;
mod row_format;
mod shape;
mod simd;
mod softmax;
mod weighted_sum;

pub use eight_bit::Activations;
pub(crate) use eight_bit::ROWS_TOGETHER;
pub use isa::{Isa, Kernels};
pub use row_format::RowFormat;
pub use shape::ShapeError;
