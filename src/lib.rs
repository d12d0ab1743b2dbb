//! ringfield serves neural weights bigger than memory straight from SSDs, inside a latency-critical host process.
#[cfg(not(loom))]
mod engine;
mod error;
mod ring;
mod sync;
mod tiers;

#[cfg(not(loom))]
pub use engine::{
    Batch, Chunks, Engine, EngineBuilder, Field, FieldRange, LaneStats, OpenOptions, Plan, Poll,
    ReadFuture, Ready, Report, Spin, Stats, View,
};
pub use error::{Error, Result};
pub use ring::fault::Fault;
pub use ring::grant::Grant as ReportRow;
#[cfg(not(loom))]
pub use ring::handle::BackendKind;
#[cfg(not(loom))]
pub use tiers::arena::HugePages;

#[cfg(not(loom))]
const _: () = {
    const fn send_sync<T: Send + Sync>() {}
    const fn send<T: Send>() {}
    send_sync::<Engine>();
    send_sync::<Field>();
    send_sync::<Error>();
    send_sync::<View<'_>>();
    send::<Batch>();
    send::<ReadFuture<'_>>();
    send::<Plan>();
};
