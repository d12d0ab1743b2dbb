//! Pages of a field on their way to its devices: a window of them.

use super::pack::window_pages;
use crate::engine::Field;
use crate::engine::write::Writing;
use crate::error::Result;
use std::collections::VecDeque;

/// See the module. Dropped with pages under way, as after an error, it gives their frames back: the writes end without it.
pub(super) struct WriteWindow {
    field: Field,
    under_way: VecDeque<Writing>,
    pages_max: usize,
}

impl WriteWindow {
    /// A window over `field`, which takes a quarter of the pool at most.
    pub(super) fn new(field: Field) -> WriteWindow {
        let pool = field.shared.pool();
        let quarter = pool.frame_count() as usize / 4;
        let pages_max = window_pages(pool.frame_bytes).min(quarter).max(1);
        WriteWindow {
            field,
            under_way: VecDeque::with_capacity(pages_max),
            pages_max,
        }
    }

    pub(super) fn field(&self) -> &Field {
        &self.field
    }

    /// Writes a unit that `fill` puts together, after the oldest one has ended where the window is full. `fill` says how many
    /// of its bytes.
    pub(super) fn write<R>(
        &mut self,
        unit: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<(R, u64)>,
    ) -> Result<R> {
        while self.under_way.len() >= self.pages_max {
            self.finish_one()?;
        }
        let mut filled = None;
        let fill = |bytes: &mut [u8]| match fill(bytes) {
            Ok((result, stored)) => {
                filled = Some(Ok(result));
                stored as usize
            }
            Err(e) => {
                filled = Some(Err(e));
                bytes.len()
            }
        };
        self.under_way
            .push_back(self.field.shared.write_unit(unit, fill)?);
        // It was called, or there is an error.
        filled.unwrap_or(Err(crate::Error::Cancelled))
    }

    fn finish_one(&mut self) -> Result<()> {
        match self.under_way.pop_front() {
            Some(writing) => self.field.shared.finish_write(writing),
            None => Ok(()),
        }
    }

    /// Waits until the devices have taken everything.
    pub(super) fn finish(&mut self) -> Result<()> {
        while !self.under_way.is_empty() {
            self.finish_one()?;
        }
        Ok(())
    }
}

impl Drop for WriteWindow {
    fn drop(&mut self) {
        for writing in self.under_way.drain(..) {
            self.field.shared.forget_write(writing);
        }
    }
}
