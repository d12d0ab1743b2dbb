//! Why a call of io_uring was refused, and what to do about it.
//!
//! The errno alone does not say: EPERM is the answer of the sysctl, of a container's seccomp profile and of a security
//! module. What the process can see of its surroundings tells them apart.

use crate::ring::locked_memory;
use std::fs;
use std::io;

/// What may refuse io_uring to this process.
#[derive(Debug, Clone, Copy, Default)]
struct Surroundings {
    /// `kernel.io_uring_disabled`, from Linux 6.6 on.
    disabled: Option<u8>,
    /// A seccomp filter is in force.
    seccomp: bool,
    /// CAP_SYS_ADMIN, which a sysctl of 1 does not concern.
    admin: bool,
}

impl Surroundings {
    fn look() -> Surroundings {
        let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Surroundings::parse(&sysctl.unwrap_or_default(), &status)
    }

    fn parse(sysctl: &str, status: &str) -> Surroundings {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        let capabilities = field("CapEff:").and_then(|set| u64::from_str_radix(set, 16).ok());
        Surroundings {
            disabled: sysctl.trim().parse().ok(),
            seccomp: field("Seccomp:") == Some("2"),
            admin: capabilities.unwrap_or(0) >> 21 & 1 == 1,
        }
    }
}

/// Why `call` was refused with `e`, as far as this process can see, and what to do.
pub(crate) fn explain(call: &str, e: &io::Error) -> (String, &'static str) {
    let (cause, fix) = cause(e.raw_os_error().unwrap_or(0), Surroundings::look());
    let separator = if cause.is_empty() { "" } else { "; " };
    (format!("{call}: {e}{separator}{cause}"), fix)
}

fn cause(errno: i32, around: Surroundings) -> (String, &'static str) {
    match errno {
        libc::EPERM if around.disabled == Some(2) => (
            "kernel.io_uring_disabled is 2: refused to everyone".into(),
            "`sysctl kernel.io_uring_disabled=0` as root of the host",
        ),
        libc::EPERM if around.disabled == Some(1) && !around.admin => (
            "kernel.io_uring_disabled is 1: refused to unprivileged users".into(),
            "`sysctl kernel.io_uring_disabled=0` as root of the host, or name a group of this user in \
             kernel.io_uring_group",
        ),
        libc::EPERM | libc::EACCES | libc::ENOSYS if around.seccomp => (
            "a seccomp filter is in force, as in most containers".into(),
            "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile \
             (--security-opt seccomp=PROFILE.json in Docker, SystemCallFilter=@aio in systemd)",
        ),
        libc::ENOSYS => (
            "the kernel has no io_uring".into(),
            "Linux 5.19 or newer with CONFIG_IO_URING; sandboxes such as gVisor may lack it",
        ),
        libc::EPERM | libc::EACCES => (
            "neither kernel.io_uring_disabled nor a seccomp filter".into(),
            "allow it in the security module (SELinux, AppArmor): `dmesg` names the denial",
        ),
        libc::ENOMEM => (
            format!("locked-memory limit {}", locked_memory::limit()),
            locked_memory::FIX,
        ),
        libc::EMFILE => (
            "the limit of open files".into(),
            "raise `ulimit -n` (LimitNOFILE= in systemd, --ulimit nofile= in Docker)",
        ),
        libc::EINVAL => ("the kernel does not know it".into(), "Linux 5.19 or newer"),
        _ => (
            String::new(),
            "see io_uring_setup(2), io_uring_enter(2) and io_uring_register(2) for this error",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Surroundings = Surroundings {
        disabled: Some(0),
        seccomp: false,
        admin: false,
    };

    #[test]
    fn one_errno_has_the_cause_that_the_surroundings_show() {
        let filtered = Surroundings {
            seccomp: true,
            ..FREE
        };
        let disabled = |value, admin| Surroundings {
            disabled: Some(value),
            admin,
            ..filtered
        };
        for (around, named, remedy) in [
            (disabled(2, true), "io_uring_disabled is 2", "`sysctl "),
            (disabled(1, false), "io_uring_disabled is 1", "`sysctl "),
            (disabled(1, true), "a seccomp filter", "seccomp profile"),
            (filtered, "a seccomp filter", "seccomp profile"),
            (FREE, "neither", "SELinux"),
        ] {
            let (cause, fix) = cause(libc::EPERM, around);
            assert!(cause.contains(named), "{around:?}: {cause}");
            assert!(fix.contains(remedy), "{around:?}: {fix}");
        }
        // The sysctl answers EPERM and nothing else.
        assert!(
            cause(libc::ENOSYS, disabled(2, false))
                .0
                .contains("seccomp")
        );
        assert!(cause(libc::ENOSYS, FREE).0.contains("no io_uring"));
    }

    #[test]
    fn the_surroundings_are_read_from_proc() {
        let status = "Name:\tx\nCapEff:\t0000000000200000\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let around = Surroundings::parse("1\n", status);
        assert!(around.disabled == Some(1) && around.seccomp && around.admin);
        let around = Surroundings::parse("", "CapEff:\t00000000001fffff\nSeccomp:\t0\n");
        assert!(around.disabled.is_none() && !around.seccomp && !around.admin);
    }
}
