//! Products of packed weights with activations of eight bits: integers inside a block, floats between blocks. Their order
//! is in the documentation of `kernels`.

mod activations;
mod aligned;
mod formats;
mod integers;
mod matvec;
mod quantize;

pub use activations::Activations;
pub(super) use integers::{IntegerAlgorithm, Integers};
pub(crate) use matvec::COLUMNS;
