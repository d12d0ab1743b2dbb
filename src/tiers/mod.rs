//! Where a page lives: the pool of pinned frames, the table that finds them, waiting and eviction.
//!
//! Knows files only as numbers in a key, and nothing of models. A page comes in through [`pool::Pool::claim`], is read
//! by a ring, ends in [`pool::Pool::complete`], and goes out when the eviction policy claims its frame.

pub(crate) mod arena;
pub(crate) mod eviction;
pub(crate) mod frame;
mod huge_pages;
#[cfg(all(test, loom))]
mod loom_tests;
pub(crate) mod pool;
pub(crate) mod table;
pub(crate) mod wait;
