//! Pieces of work that do not depend on each other.

use super::crew::Crew;
use super::multiply::Multiplier;
use crate::error::Result;
use crate::kernels::ShapeError;
use crate::sync::lock;
use std::sync::Mutex;

impl Crew<Multiplier> {
    /// Does `each` of the pieces, given the number of the thread: one piece in the caller, more in whoever is free.
    pub(super) fn share<T>(
        &self,
        pieces: impl ExactSizeIterator<Item = T> + Send,
        each: impl Fn(&Multiplier, usize, T) -> std::result::Result<(), ShapeError> + Sync,
    ) -> Result<()> {
        let many = pieces.len() > 1;
        let (left, failed) = (Mutex::new(pieces), Mutex::new(None));
        let job = |state: &Multiplier, thread: usize| {
            loop {
                let next = lock(&left).next();
                let Some(piece) = next else { return };
                if let Err(error) = each(state, thread, piece) {
                    *lock(&failed) = Some(error);
                    return;
                }
            }
        };
        if many {
            self.run(&job)?;
        } else {
            job(self.state(), 0);
        }
        match lock(&failed).take() {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }
}
