//! Each operation of each instruction set, against plain loops.

#![allow(clippy::unwrap_used)]

use crate::kernels::isa::{Isa, Kernels};
use crate::kernels::simd::{Algorithm, Simd};

const EDGES: [f32; 8] = [
    0.0,
    -0.0,
    1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN_POSITIVE,
    -1e-40,
];

/// Numbers that are the same in every run: a linear congruential generator (Knuth, MMIX).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Of any size, an edge among them now and then.
    fn float(&mut self) -> f32 {
        let bits = self.next();
        let x = f32::from_bits(bits);
        match bits % 4 {
            0 => EDGES[bits as usize / 4 % EDGES.len()],
            _ if x.is_nan() => -2.5,
            1 => x,
            _ => (bits as i32 >> 8) as f32 / 1e5,
        }
    }
}

pub(super) fn every_isa() -> impl Iterator<Item = Kernels> {
    Isa::ALL.into_iter().filter_map(Kernels::with)
}

struct Operations {
    floats: [[f32; 16]; 3],
    bytes: [[u8; 16]; 2],
    memory: [u8; 64],
}

impl Algorithm for Operations {
    /// The operations' names and the bits of their results.
    type Output = Vec<(&'static str, [u32; 16])>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut results = Vec::new();
        let mut note = |name, x: S::F| {
            let mut lanes = [0.0; 16];
            simd.store(x, &mut lanes);
            results.push((name, lanes.map(f32::to_bits)));
        };
        let [a, b, c] = self.floats.each_ref().map(|x| simd.load(x));
        note("add", simd.add(a, b));
        note("sub", simd.sub(a, b));
        note("mul", simd.mul(a, b));
        note("div", simd.div(a, b));
        let (yes, no) = (simd.splat(1.0), simd.splat(2.0));
        note("greater", simd.select(simd.greater(a, b), yes, no));
        note("select", simd.select(simd.greater(a, b), a, c));
        // Of two zeros it may be either: adding one makes them alike.
        note("max", simd.add(simd.max(a, b), simd.splat(0.0)));
        note(
            "sum",
            simd.splat(simd.sum(simd.load(&self.floats[2].map(|x| x % 1.0)))),
        );

        let numbers = self.floats[2].map(|x| if x.is_finite() { x.abs() } else { 0.0 });
        note("greatest", simd.splat(simd.greatest(simd.load(&numbers))));

        let one = simd.load(&self.floats[2].map(|x| x % 1.0));
        let mut eight = [one; 8];
        for (i, x) in eight.iter_mut().enumerate() {
            *x = simd.mul(one, simd.splat(1.5 + i as f32));
        }
        for (sum, x) in simd.sums(&eight).into_iter().zip(eight) {
            let one = simd.sum(x);
            assert!(sum.to_bits() == one.to_bits() || (sum.is_nan() && one.is_nan()));
        }

        let [x, y] = [simd.bits(a), simd.bits(b)];
        let mut note_int = |name, x: S::I| note(name, simd.of_bits(x));
        note_int("splat_int", simd.splat_int(-7));
        note_int("add_int", simd.add_int(x, y));
        note_int("and_int", simd.and_int(x, y));
        note_int("or_int", simd.or_int(x, y));
        note_int("shift_left_int", simd.shift_left_int::<5>(x));
        note_int("shift_right_int", simd.shift_right_int::<5>(x));

        let (halves, _) = self.memory.as_chunks::<32>();
        note("load_f32", simd.load_f32(&self.memory));
        note("load_f16", simd.load_f16(&halves[0]));
        let (bits, _) = self.memory.as_chunks::<2>();
        let bits = u16::from_le_bytes(bits[0]);
        note("splat_f16", simd.splat_f16(bits));
        note("load_bf16", simd.load_bf16(&halves[1]));

        let [x, y] = self.bytes.each_ref().map(|x| simd.load_bytes(x));
        let mut note_bytes = |name, x: S::B| note(name, simd.unsigned(x));
        note_bytes("load_bytes", x);
        note_bytes("splat_byte", simd.splat_byte(200));
        note_bytes("and_bytes", simd.and_bytes(x, y));
        note_bytes("or_bytes", simd.or_bytes(x, y));
        note_bytes("sub_bytes", simd.sub_bytes(x, y));
        note_bytes("equal_bytes", simd.equal_bytes(x, y));
        note_bytes("shift_right_bytes", simd.shift_right_bytes::<3>(x));
        note_bytes("shift_left_bytes", simd.shift_left_bytes::<3>(x));
        let index = simd.and_bytes(y, simd.splat_byte(15));
        note_bytes("look_up", simd.look_up(x, index));
        note_bytes("bytes_of_bits", simd.bytes_of_bits(bits));
        note("signed", simd.signed(x));
        results
    }
}

