//! The order of reads as a pure function of their number, so that threads need no shared state.

use crate::content::splitmix64;

use super::load::Load;
use crate::job::Rw;

/// Which block the n-th read of a host thread is.
///
/// Random order is a permutation of all blocks, as fio's random map: nothing is read twice before
/// everything was read once, so no cache can hit by chance.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    blocks: u64,
    block_bytes: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Sequential,
    /// A Feistel network over the next even power of two, walked until it lands inside.
    Permuted {
        seed: u64,
        half_bits: u32,
    },
    /// With repeats (`norandommap`).
    Random {
        seed: u64,
    },
}

impl Order {
    pub(crate) fn new(load: &Load, job: u32) -> Order {
        let seed = splitmix64(load.seed ^ (u64::from(job) << 32));
        let blocks = load.blocks().max(1);
        let kind = match load.rw {
            Rw::Read => Kind::Sequential,
            Rw::RandRead if load.norandommap => Kind::Random { seed },
            Rw::RandRead => Kind::Permuted {
                seed,
                half_bits: half_bits(blocks),
            },
        };
        Order {
            blocks,
            block_bytes: load.block_bytes,
            kind,
        }
    }

    /// The order of the first job, without repeats even where the job allows them.
    pub(crate) fn each_once(load: &Load) -> Order {
        Order::new(
            &Load {
                norandommap: false,
                ..load.clone()
            },
            0,
        )
    }

    /// The offset of read number `index`; after the last block the order begins anew.
    pub(crate) fn offset(&self, index: u64) -> u64 {
        let (pass, place) = (index / self.blocks, index % self.blocks);
        let block = match self.kind {
            Kind::Sequential => place,
            Kind::Random { seed } => splitmix64(seed ^ index) % self.blocks,
            Kind::Permuted { seed, half_bits } => {
                let seed = seed.wrapping_add(pass);
                let mut block = feistel(place, seed, half_bits);
                // At most three quarters of the network lie outside: four steps on average.
                while block >= self.blocks {
                    block = feistel(block, seed, half_bits);
                }
                block
            }
        };
        block * self.block_bytes
    }
}

fn half_bits(blocks: u64) -> u32 {
    let bits = u64::BITS - (blocks - 1).leading_zeros();
    bits.div_ceil(2).max(1)
}

fn feistel(block: u64, seed: u64, half_bits: u32) -> u64 {
    let mask = (1 << half_bits) - 1;
    let (mut left, mut right) = (block >> half_bits, block & mask);
    for round in 0..4 {
        (left, right) = (
            right,
            left ^ (splitmix64(right ^ seed.rotate_left(round * 16)) & mask),
        );
    }
    left << half_bits | right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Job;
    use std::path::Path;

    fn order(text: &str, file_bytes: u64) -> Order {
        let job = Job::parse(Path::new("t.fio"), text.as_bytes()).expect("a good job");
        Order::new(&Load::new(&job, "f".into(), file_bytes).expect("fits"), 0)
    }

    #[test]
    fn a_random_pass_reads_every_block_once_and_the_next_in_another_order() {
        for blocks in [1, 2, 3, 5, 64, 1000, 4097] {
            let order = order("[j]\nrw=randread\nbs=512", blocks * 512);
            let pass = |n: u64| (n * blocks..(n + 1) * blocks).map(|i| order.offset(i));
            let mut seen: Vec<u64> = pass(0).collect();
            assert!(blocks < 64 || !seen.is_sorted());
            assert!(blocks < 64 || !pass(1).eq(seen.iter().copied()));
            seen.sort_unstable();
            assert!(
                seen.iter().copied().eq((0..blocks).map(|b| b * 512)),
                "{blocks} blocks"
            );
        }
    }

    #[test]
    fn sequential_reads_wrap_at_the_end() {
        let order = order("[j]\nbs=4k", 3 * 4096);
        let offsets: Vec<u64> = (0..4).map(|i| order.offset(i)).collect();
        assert_eq!(offsets, [0, 4096, 8192, 0]);
    }

    #[test]
    fn every_read_stays_inside_the_region() {
        let order = order("[j]\nrw=randread\nnorandommap\nbs=4k", 100 * 4096);
        assert!((0..1000).all(|i| order.offset(i) < 100 * 4096));
    }
}
