//! Huge pages for fio's buffers, reserved for the time of one run and given back.

use std::fs;

/// Where the kernel's pool of explicit huge pages is configured (needs root).
const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// Pages added to the pool; taken away again when dropped.
pub(crate) struct Reservation {
    added: u64,
}

impl Reservation {
    /// Makes sure that `bytes` of huge pages are free.
    ///
    /// # Errors
    /// Why that cannot be, in words for the user.
    pub(crate) fn new(bytes: u64) -> Result<Reservation, String> {
        let page_bytes = meminfo("Hugepagesize:").ok_or("this kernel has no huge pages")? << 10;
        let need = bytes.div_ceil(page_bytes);
        let reserved = meminfo("HugePages_Rsvd:").unwrap_or(0);
        let free = meminfo("HugePages_Free:")
            .unwrap_or(0)
            .saturating_sub(reserved);
        if free >= need {
            return Ok(Reservation { added: 0 });
        }
        let before = read_pool().ok_or_else(|| format!("{POOL} cannot be read"))?;
        let wanted = before + (need - free);
        fs::write(POOL, wanted.to_string()).map_err(|e| {
            format!("needs {need} huge pages, {free} are free, and {POOL} cannot be raised: {e}")
        })?;
        // From here on dropping gives back what was got, also when it was not enough.
        let got = read_pool().unwrap_or(before);
        let reservation = Reservation {
            added: got.saturating_sub(before),
        };
        if got < wanted {
            return Err(format!(
                "memory is too fragmented: {got} of {wanted} huge pages"
            ));
        }
        Ok(reservation)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.added > 0
            && let Some(now) = read_pool()
        {
            let _ = fs::write(POOL, now.saturating_sub(self.added).to_string());
        }
    }
}

fn read_pool() -> Option<u64> {
    fs::read_to_string(POOL).ok()?.trim().parse().ok()
}

fn meminfo(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(key))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_given_back() {
        match Reservation::new(2 << 20) {
            Ok(reservation) => {
                let (added, during) = (reservation.added, read_pool());
                drop(reservation);
                assert_eq!(read_pool().map(|pages| pages + added), during);
            }
            Err(why) => println!("SKIPPED: {why}"),
        }
    }
}
