//! From the whole numbers that a block stores to its elements.

use crate::kernels::simd::Simd;

/// What a whole number of a block stands for. Each operation rounds once, as PyPI `gguf` has it.
pub(super) trait Scale<S: Simd>: Copy {
    fn element(self, simd: S, level: S::F) -> S::F;
}

/// `d * level`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times<F>(pub(super) F);

/// `d * level + m`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimesPlus<F>(pub(super) F, pub(super) F);

/// `d * level - m`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimesMinus<F>(pub(super) F, pub(super) F);

impl<S: Simd> Scale<S> for Times<S::F> {
    #[inline(always)]
    fn element(self, simd: S, level: S::F) -> S::F {
        simd.mul(self.0, level)
    }
}

impl<S: Simd> Scale<S> for TimesPlus<S::F> {
    #[inline(always)]
    fn element(self, simd: S, level: S::F) -> S::F {
        simd.add(simd.mul(self.0, level), self.1)
    }
}

impl<S: Simd> Scale<S> for TimesMinus<S::F> {
    #[inline(always)]
    fn element(self, simd: S, level: S::F) -> S::F {
        simd.sub(simd.mul(self.0, level), self.1)
    }
}

/// The whole number that each value of a nibble means.
#[derive(Debug)]
pub(super) struct Levels {
    bytes: [u8; 16],
    floats: [f32; 16],
    /// Each value means itself.
    plain: bool,
}

/// Each value means itself.
pub(super) const PLAIN: Levels =
    Levels::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

impl Levels {
    pub(super) const fn new(levels: [i8; 16]) -> Levels {
        let (mut bytes, mut floats, mut plain, mut at) = ([0; 16], [0.0; 16], true, 0);
        while at < 16 {
            bytes[at] = levels[at] as u8;
            floats[at] = levels[at] as f32;
            plain = plain && levels[at] as usize == at;
            at += 1;
        }
        Levels {
            bytes,
            floats,
            plain,
        }
    }
}

/// The elements of the low nibbles of sixteen bytes, and those of the high ones.
#[inline(always)]
pub(super) fn nibbles<S: Simd, L: Scale<S>>(
    simd: S,
    bytes: &[u8; 16],
    levels: &Levels,
    low: L,
    high: L,
) -> [S::F; 2] {
    let bytes = simd.load_bytes(bytes);
    let floats = simd.load(&levels.floats);
    // Sixteen elements are all that there can be: each is computed once, then chosen.
    let (all_low, all_high) = (low.element(simd, floats), high.element(simd, floats));
    if let Some(elements) = simd.look_up_nibbles(all_low, all_high, bytes) {
        return elements;
    }
    let lows = simd.and_bytes(bytes, simd.splat_byte(15));
    let highs = simd.shift_right_bytes::<4>(bytes);
    if levels.plain {
        return [
            low.element(simd, simd.unsigned(lows)),
            high.element(simd, simd.unsigned(highs)),
        ];
    }
    let table = simd.load_bytes(&levels.bytes);
    [
        low.element(simd, simd.signed(simd.look_up(table, lows))),
        high.element(simd, simd.signed(simd.look_up(table, highs))),
    ]
}

/// The lanes of a vector, so that each can be splat.
#[inline(always)]
pub(super) fn each_lane<S: Simd>(simd: S, x: S::F) -> [f32; 16] {
    let mut lanes = [0.0; 16];
    simd.store(x, &mut lanes);
    lanes
}

/// Moves the bits of each byte up by `up`, or down where that is negative. It is a constant where it is called.
#[inline(always)]
pub(super) fn move_up<S: Simd>(simd: S, x: S::B, up: i32) -> S::B {
    match up {
        -7 => simd.shift_right_bytes::<7>(x),
        -6 => simd.shift_right_bytes::<6>(x),
        -5 => simd.shift_right_bytes::<5>(x),
        -4 => simd.shift_right_bytes::<4>(x),
        -3 => simd.shift_right_bytes::<3>(x),
        -2 => simd.shift_right_bytes::<2>(x),
        -1 => simd.shift_right_bytes::<1>(x),
        0 => x,
        1 => simd.shift_left_bytes::<1>(x),
        2 => simd.shift_left_bytes::<2>(x),
        3 => simd.shift_left_bytes::<3>(x),
        4 => simd.shift_left_bytes::<4>(x),
        5 => simd.shift_left_bytes::<5>(x),
        6 => simd.shift_left_bytes::<6>(x),
        _ => simd.shift_left_bytes::<7>(x),
    }
}
