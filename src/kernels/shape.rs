//! Slices that do not fit together.

/// Slices that do not fit together: nothing was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kernel}: {what} has {have} elements, not {need}")]
pub struct ShapeError {
    /// The kernel.
    pub kernel: &'static str,
    /// Which of its arguments.
    pub what: &'static str,
    /// Elements (bytes, of packed weights) that it has.
    pub have: usize,
    /// Elements that it must have.
    pub need: usize,
}

/// Checks a length.
pub(super) fn check(
    kernel: &'static str,
    what: &'static str,
    have: usize,
    need: usize,
) -> Result<(), ShapeError> {
    if have == need {
        Ok(())
    } else {
        Err(ShapeError {
            kernel,
            what,
            have,
            need,
        })
    }
}
