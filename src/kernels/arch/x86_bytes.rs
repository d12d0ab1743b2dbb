//! The operations on bytes, which all x86 files have alike: sixteen bytes are one SSE register everywhere.

/// Asks for the cache line of byte `at`; for none where there are not so many.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    if let Some(byte) = bytes.get(at) {
        // SAFETY: SSE is part of x86-64; it reads nothing, and the byte is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) }
    }
}

/// The methods of `Simd` on `B = __m128i`. The processor has SSSE3.
macro_rules! x86_bytes {
    () => {
        #[inline(always)]
        fn load_bytes(self, from: &[u8; 16]) -> __m128i {
            arrays!(_mm_loadu_si128(from.as_ptr().cast()))
        }

        #[inline(always)]
        fn splat_byte(self, x: u8) -> __m128i {
            registers!(_mm_set1_epi8(x as i8))
        }

        #[inline(always)]
        fn and_bytes(self, a: __m128i, b: __m128i) -> __m128i {
            registers!(_mm_and_si128(a, b))
        }

        #[inline(always)]
        fn or_bytes(self, a: __m128i, b: __m128i) -> __m128i {
            registers!(_mm_or_si128(a, b))
        }

        #[inline(always)]
        fn sub_bytes(self, a: __m128i, b: __m128i) -> __m128i {
            registers!(_mm_sub_epi8(a, b))
        }

        #[inline(always)]
        fn equal_bytes(self, a: __m128i, b: __m128i) -> __m128i {
            registers!(_mm_cmpeq_epi8(a, b))
        }

        #[inline(always)]
        fn shift_right_bytes<const N: u32>(self, x: __m128i) -> __m128i {
            // There is no shift of bytes: what comes over from the neighbour is masked away.
            registers!(_mm_and_si128(
                _mm_srl_epi16(x, _mm_cvtsi32_si128(N as i32)),
                _mm_set1_epi8((0xff_u8 >> N) as i8)
            ))
        }

        #[inline(always)]
        fn shift_left_bytes<const N: u32>(self, x: __m128i) -> __m128i {
            registers!(_mm_and_si128(
                _mm_sll_epi16(x, _mm_cvtsi32_si128(N as i32)),
                _mm_set1_epi8((0xff_u8 << N) as i8)
            ))
        }

        #[inline(always)]
        fn look_up(self, table: __m128i, index: __m128i) -> __m128i {
            registers!(_mm_shuffle_epi8(table, index))
        }
    };
}
pub(super) use x86_bytes;
