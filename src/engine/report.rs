//! What was asked of the machine, what it granted, why not more, and how to get it.

use super::core::Core;
use crate::error::Error;
use crate::ring::grant::Grant;
use crate::ring::handle::Ring;
use crate::ring::options::BackendKind;
use crate::ring::submission_loop::depth::DEPTH_AT_FIRST;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

/// One line for each ability that makes ringfield fast or safe. `Display` prints them as a table.
#[derive(Debug, Clone)]
pub struct Report {
    rows: Vec<Grant>,
}

impl Report {
    pub(crate) fn of(core: &Core) -> Report {
        let mut rows = core.build_grants.clone();
        if core.is_forked() {
            rows.push(Grant::less(
                "engine",
                "in this process",
                "in the parent",
                Error::Forked.to_string(),
                "build a new engine after fork()",
            ));
        }
        for ring in core.rings() {
            let name = &ring.device.name;
            rows.push(depth_row(core.config.queue_depth, &ring));
            for grant in &ring.grants {
                let mut grant = grant.clone();
                grant.item = format!("{name}: {}", grant.item).into();
                rows.push(grant);
            }
            if let Some(fault) = ring.shared.backend_error() {
                rows.push(Grant::less(
                    format!("{name}: submissions"),
                    "accepted",
                    "some refused",
                    fault.to_string(),
                    "see io_uring_enter(2) for this error",
                ));
            }
        }
        let fields = core.open_fields();
        let files = fields.iter().flat_map(|field| &field.members).flatten();
        for file in files.map(|member| &member.file) {
            let path = file.path.display();
            let why = file.why_buffered;
            rows.push(if core.config.backend == BackendKind::Mmap {
                if why.is_empty() {
                    Grant::full(format!("{path}: mapping"), "yes, through the page cache")
                } else {
                    Grant::less(
                        format!("{path}: mapping"),
                        "yes",
                        "no: read with preadv",
                        why,
                        "another backend: this one gains nothing here",
                    )
                }
            } else if file.direct {
                Grant::full(
                    format!("{path}: direct I/O"),
                    format!("yes, aligned to {} bytes", file.align),
                )
            } else {
                Grant::less(
                    format!("{path}: direct I/O"),
                    "yes",
                    "no: reads go through the page cache",
                    why,
                    "put the file on ext4, xfs, btrfs or a block device",
                )
            });
            if let Some(what) = file.changed() {
                rows.push(Grant::less(
                    format!("{path}: content"),
                    "as at open",
                    "changed",
                    what,
                    "open it again",
                ));
            }
        }
        for field in &fields {
            rows.extend(field.grants.iter().cloned());
        }
        Report { rows }
    }

    /// The lines.
    pub fn rows(&self) -> &[Grant] {
        &self.rows
    }

    /// Those where less was granted than asked for.
    pub fn degraded(&self) -> impl Iterator<Item = &Grant> {
        self.rows.iter().filter(|row| row.is_degraded())
    }
}

/// The depth of a ring: what the host set, or what was found.
fn depth_row(wanted: Option<u32>, ring: &Ring) -> Grant {
    let name = &ring.device.name;
    let item = format!("{name}: queue depth");
    match wanted {
        None => {
            let found = ring.shared.counters.depth_found.load(Relaxed);
            Grant::full(
                item,
                if found == 0 {
                    format!(
                        "{} until measured, at most {}",
                        DEPTH_AT_FIRST.min(ring.depth),
                        ring.depth
                    )
                } else {
                    format!("{found}, found by measuring, at most {}", ring.depth)
                },
            )
        }
        Some(wanted) if ring.depth == wanted => Grant::full(item, wanted.to_string()),
        Some(wanted) => Grant::less(
            item,
            wanted.to_string(),
            ring.depth.to_string(),
            "the block layer queues no more (nr_requests)",
            format!(
                "none needed: deeper only blocks the submitter; /sys/block/{name}/queue/nr_requests"
            ),
        ),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .rows
            .iter()
            .map(|row| row.item.chars().count())
            .max()
            .unwrap_or(0);
        for row in &self.rows {
            write!(f, "{:width$}  {}", row.item, row.granted)?;
            if row.is_degraded() {
                write!(f, " (asked for: {})", row.requested)?;
            }
            if !row.why.is_empty() {
                write!(f, "\n{:width$}    why: {}", "", row.why)?;
            }
            if !row.fix.is_empty() {
                write!(f, "\n{:width$}    fix: {}", "", row.fix)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
