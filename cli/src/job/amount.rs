//! How much of a file: bytes, or a share of it.

use std::fmt;

use super::value;

/// `size`, `io_size` and `offset` as fio takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Bytes(u64),
    /// 1 to 100.
    Percent(u32),
}

impl Amount {
    pub(super) fn parse(text: &str) -> Result<Amount, &'static str> {
        match text.strip_suffix('%') {
            Some(share) => value::integer(share)
                .and_then(|percent| u32::try_from(percent).ok())
                .filter(|percent| (1..=100).contains(percent))
                .map(Amount::Percent)
                .ok_or("a share is from 1% to 100%"),
            None => value::bytes(text)
                .map(Amount::Bytes)
                .ok_or("a size such as 8g or 50% was expected"),
        }
    }

    /// Of so many bytes.
    pub(crate) fn of(self, whole: u64) -> u64 {
        match self {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(percent) => (u128::from(whole) * u128::from(percent) / 100) as u64,
        }
    }
}

/// As fio reads it.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Bytes(bytes) => write!(f, "{bytes}"),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
