//! Packed fields: what was packed is there, byte for byte, and what is damaged is an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../child/mod.rs"]
mod child;
#[path = "../content/mod.rs"]
mod content;
#[path = "../executor/mod.rs"]
mod executor;
#[path = "../metered/mod.rs"]
mod metered;
#[path = "../formats/mutation.rs"]
mod mutation;
#[allow(dead_code)]
#[path = "../formats/writer.rs"]
mod writer;

mod async_and_batch;
mod damage;
mod experts;
mod format;
mod in_turn;
mod interrupted;
mod made;
mod members;
mod mutations;
mod reread;
mod round_trip;
