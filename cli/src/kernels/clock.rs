//! The clock of the measurements of arithmetic, here and in `benches/kernels.rs`.

/// Nanoseconds that this thread has had on a processor: others may run beside it.
pub(crate) fn thread_cpu_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
