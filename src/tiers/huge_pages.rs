//! What became of the wish for huge pages: the row of the report, with what stands in the way.

use super::arena::{EXPLICIT, HugePages, PLAIN, TRANSPARENT};
use crate::ring::grant::Grant;
use std::borrow::Cow;
use std::{fs, io};

const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The row for what was `granted` of `wish`. `refused` is the answer to the wish for explicit pages, where there was one.
pub(crate) fn grant(
    wish: HugePages,
    granted: Cow<'static, str>,
    refused: Option<&io::Error>,
) -> Grant {
    let requested = match wish {
        HugePages::Auto if granted == EXPLICIT || granted == TRANSPARENT => granted.clone(),
        HugePages::Auto => "explicit or transparent ones".into(),
        HugePages::Explicit => EXPLICIT.into(),
        HugePages::Transparent => TRANSPARENT.into(),
        HugePages::Off => PLAIN.into(),
    };
    if requested == granted {
        return Grant::full("huge pages", granted);
    }
    let mut causes = Vec::new();
    if let Some(e) = refused {
        causes.push((
            format!("explicit: mmap: {e}, too few in vm.nr_hugepages"),
            "`sysctl vm.nr_hugepages=N`, 2 MiB each",
        ));
    }
    if wish != HugePages::Explicit {
        let (why, fix) = transparent_obstacle();
        causes.push((format!("transparent: {why}"), fix));
    }
    let (why, fix): (Vec<String>, Vec<&str>) = causes.into_iter().unzip();
    Grant::less(
        "huge pages",
        requested,
        granted,
        why.join("; "),
        fix.join("; or "),
    )
}

/// Why the kernel gave no transparent huge pages, or too few, and what to do.
fn transparent_obstacle() -> (&'static str, &'static str) {
    // SAFETY: PR_GET_THP_DISABLE takes integers.
    let disabled = unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) };
    let setting = fs::read_to_string(THP).unwrap_or_default();
    obstacle(disabled > 0, &setting)
}

fn obstacle(disabled_here: bool, setting: &str) -> (&'static str, &'static str) {
    if disabled_here {
        (
            "switched off for this process (PR_SET_THP_DISABLE)",
            "start it from a process that does not set PR_SET_THP_DISABLE",
        )
    } else if setting.is_empty() {
        (
            "the kernel has none",
            "a kernel with CONFIG_TRANSPARENT_HUGEPAGE",
        )
    } else if setting.contains("[never]") {
        (
            "/sys/kernel/mm/transparent_hugepage/enabled is never",
            "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`",
        )
    } else {
        (
            "too little memory is free in one piece",
            "free memory, then `echo 1 > /proc/sys/vm/compact_memory`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wished_and_granted_is_no_loss_and_all_else_names_its_obstacle() {
        let enomem = io::Error::from_raw_os_error(libc::ENOMEM);
        for (wish, granted) in [
            (HugePages::Auto, EXPLICIT),
            (HugePages::Auto, TRANSPARENT),
            (HugePages::Explicit, EXPLICIT),
            (HugePages::Transparent, TRANSPARENT),
            (HugePages::Off, PLAIN),
        ] {
            assert!(!grant(wish, granted.into(), Some(&enomem)).is_degraded());
        }
        let row = grant(HugePages::Explicit, TRANSPARENT.into(), Some(&enomem));
        assert!(row.fix.contains("nr_hugepages") && !row.why.contains("transparent"));
        let row = grant(HugePages::Transparent, PLAIN.into(), None);
        assert!(row.why.starts_with("transparent: ") && !row.fix.contains("nr_hugepages"));
        let row = grant(HugePages::Auto, PLAIN.into(), Some(&enomem));
        assert!(row.why.contains("os error 12") && row.why.contains("transparent: "));
    }

    #[test]
    fn the_obstacle_is_the_one_that_is_there() {
        assert!(
            obstacle(true, "[always] madvise never")
                .0
                .contains("PR_SET_THP_DISABLE")
        );
        assert!(
            obstacle(false, "always madvise [never]")
                .0
                .contains("never")
        );
        assert!(
            obstacle(false, "always [madvise] never")
                .0
                .contains("too little memory")
        );
        assert!(obstacle(false, "").0.contains("none"));
    }
}
