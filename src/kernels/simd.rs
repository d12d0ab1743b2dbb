//! What an instruction set must be able to do, so that every algorithm is written once.
//!
//! A value of a type that implements [`Simd`] is the proof that the processor has the features: only `arch` makes one.
//! That keeps algorithms free of `unsafe`. All of it must be inlined into the function that carries the
//! `target_feature` attribute, so each method and each algorithm is `#[inline(always)]`. A closure cannot be: operations
//! in one may stay calls, and exp once took fifty times as long for it.

/// An instruction set, as vectors of sixteen lanes: one register, or several that are used together.
///
/// Sixteen everywhere, so that the order of a sum is one order (see the module documentation of `kernels`).
pub(crate) trait Simd: Copy {
    /// Sixteen 32-bit floats.
    type F: Copy;
    /// Sixteen 32-bit integers.
    type I: Copy;
    /// Sixteen bytes.
    type B: Copy;
    /// Sixteen truths.
    type M: Copy;

    /// How many vectors of floats the registers hold.
    const VECTORS: usize;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, from: &[f32; 16]) -> Self::F;
    fn store(self, x: Self::F, to: &mut [f32; 16]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`: rounded once where the instruction set fuses, else twice.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The greater. Where one is not a number, or both are zeros, either of the two.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The sum of the lanes: lane `l` and lane `l + 8`, then `l + 4`, `l + 2`, `l + 1`.
    fn sum(self, x: Self::F) -> f32;
    /// The same of each vector.
    #[inline(always)]
    fn sums(self, x: &[Self::F; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum = self.sum(x);
        }
        sums
    }

    /// The greatest lane of numbers that are not negative.
    #[inline(always)]
    fn greatest(self, x: Self::F) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(x, &mut lanes);
        let mut most = 0.0;
        for lane in lanes {
            if lane > most {
                most = lane;
            }
        }
        most
    }

    /// `a > b`; false where one is not a number.
    fn greater(self, a: Self::F, b: Self::F) -> Self::M;
    /// `yes` where `mask`, else `no`.
    fn select(self, mask: Self::M, yes: Self::F, no: Self::F) -> Self::F;

    fn splat_int(self, x: i32) -> Self::I;
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    fn and_int(self, a: Self::I, b: Self::I) -> Self::I;
    fn or_int(self, a: Self::I, b: Self::I) -> Self::I;
    fn shift_left_int<const N: u32>(self, x: Self::I) -> Self::I;
    /// Fills with the sign.
    fn shift_right_int<const N: u32>(self, x: Self::I) -> Self::I;
    fn bits(self, x: Self::F) -> Self::I;
    fn of_bits(self, x: Self::I) -> Self::F;

    /// Sixteen little-endian 32-bit floats.
    fn load_f32(self, from: &[u8; 64]) -> Self::F;
    /// Sixteen little-endian half-precision floats, denormals, infinities and NaNs included.
    fn load_f16(self, from: &[u8; 32]) -> Self::F;
    /// A half-precision float in each lane.
    fn splat_f16(self, bits: u16) -> Self::F;
    /// Sixteen little-endian bfloat16.
    fn load_bf16(self, from: &[u8; 32]) -> Self::F;

    fn load_bytes(self, from: &[u8; 16]) -> Self::B;
    fn splat_byte(self, x: u8) -> Self::B;
    fn and_bytes(self, a: Self::B, b: Self::B) -> Self::B;
    fn or_bytes(self, a: Self::B, b: Self::B) -> Self::B;
    fn sub_bytes(self, a: Self::B, b: Self::B) -> Self::B;
    /// All ones where equal, else zero.
    fn equal_bytes(self, a: Self::B, b: Self::B) -> Self::B;
    /// Fills with zeros. `N` is below 8.
    fn shift_right_bytes<const N: u32>(self, x: Self::B) -> Self::B;
    /// Fills with zeros. `N` is below 8.
    fn shift_left_bytes<const N: u32>(self, x: Self::B) -> Self::B;
    /// `table[index]` of each byte of `index`, which is below 16.
    fn look_up(self, table: Self::B, index: Self::B) -> Self::B;
    /// All ones in byte `l` where bit `l` is set, else zero.
    #[inline(always)]
    fn bytes_of_bits(self, bits: u16) -> Self::B {
        const SECOND: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
        const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        let bytes = self.load_bytes(&u128::from(bits).to_le_bytes());
        let bit = self.load_bytes(&BIT);
        let spread = self.look_up(bytes, self.load_bytes(&SECOND));
        self.equal_bytes(self.and_bytes(spread, bit), bit)
    }
    /// `low[n]` for the low nibble `n` of each byte, and `high[n]` for the high one. `None` where registers of floats
    /// are no tables.
    #[inline(always)]
    fn look_up_nibbles(self, _low: Self::F, _high: Self::F, _x: Self::B) -> Option<[Self::F; 2]> {
        None
    }
    /// Bytes 0 to 255 as floats.
    fn unsigned(self, x: Self::B) -> Self::F;
    /// Bytes -128 to 127 as floats.
    fn signed(self, x: Self::B) -> Self::F;
}

/// An algorithm that can be run on any instruction set; `arch` runs it.
pub(crate) trait Algorithm {
    type Output;

    /// Must be `#[inline(always)]`, and so must all that it calls.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
