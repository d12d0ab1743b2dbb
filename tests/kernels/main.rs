//! Kernels against 64-bit arithmetic, and against each other: the bits must not depend on how a call is cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod all_floats;
mod empty;
mod formats;
mod functions;
mod gates;
mod isas;
mod norms;
mod plain;
mod products;
mod random;
mod rope;
mod rows;
mod softmax;
mod weighted_sum;
