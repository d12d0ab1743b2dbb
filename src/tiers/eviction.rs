//! Which page goes when a frame is needed.

use super::frame::{Frame, Phase, State};
use crate::sync::{AtomicU32, Ordering};

/// Which page goes when a frame is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Eviction {
    /// CLOCK: of the pages in the order of their frames the first that was not used since the hand last came by. A hit
    /// costs one bit. The default.
    #[default]
    Clock,
}

impl Eviction {
    pub(crate) fn policy(self) -> Clock {
        match self {
            Eviction::Clock => Clock::default(),
        }
    }
}

/// Chooses victims. Called with the allocation lock held; hits are seen through the frames' reference flags.
pub(crate) trait EvictionPolicy: Send + Sync {
    /// Claims an unpinned frame that carries none of the flags in `keep`; returns it with the state it had. `None`
    /// where there is none.
    fn victim(&self, frames: &[Frame], keep: u64) -> Option<(u32, State)>;

    /// The frame behind the last victim: where a search for adjacent frames starts.
    fn hand(&self) -> u32;

    /// Sets that frame.
    fn set_hand(&self, hand: u32);
}

/// CLOCK (Corbató 1968): a hand goes round the frames; one that was used since the last round is spared once.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    hand: AtomicU32,
}

impl EvictionPolicy for Clock {
    fn victim(&self, frames: &[Frame], keep: u64) -> Option<(u32, State)> {
        let count = frames.len() as u32;
        let mut at = self.hand.load(Ordering::Relaxed) % count.max(1);
        // Two rounds: the first may only take away reference flags.
        for _ in 0..count as u64 * 2 {
            let frame = &frames[at as usize];
            let index = at;
            at = if at + 1 == count { 0 } else { at + 1 };
            let state = frame.state();
            let claimed = match state.phase() {
                _ if state.pins() != 0 => None,
                Phase::Free => frame.claim(Phase::Free, 0),
                Phase::Failed => frame.claim_leaving(),
                Phase::Resident | Phase::Loaded if state.is_referenced() && !state.has(keep) => {
                    frame.unreference();
                    None
                }
                phase @ (Phase::Resident | Phase::Loaded) => frame.claim(phase, keep),
                _ => None,
            };
            if let Some(state) = claimed {
                self.hand.store(at, Ordering::Relaxed);
                return Some((index, state));
            }
        }
        None
    }

    fn hand(&self) -> u32 {
        self.hand.load(Ordering::Relaxed)
    }

    fn set_hand(&self, hand: u32) {
        self.hand.store(hand, Ordering::Relaxed);
    }
}
