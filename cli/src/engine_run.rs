//! Everything that calls the engine.

mod bench;
mod demo;
mod doctor;
mod generate;
mod model;
mod packed;
mod perplexity;
mod source;
mod tensor;

pub(crate) use bench::bench_round;
pub(crate) use demo::demo;
pub(crate) use doctor::doctor;
pub(crate) use generate::{generate, plan};
pub(crate) use model::{list as list_model, verify as verify_model};
pub(crate) use packed::{inspect, pack, unpack, verify};
pub(crate) use perplexity::perplexity;
pub(crate) use source::info as packed_info;
pub(crate) use tensor::elements_of_tensor;

use ringfield::{BackendKind, Engine};

use crate::args::Backend;
use crate::doctor::Item;
use crate::error::{Error, Result};

/// Says what was being done when the engine failed.
trait EngineContext<T> {
    fn engine(self, doing: &str) -> Result<T>;
}

impl<T> EngineContext<T> for ringfield::Result<T> {
    fn engine(self, doing: &str) -> Result<T> {
        self.map_err(|source| Error::Engine {
            what: doing.to_owned(),
            source,
        })
    }
}

fn kind(backend: Backend) -> BackendKind {
    match backend {
        Backend::Auto => BackendKind::Auto,
        Backend::Uring => BackendKind::Uring,
        Backend::Pread => BackendKind::Pread,
        Backend::Mmap => BackendKind::Mmap,
    }
}

/// What the engine was granted, as plain text.
fn items(engine: &Engine) -> Vec<Item> {
    let report = engine.report();
    let rows = report.rows().iter();
    rows.map(|row| Item {
        item: row.item.to_string(),
        requested: row.requested.to_string(),
        granted: row.granted.to_string(),
        why: row.why.to_string(),
        fix: row.fix.to_string(),
    })
    .collect()
}

/// What moves the bytes: `io_uring` or `pread`.
fn backend(items: &[Item]) -> String {
    let row = items.iter().find(|row| row.item.ends_with("backend"));
    row.map_or_else(|| "unknown".to_owned(), |row| row.granted.clone())
}
