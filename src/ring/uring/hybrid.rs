//! A ring with `IORING_SETUP_HYBRID_IOPOLL` (Linux 6.13), a flag that the `io-uring` crate's builder does not know.

use io_uring::{IoUring, Parameters};
use std::io;

// Flags of io_uring_setup(2), from `linux/io_uring.h`.
const IOPOLL: u32 = 1 << 0;
const SQPOLL: u32 = 1 << 1;
const CQSIZE: u32 = 1 << 3;
const CLAMP: u32 = 1 << 4;
const COOP_TASKRUN: u32 = 1 << 8;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;
const HYBRID_IOPOLL: u32 = 1 << 17;

/// `struct io_uring_params` of io_uring_setup(2).
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq_offsets: [u64; 5],
    cq_offsets: [u64; 5],
}

const _: () = assert!(size_of::<Params>() == size_of::<Parameters>());

/// Builds such a ring, with the other flags as the ladder of `setup` says.
///
/// Unlike the builder's its mappings are inherited by a forked child, which never touches them.
pub(super) fn build(
    entries: u32,
    single: bool,
    defer: bool,
    coop: bool,
    sqpoll_idle_ms: Option<u32>,
) -> io::Result<IoUring> {
    let mut flags = HYBRID_IOPOLL | IOPOLL | CLAMP | CQSIZE;
    if single {
        flags |= SINGLE_ISSUER;
    }
    if sqpoll_idle_ms.is_some() {
        flags |= SQPOLL;
    } else if defer {
        flags |= DEFER_TASKRUN;
    } else if coop {
        flags |= COOP_TASKRUN;
    }
    let mut params = Params {
        cq_entries: entries * 2,
        flags,
        sq_thread_idle: sqpoll_idle_ms.unwrap_or(0),
        ..Params::default()
    };
    // SAFETY: `params` is the structure that io_uring_setup(2) reads and fills in, alive for the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, &raw mut params) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `Parameters` is a transparent wrapper of the same structure, of the same size (asserted above), for which
    // every bit pattern is a value, and the kernel has just filled it in.
    let params = unsafe { std::mem::transmute::<Params, Parameters>(params) };
    // SAFETY: `fd` is the ring that `params` describes, and nothing else owns it.
    unsafe { IoUring::from_fd(fd as i32, params) }
}
