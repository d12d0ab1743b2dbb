//! Each operation on integers of all that this processor has for them, against plain loops.

use super::proof::IntegerProof;
use super::tests::{Random, every_isa};
use crate::kernels::eight_bit::{IntegerAlgorithm, Integers};
use crate::kernels::isa::Isa;
use crate::kernels::simd::Simd;

#[derive(Clone, Copy)]
struct Operations {
    memory: [[u8; 64]; 2],
    /// 0 to 127.
    positive: [u8; 64],
    /// -128 to 127.
    signed: [i8; 64],
    /// -127 to 127.
    balanced: [[i8; 64]; 2],
    integers: [[i32; 16]; 4],
    bytes: [u8; 16],
    words: [i16; 16],
}

impl Operations {
    fn random(random: &mut Random) -> Operations {
        let mut byte = |most: i32| (random.next() as i32 % (most + 1)) as i8;
        Operations {
            // No half in it is infinite or NaN.
            memory: [(); 2].map(|()| [(); 64].map(|()| byte(255) as u8 & 0xbb)),
            positive: [(); 64].map(|()| byte(127).unsigned_abs()),
            signed: [(); 64].map(|()| byte(255)),
            balanced: [(); 2].map(|()| [(); 64].map(|()| byte(127))),
            integers: [(); 4].map(|()| [(); 16].map(|()| i32::from(byte(127)) << 13)),
            bytes: [(); 16].map(|()| byte(255) as u8),
            words: [(); 16].map(|()| i16::from(byte(127)) * 16),
        }
    }

    /// The largest products that there can be, so that no sum of them may be too large.
    fn extreme(sign: i8) -> Operations {
        Operations {
            memory: [[0xbb; 64]; 2],
            positive: [127; 64],
            signed: [-128; 64],
            balanced: [[-127; 64], [127 * sign; 64]],
            integers: [[0; 16]; 4],
            bytes: [0x80; 16],
            words: [2032 * i16::from(sign); 16],
        }
    }
}

