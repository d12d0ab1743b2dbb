//! Integers without vectors: any processor.

use super::scalar::Scalar;
use crate::kernels::eight_bit::Integers;
use std::array::from_fn;

type Bytes = [u8; 64];

/// The words of 64 bytes.
#[inline(always)]
fn words(x: Bytes) -> [u16; 32] {
    from_fn(|l| u16::from_le_bytes([x[2 * l], x[2 * l + 1]]))
}

#[inline(always)]
fn bytes(x: [u16; 32]) -> Bytes {
    from_fn(|l| x[l / 2].to_le_bytes()[l % 2])
}

/// Each byte times each, added up in fours.
#[inline(always)]
fn products(to: [i32; 16], weight: impl Fn(usize) -> i32, x: Bytes) -> [i32; 16] {
    from_fn(|l| {
        let product = |at: usize| weight(at) * i32::from(x[at] as i8);
        to[l] + (4 * l..4 * l + 4).map(product).sum::<i32>()
    })
}

impl Integers for Scalar {
    type Floats = Scalar;
    type Q = Bytes;

    const BIAS: i32 = 0;

    #[inline(always)]
    fn floats(self) -> Scalar {
        self
    }

    #[inline(always)]
    fn load(self, from: &Bytes) -> Bytes {
        *from
    }

    #[inline(always)]
    fn load_signed(self, from: &[i8; 64]) -> Bytes {
        from.map(|x| x as u8)
    }

    #[inline(always)]
    fn store(self, x: Bytes, to: &mut Bytes) {
        *to = x;
    }

    #[inline(always)]
    fn fours(self, bytes: i32) -> Bytes {
        from_fn(|l| bytes.to_le_bytes()[l % 4])
    }

    #[inline(always)]
    fn quarters<const B: usize>(self, blocks: [&[u8; B]; 4], at: usize) -> Bytes {
        from_fn(|l| blocks[l / 16][at + l % 16])
    }

    #[inline(always)]
    fn twice(self, from: &[u8; 32]) -> Bytes {
        from_fn(|l| from[l % 32])
    }

    #[inline(always)]
    fn splat(self, x: u8) -> Bytes {
        [x; 64]
    }

    #[inline(always)]
    fn transpose(self, x: [Bytes; 4]) -> [Bytes; 4] {
        from_fn(|j| from_fn(|l| x[l % 16 / 4][l / 16 * 16 + 4 * j + l % 4]))
    }

    #[inline(always)]
    fn and(self, a: Bytes, b: Bytes) -> Bytes {
        from_fn(|l| a[l] & b[l])
    }

    #[inline(always)]
    fn or(self, a: Bytes, b: Bytes) -> Bytes {
        from_fn(|l| a[l] | b[l])
    }

    #[inline(always)]
    fn nibbles(self, x: Bytes) -> [Bytes; 2] {
        [x.map(|x| x & 15), x.map(|x| x >> 4)]
    }

    #[inline(always)]
    fn shift_words<const A: i32, const B: i32>(self, x: Bytes) -> Bytes {
        let x = words(x);
        bytes(from_fn(|l| match if l < 16 { A } else { B } {
            down @ 0.. => x[l] >> down,
            up => x[l] << -up,
        }))
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16], index: Bytes) -> Bytes {
        index.map(|at| table[usize::from(at & 15)] as u8)
    }

    #[inline(always)]
    fn add_where<const FROM: usize>(self, x: Bytes, bits: Bytes, more: u8) -> Bytes {
        let bit = |l: usize| bits[l / 16 * 16 + FROM + l % 16 / 8] >> (l % 8) & 1;
        from_fn(|l| x[l] + bit(l) * more)
    }

    #[inline(always)]
    fn dot(self, to: [i32; 16], weights: Bytes, x: Bytes) -> [i32; 16] {
        products(to, |at| i32::from(weights[at]), x)
    }

    #[inline(always)]
    fn dot_signed(self, to: [i32; 16], weights: Bytes, x: Bytes) -> [i32; 16] {
        products(to, |at| i32::from(weights[at] as i8), x)
    }

    #[inline(always)]
    fn dot_scaled(self, to: [i32; 16], weights: Bytes, x: Bytes, scales: Bytes) -> [i32; 16] {
        let scales = words(scales);
        let weight = |at: usize| i32::from(weights[at]) * i32::from(scales[at / 2] as i16);
        products(to, weight, x)
    }

    #[inline(always)]
    fn move_signs(self, weights: Bytes, x: Bytes) -> [Bytes; 2] {
        let negative = |l: usize| (weights[l] as i8) < 0;
        [
            from_fn(|l| (weights[l] as i8).unsigned_abs()),
            from_fn(|l| {
                if negative(l) {
                    x[l].wrapping_neg()
                } else {
                    x[l]
                }
            }),
        ]
    }

    #[inline(always)]
    fn spread(self, scales: [u8; 16], index: &[u16; 32]) -> Bytes {
        bytes(index.map(|at| i16::from(scales[usize::from(at)] as i8) as u16))
    }

    #[inline(always)]
    fn dot_words(self, bytes: [u8; 16], words: &[i16; 16]) -> [i32; 16] {
        from_fn(|l| i32::from(bytes[l] as i8) * i32::from(words[l]))
    }

    #[inline(always)]
    fn sum_lanes(self, parts: [[i32; 16]; 4]) -> [i32; 16] {
        from_fn(|l| parts[l / 4][4 * (l % 4)..][..4].iter().sum())
    }

    #[inline(always)]
    fn sum_halves(self, parts: [[i32; 16]; 2]) -> [i32; 16] {
        from_fn(|l| {
            let from = l / 4 % 2 * 8 + l % 4;
            parts[l / 8][from] + parts[l / 8][from + 4]
        })
    }

    #[inline(always)]
    fn sum_quarters(self, parts: [[i32; 16]; 4]) -> [i32; 16] {
        from_fn(|l| parts[l / 4].iter().skip(l % 4).step_by(4).sum())
    }

    #[inline(always)]
    fn zero(self) -> [i32; 16] {
        [0; 16]
    }

    #[inline(always)]
    fn multiply_add(self, to: [i32; 16], a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        from_fn(|l| to[l] + a[l] * b[l])
    }

    #[inline(always)]
    fn store_bytes(self, x: [u8; 16], to: &mut [i8; 16]) {
        *to = x.map(|x| x as i8);
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; 16]) -> [i32; 16] {
        *from
    }

    #[inline(always)]
    fn to_floats(self, x: [i32; 16]) -> [f32; 16] {
        x.map(|x| x as f32)
    }
}
