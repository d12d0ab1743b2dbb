//! Arithmetic on slices: dot products, matrix times vector over GGUF's row formats, norms, softmax, activations, rotary
//! positions. No I/O, no allocation, no knowledge of pages.
//!
//! [`Kernels`] is a handle on one instruction set, chosen once by every feature it uses, or forced with
//! [`Kernels::with`]. What it computes is exact mode: activations are 32-bit floats and a quantized weight is the 32-bit
//! float that it stands for.
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

pub use isa::{Isa, Kernels};
pub use row_format::RowFormat;
pub use shape::ShapeError;
