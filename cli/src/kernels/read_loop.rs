//! Loops that only read: the bandwidth that a kernel can reach at most, here and in `benches/kernels.rs`.
//!
//! Which loop is fastest differs between processors and kinds of pages, so there are two of them, to be measured both.

/// Reads all of `bytes` with the widest loads that there are.
pub(crate) fn read<const PREFETCH: bool>(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature.
            return unsafe { x86::read_512::<PREFETCH>(bytes) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return unsafe { x86::read_256::<PREFETCH>(bytes) };
        }
    }
    let (lines, _) = bytes.as_chunks::<8>();
    lines
        .iter()
        .fold(0, |all, word| all ^ u64::from_ne_bytes(*word))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Bytes ahead: the latency of memory times what one thread reads, about.
    const AHEAD: usize = 4096;

    macro_rules! read {
        ($name:ident, $features:literal, $register:ty, $zero:expr, $load:ident, $xor:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name<const PREFETCH: bool>(bytes: &[u8]) -> u64 {
                const BLOCK: usize = 512;
                const WIDTH: usize = size_of::<$register>();
                let (blocks, _) = bytes.as_chunks::<BLOCK>();
                let mut sums = [$zero; 8];
                for block in blocks {
                    if PREFETCH {
                        for line in block.chunks_exact(64) {
                            let ahead = line.as_ptr().wrapping_add(AHEAD);
                            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                        }
                    }
                    for (at, part) in block.chunks_exact(WIDTH).enumerate() {
                        // SAFETY: `part` has as many bytes as the register; no alignment is needed.
                        let loaded = unsafe { $load(part.as_ptr().cast()) };
                        sums[at % 8] = $xor(sums[at % 8], loaded);
                    }
                }
                let all = sums.into_iter().fold($zero, |all, sum| $xor(all, sum));
                let mut words = [0u64; WIDTH / 8];
                // SAFETY: both have the same size, and any bits are numbers.
                words.copy_from_slice(&unsafe {
                    std::mem::transmute::<$register, [u64; WIDTH / 8]>(all)
                });
                words.into_iter().fold(0, |all, word| all ^ word)
            }
        };
    }
    read!(
        read_512,
        "avx512f",
        __m512i,
        _mm512_setzero_si512(),
        _mm512_loadu_si512,
        _mm512_xor_si512
    );
    read!(
        read_256,
        "avx2",
        __m256i,
        _mm256_setzero_si256(),
        _mm256_loadu_si256,
        _mm256_xor_si256
    );
}
