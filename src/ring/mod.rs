//! Moving bytes: one submission loop per device.
//!
//! A caller links read requests ([`lane`]), publishes them on the demand or the prefetch lane and wakes the loop if it
//! sleeps ([`wake`]). The loop ([`submission_loop`]) makes few large reads of them, keeps a bounded number in flight
//! through a [`backend`] and reports each slot exactly once. This module knows nothing of fields, models or policy: a
//! slot is a place in an arena, a file, an offset and a length.

pub(crate) mod backend;
pub(crate) mod device;
pub(crate) mod fault;
pub(crate) mod fifo;
pub(crate) mod file;
pub(crate) mod grant;
#[cfg(not(loom))]
pub(crate) mod handle;
pub(crate) mod lane;
pub(crate) mod locked_memory;
#[cfg(not(loom))]
pub(crate) mod mapping;
#[cfg(not(loom))]
pub(crate) mod options;
#[cfg(not(loom))]
mod refusal;
pub(crate) mod shared;
#[cfg(all(feature = "sim", not(loom)))]
pub(crate) mod sim;
#[cfg(all(feature = "sim", not(loom)))]
pub(crate) mod simulated_disk;
pub(crate) mod spin;
pub(crate) mod submission_loop;
pub(crate) mod sys;
pub(crate) mod telemetry;
#[cfg(not(loom))]
pub(crate) mod threads;
#[cfg(not(loom))]
pub(crate) mod uring;
pub(crate) mod wake;
