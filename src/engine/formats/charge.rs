//! What the records of a model take of the metadata budget.

use crate::engine::Engine;
use crate::engine::core::Core;
use crate::error::Result;
use std::path::Path;
use std::sync::Arc;

/// Bytes charged to the metadata budget, given back when dropped.
pub(crate) struct Charge {
    core: Arc<Core>,
    bytes: u64,
}

impl Charge {
    pub(crate) fn new(engine: &Engine) -> Charge {
        Charge {
            core: engine.core.clone(),
            bytes: 0,
        }
    }

    /// Charges `bytes` more, for the header of `path`.
    pub(super) fn add(&mut self, path: &Path, bytes: u64) -> Result<()> {
        self.add_for(|| format!("the header of {}", path.display()), bytes)
    }

    /// Charges `bytes` more, for `what`.
    pub(crate) fn add_for(&mut self, what: impl FnOnce() -> String, bytes: u64) -> Result<()> {
        self.core.charge(what, bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Charge")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.core.discharge(self.bytes);
    }
}
