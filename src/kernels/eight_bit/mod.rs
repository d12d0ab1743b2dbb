//! Products of packed weights with activations of eight bits: integers inside a block, floats between blocks. Their order
//! is in the documentation of `kernels`.

mod activations;
mod aligned;
mod formats;
mod integers;
mod matmul;
mod matvec;
mod products;
mod quantize;
mod records;
mod single;

pub use activations::Activations;
pub(super) use integers::{IntegerAlgorithm, Integers, Pairs};
pub(crate) use matmul::ROWS_TOGETHER;
