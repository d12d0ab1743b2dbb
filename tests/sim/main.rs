//! The engine on a disk that fails in every way we know.
//!
//! [`seeds`] runs a random workload against random faults, once a seed, and judges every byte and every error.
//! [`promises`] has one test for each promise that a user could hold us to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// A prefetch of one range is what is meant.
#![allow(clippy::single_range_in_vec_init)]

mod field_model;
mod judge;
mod lanes;
mod promises;
mod random;
mod seeds;
mod woken;
mod world;
