//! Everything that calls the engine.
use std::path::Path;

use crate::args::BenchArgs;
use crate::bench::load::Load;
use crate::bench::round::Round;
use crate::demo::tally::Tally;
use crate::doctor::Item;
use crate::error::{Error, Result};

pub(crate) fn bench_round(_load: &Load, _args: &BenchArgs) -> Result<Round> {
    Ok(Round {
        iops: 1.0,
        backend: "stub".into(),
        ..Round::default()
    })
}
pub(crate) fn demo(path: &Path, _budget: u64, tally: &mut Tally) -> Result<(String, Vec<Item>)> {
    crate::demo::rivals::pread(path, tally)?;
    Ok(("stub".into(), Vec::new()))
}
pub(crate) fn doctor(_path: &Path) -> Result<Vec<Item>> {
    Err(Error::message("the doctor is not wired"))
}
