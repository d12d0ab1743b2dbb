//! The limit of locked memory (`RLIMIT_MEMLOCK`), which pinning the pool and registering it as buffers run into.

/// What to do where the limit is too low.
pub(crate) const FIX: &str = "raise `ulimit -l` (LimitMEMLOCK= in systemd, --ulimit memlock= in Docker) above the \
                              budget, or grant CAP_IPC_LOCK";

/// The limit in words for a report, such as `8192 KiB`.
pub(crate) fn limit() -> String {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid, writable rlimit.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    if rc == 0 && limit.rlim_cur != libc::RLIM_INFINITY {
        format!("{} KiB", limit.rlim_cur / 1024)
    } else {
        "unlimited".into()
    }
}
