//! What was asked of the machine, what it granted, and how to get the rest.

use std::borrow::Cow;

/// One line of a report: an ability that makes ringfield fast or safe, and whether it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The ability, such as `registered buffers`.
    pub item: Cow<'static, str>,
    /// What the engine asked for.
    pub requested: Cow<'static, str>,
    /// What it got.
    pub granted: Cow<'static, str>,
    /// Why it got less; empty where it got all.
    pub why: Cow<'static, str>,
    /// What to do about it; empty where there is nothing to do.
    pub fix: Cow<'static, str>,
}

impl Grant {
    /// Everything asked for was granted.
    pub(crate) fn full(
        item: impl Into<Cow<'static, str>>,
        granted: impl Into<Cow<'static, str>>,
    ) -> Grant {
        let granted = granted.into();
        Grant {
            item: item.into(),
            requested: granted.clone(),
            granted,
            why: "".into(),
            fix: "".into(),
        }
    }

    /// Less was granted than asked for.
    pub(crate) fn less(
        item: impl Into<Cow<'static, str>>,
        requested: impl Into<Cow<'static, str>>,
        granted: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
        fix: impl Into<Cow<'static, str>>,
    ) -> Grant {
        Grant {
            item: item.into(),
            requested: requested.into(),
            granted: granted.into(),
            why: why.into(),
            fix: fix.into(),
        }
    }

    /// True where less was granted than asked for.
    pub fn is_degraded(&self) -> bool {
        self.requested != self.granted
    }
}