/// Names of operations and lanes of their results.
struct Notes(Vec<(&'static str, [f32; 16])>);

impl Notes {
    #[inline(always)]
    fn integers<N: Integers>(&mut self, n: N, name: &'static str, x: <N::Floats as Simd>::I) {
        let mut lanes = [0.0; 16];
        n.floats().store(n.to_floats(x), &mut lanes);
        self.0.push((name, lanes));
    }

    /// Signed bytes: the first of each four, the second, and so on.
    #[inline(always)]
    fn bytes<N: Integers>(&mut self, n: N, name: &'static str, x: N::Q) {
        for at in 0..4 {
            let mut one = [0; 64];
            for fours in one.chunks_exact_mut(4) {
                fours[at] = 1;
            }
            let bias = n.load_integers(&[-N::BIAS; 16]);
            self.integers(n, name, n.dot_signed(bias, x, n.load_signed(&one)));
        }
    }
}

impl IntegerAlgorithm for Operations {
    type Output = Vec<(&'static str, [f32; 16])>;

    #[inline(always)]
    fn run<N: Integers>(self, n: N) -> Self::Output {
        let mut notes = Notes(Vec::new());
        let [a, b] = [n.load(&self.memory[0]), n.load(&self.memory[1])];
        notes.bytes(n, "load", a);
        notes.bytes(n, "load_signed", n.load_signed(&self.signed));
        let all = self.memory.as_flattened();
        let (blocks, _) = all.as_chunks::<18>();
        let (fours, _) = blocks.as_chunks::<4>();
        let [first, second, third, fourth] = &fours[0];
        let quarters = n.quarters([third, first, fourth, second], 2);
        notes.bytes(n, "quarters", quarters);
        let mut stored = [0; 64];
        n.store(quarters, &mut stored);
        notes.bytes(n, "store", n.load(&stored));
        notes.bytes(n, "fours", n.fours(i32::from_le_bytes([1, 200, 3, 128])));
        for quants in n.transpose([a, b, quarters, n.load_signed(&self.signed)]) {
            notes.bytes(n, "transpose", quants);
        }
        let (halves, _) = all.as_chunks::<32>();
        notes.bytes(n, "twice", n.twice(&halves[2]));
        notes.bytes(n, "splat", n.splat(200));
        notes.bytes(n, "and", n.and(a, b));
        notes.bytes(n, "or", n.or(a, b));
        let [low, high] = n.nibbles(a);
        notes.bytes(n, "low nibbles", low);
        notes.bytes(n, "high nibbles", high);
        notes.bytes(n, "shift_words down", n.shift_words::<3, 3>(a));
        notes.bytes(n, "shift_words up", n.shift_words::<-4, -2>(a));
        notes.bytes(n, "shift_words both ways", n.shift_words::<-1, 3>(a));
        notes.bytes(n, "shift_words by nothing", n.shift_words::<0, 5>(a));
        let mut table = [0; 16];
        table.copy_from_slice(&self.signed[..16]);
        notes.bytes(n, "look_up", n.look_up(&table, high));
        notes.bytes(n, "add_where", n.add_where::<0>(low, b, 16));
        notes.bytes(n, "add_where, further on", n.add_where::<2>(low, b, 16));

        let [to, others @ ..] = self.integers.map(|x| n.load_integers(&x));
        notes.integers(n, "load_integers", to);
        notes.integers(n, "zero", n.zero());
        let [x, weights] = self.balanced.map(|x| n.load_signed(&x));
        let positive = n.load(&self.positive);
        notes.integers(n, "dot", n.dot(to, positive, x));
        let (fours, _) = self.balanced[0].as_chunks::<4>();
        let mut bias = [0; 16];
        for (bias, x) in bias.iter_mut().zip(fours) {
            *bias = -N::BIAS * x.iter().map(|&x| i32::from(x)).sum::<i32>();
        }
        let (bias, signed) = (n.load_integers(&bias), n.load_signed(&self.signed));
        notes.integers(n, "dot_signed", n.dot_signed(bias, signed, x));

        let four_sums = |x| [x, n.zero(), n.zero(), n.zero()];
        let mut index = [0; 32];
        for (at, index) in index.iter_mut().enumerate() {
            *index = [3, 15, 0, 8][at / 8];
        }
        let scales = n.spread(n.floats().load_bytes(&self.bytes), &index);
        let scaled = n.dot_scaled(to, positive, x, scales);
        notes.integers(n, "dot_scaled", n.sum_lanes(four_sums(scaled)));
        let [weights, moved] = n.move_signs(weights, x);
        let scaled = n.dot_scaled(to, weights, moved, scales);
        notes.integers(n, "move_signs", n.sum_lanes(four_sums(scaled)));
        let words = n.dot_words(n.floats().load_bytes(&self.bytes), &self.words);
        let words = n.sum_quarters(four_sums(words));
        notes.integers(n, "dot_words", n.sum_lanes(four_sums(words)));

        let [second, third, fourth] = others;
        let small = n.load_integers(&self.words.map(i32::from));
        let product = n.multiply_add(to, small, small);
        notes.integers(n, "multiply_add", product);
        let mut bytes = [0; 16];
        n.store_bytes(n.floats().load_bytes(&self.bytes), &mut bytes);
        let bytes = n.load_integers(&bytes.map(i32::from));
        notes.integers(n, "store_bytes", bytes);
        let four = [to, second, third, fourth];
        notes.integers(n, "sum_lanes", n.sum_lanes(four));
        notes.integers(n, "sum_halves", n.sum_halves([to, second]));
        notes.integers(n, "sum_quarters", n.sum_quarters(four));

        let bytes = [self.memory; 18];
        let bytes = bytes.as_flattened().as_flattened();
        let pairs = n.pairs(&bytes.as_chunks::<34>().0.as_chunks().0[0]);
        for quants in pairs.quants {
            notes.bytes(n, "pairs", quants);
        }
        notes.bytes(n, "pairs' edges", pairs.edges);

        let mut halves = |x| {
            let mut lanes = [0.0; 16];
            n.floats().store(x, &mut lanes);
            notes.0.push(("halves", lanes));
        };
        halves(pairs.scales);
        let sixteen = &bytes.as_chunks::<24>().0.as_chunks::<16>().0[0];
        let mut heads = [n.splat(0); 4];
        for (head, [a, b, c, d]) in heads.iter_mut().zip(sixteen.as_chunks::<4>().0) {
            *head = n.quarters([a, b, c, d], 0);
        }
        for at in [0, 2, 4, 6] {
            halves(n.halves_of_heads(sixteen, at, heads));
        }
        halves(n.halves(&bytes.as_chunks::<144>().0.as_chunks().0[0], 2));
        halves(n.halves(&bytes.as_chunks::<34>().0.as_chunks().0[0], 0));
        halves(n.halves(&bytes.as_chunks::<24>().0.as_chunks().0[0], 2));
        halves(n.halves(&bytes.as_chunks::<17>().0.as_chunks().0[0], 1));
        notes.0
    }
}

/// All that this processor has for integers; a line of the output says it.
fn every_proof() -> Vec<IntegerProof> {
    let mut all: Vec<IntegerProof> = Vec::new();
    for kernels in every_isa() {
        for proof in IntegerProof::all_beside(kernels.isa()) {
            if !all.contains(&proof) {
                all.push(proof);
            }
        }
    }
    let names: Vec<String> = all.iter().map(|proof| format!("{proof:?}")).collect();
    let names: Vec<&str> = names
        .iter()
        .filter_map(|name| name.split('(').next())
        .collect();
    println!("integers: {}", names.join(" "));
    all
}

#[test]
fn every_operation_on_integers_is_that_of_plain_loops() {
    let mut random = Random(3);
    let proofs = every_proof();
    let plain = IntegerProof::beside(Isa::Scalar);
    assert!(matches!(plain, IntegerProof::Scalar(_)));
    for round in 0..500 {
        let operations = match round {
            0 => Operations::extreme(1),
            1 => Operations::extreme(-1),
            _ => Operations::random(&mut random),
        };
        let expected = plain.run(operations);
        for proof in &proofs {
            for (got, expected) in proof.run(operations).iter().zip(&expected) {
                assert_eq!(got, expected, "{proof:?}, round {round}");
            }
        }
    }
}

#[test]
fn an_instruction_set_that_fuses_has_integers_beside_it_that_do() {
    for kernels in every_isa() {
        let isa = kernels.isa();
        let best = IntegerProof::beside(isa);
        assert_eq!(
            !matches!(best, IntegerProof::Scalar(_)),
            isa.fuses(),
            "{isa}"
        );
    }
}
