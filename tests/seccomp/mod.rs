//! Refusing system calls to a process for good, as a container's profile does (seccomp(2)).
//!
//! The program is made beforehand: a process between fork and exec may only install it.
#![allow(dead_code)]

use std::io;

/// Makes the kernel answer as `program` says, in this thread and all it starts. Allocates nothing.
pub(crate) fn install(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the program outlives the call, which copies it.
    let rc = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The calls of io_uring.
pub(crate) const IO_URING: [libc::c_long; 3] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Answers `errno` to `calls`.
pub(crate) fn without(calls: &[libc::c_long], errno: i32) -> Vec<libc::sock_filter> {
    let mut program = vec![instruction(LOAD, CALL, 0, 0)];
    for (k, &call) in calls.iter().enumerate() {
        program.push(instruction(EQUALS, call as u32, (calls.len() - k) as u8, 0));
    }
    program.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program.push(instruction(
        RETURN,
        libc::SECCOMP_RET_ERRNO | errno as u32,
        0,
        0,
    ));
    program
}

/// Answers ENOMEM to mappings on explicit huge pages, as where none is reserved.
pub(crate) fn without_explicit_huge_pages() -> Vec<libc::sock_filter> {
    vec![
        instruction(LOAD, CALL, 0, 0),
        instruction(EQUALS, libc::SYS_mmap as u32, 0, 2),
        instruction(LOAD, ARGUMENT_3, 0, 0),
        instruction(HAS_BIT, libc::MAP_HUGETLB as u32, 1, 0),
        instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        instruction(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOMEM as u32, 0, 0),
    ]
}

fn instruction(code: u32, k: u32, jump_true: u8, jump_false: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k,
    }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUALS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const HAS_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
/// Where `struct seccomp_data` has the number of the call and the low half of argument 3.
const CALL: u32 = 0;
const ARGUMENT_3: u32 = 16 + 3 * 8;