#[test]
fn every_operation_is_that_of_plain_loops() {
    let mut random = Random(1);
    for _ in 0..500 {
        let floats = [(); 3].map(|()| [(); 16].map(|()| random.float()));
        let mut bytes = [(); 2].map(|()| [(); 16].map(|()| random.next() as u8));
        bytes[1][7] = bytes[0][7];
        // No half is infinite or NaN, which have tests of their own.
        let memory = [(); 64].map(|()| random.next() as u8 & 0xbb);
        let operations = || Operations {
            floats,
            bytes,
            memory,
        };
        let expected = Kernels::with(Isa::Scalar).unwrap().run(operations());
        for kernels in every_isa() {
            let isa = kernels.isa();
            for (got, expected) in kernels.run(operations()).iter().zip(&expected) {
                let is_nan = |bits: u32| f32::from_bits(bits).is_nan();
                let both = got.1.into_iter().zip(expected.1);
                let same = both.fold(true, |same, (a, b)| {
                    same && (a == b || is_nan(a) && is_nan(b))
                });
                assert!(same, "{isa}: {got:x?} is not {expected:x?}, {floats:?}");
            }
        }
    }
}

/// Lanes of 1 where `a > b`, else of 2; and `a * b + c`.
struct GreaterAndMulAdd([[f32; 16]; 3]);

impl Algorithm for GreaterAndMulAdd {
    type Output = [[f32; 16]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let [a, b, c] = &self.0;
        let [a, b, c] = [simd.load(a), simd.load(b), simd.load(c)];
        let greater = simd.select(simd.greater(a, b), simd.splat(1.0), simd.splat(2.0));
        let mut lanes = [[0.0; 16]; 2];
        simd.store(greater, &mut lanes[0]);
        simd.store(simd.mul_add(a, b, c), &mut lanes[1]);
        lanes
    }
}

#[test]
fn nothing_is_greater_than_what_is_no_number_nor_the_other_way() {
    for kernels in every_isa() {
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
            for x in EDGES.into_iter().chain(EDGES.map(|x| -x)).chain([nan]) {
                for lane in 0..16 {
                    // In other lanes 3 > 2, so that what one of them says is not taken for another's.
                    let (mut a, mut b) = ([3.0; 16], [2.0; 16]);
                    (a[lane], b[lane]) = (nan, x);
                    let mut expected = [1.0; 16];
                    expected[lane] = 2.0;
                    let isa = kernels.isa();
                    let [greater, _] = kernels.run(GreaterAndMulAdd([a, b, [0.0; 16]]));
                    assert_eq!(greater, expected, "{isa}: NaN > {x}");
                    (a[lane], b[lane]) = (x, nan);
                    let [greater, _] = kernels.run(GreaterAndMulAdd([a, b, [0.0; 16]]));
                    assert_eq!(greater, expected, "{isa}: {x} > NaN");
                }
            }
        }
    }
}

#[test]
fn a_product_and_a_sum_are_rounded_as_the_instruction_set_says() {
    let mut random = Random(2);
    let mut differ = 0;
    for round in 0..500 {
        let mut floats = [(); 3].map(|()| [(); 16].map(|()| random.float()));
        if round % 2 == 0 {
            // The sum is what the product's rounding leaves.
            let [a, b, c] = &mut floats;
            for ((a, b), c) in a.iter().zip(b).zip(c) {
                *c = -(*a * *b);
            }
        }
        let [a, b, c] = floats;
        for kernels in every_isa() {
            let [_, got] = kernels.run(GreaterAndMulAdd(floats));
            for l in 0..16 {
                let (once, twice) = (a[l].mul_add(b[l], c[l]), a[l] * b[l] + c[l]);
                let fuses = kernels.isa().fuses();
                let expected = if fuses { once } else { twice };
                let same =
                    got[l].to_bits() == expected.to_bits() || got[l].is_nan() && expected.is_nan();
                let isa = kernels.isa();
                assert!(same, "{isa}: {} * {} + {} = {}", a[l], b[l], c[l], got[l]);
                differ += usize::from(once != twice && !once.is_nan());
            }
        }
    }
    assert!(
        differ > 1000,
        "only {differ} sums tell one rounding from two"
    );
}
