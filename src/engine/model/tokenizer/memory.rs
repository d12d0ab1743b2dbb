//! Memory as large as a file says: where there is none, an error and not the end of the process.

use crate::error::{Error, Result};

/// The error where there is no memory for `len` of `what`.
pub(super) fn refused(len: usize, what: &str) -> Error {
    Error::Os {
        what: format!("memory for {len} {what} of a tokenizer"),
        errno: libc::ENOMEM,
    }
}

/// Nothing yet, with room for `len`.
pub(super) fn room<T>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut room = Vec::new();
    match room.try_reserve_exact(len) {
        Ok(()) => Ok(room),
        Err(_) => Err(refused(len, what)),
    }
}

/// `len` times `value`.
pub(super) fn filled<T: Clone>(value: T, len: usize, what: &str) -> Result<Vec<T>> {
    let mut filled = room(len, what)?;
    filled.resize(len, value);
    Ok(filled)
}
