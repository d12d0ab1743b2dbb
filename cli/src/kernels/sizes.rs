//! How large the matrices are.

use super::caches::Caches;
use crate::error::{Error, Result};
use crate::os;
use crate::size::Size;

/// Where nobody says how large the caches are.
const L2_BYTES: usize = 1 << 20;
const LAST_CACHE_BYTES: usize = 32 << 20;
/// Bounds of a matrix that no cache holds; never less than twice the last cache.
const DRAM_BYTES: std::ops::RangeInclusive<usize> = 128 << 20..=1 << 30;

/// The sizes of each thread's matrices, in whole pages of 4 KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) l2_bytes: usize,
    pub(super) dram_bytes: usize,
}

impl Sizes {
    /// Half of the second-level cache, so that a column has room beside it; four times the last one, shared by the
    /// threads.
    pub(super) fn beside(caches: Caches, threads: usize) -> Sizes {
        let l2_bytes = caches.l2_bytes.unwrap_or(L2_BYTES) / 2;
        let last = caches.last_bytes.unwrap_or(LAST_CACHE_BYTES);
        let most = last.saturating_mul(2).max(*DRAM_BYTES.end());
        let dram_bytes = last.saturating_mul(4).clamp(*DRAM_BYTES.start(), most) / threads.max(1);
        let l2_bytes = (l2_bytes & !4095).max(64 << 10);
        Sizes {
            l2_bytes,
            dram_bytes: (dram_bytes & !4095).max(l2_bytes),
        }
    }

    /// # Errors
    /// Too little free memory for two large matrices: one for each kind of pages.
    pub(super) fn check(self, threads: usize) -> Result<()> {
        let need = self.dram_bytes.saturating_mul(threads * 2) as u64;
        let free = os::free_memory_bytes();
        if need <= free {
            return Ok(());
        }
        Err(Error::message(format!(
            "two matrices that no cache holds have {}, and {} of memory are free: end other programs, or raise the \
             memory limit",
            Size(need),
            Size(free)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_matrix_fits_no_cache_and_the_small_one_the_second() {
        for (l2, last, threads) in [
            (1 << 20, 32 << 20, 1),
            (256 << 10, 260 << 20, 3),
            (2 << 20, 3 << 30, 1),
            (1, 1, 1000),
        ] {
            let caches = Caches {
                l2_bytes: Some(l2),
                last_bytes: Some(last),
            };
            let sizes = Sizes::beside(caches, threads);
            assert!(sizes.l2_bytes <= (l2 / 2).max(64 << 10), "{sizes:?}");
            let all = (sizes.dram_bytes + 4096) * threads;
            assert!(all >= 2 * last && all >= 64 << 20, "{sizes:?}");
            assert_eq!((sizes.l2_bytes | sizes.dram_bytes) % 4096, 0);
        }
        assert!(Sizes::beside(Caches::default(), 1).check(1 << 30).is_err());
    }
}
