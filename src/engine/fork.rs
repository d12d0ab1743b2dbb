//! Noticing that this process is a fork of the one that built the engine.
//!
//! A child has neither the engine's threads nor its arena (`MADV_DONTFORK`), so every call there ends in
//! [`crate::Error::Forked`]. A counter that the C library bumps in each child (pthread_atfork(3)) makes the check one load.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static REGISTER: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Relaxed);
}

/// How many forks lie between this process and the one that first asked.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// Starts counting; returns the generation of this process.
pub(crate) fn watch() -> u32 {
    REGISTER.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is safe in a child of a threaded process.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    generation()
}
