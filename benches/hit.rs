//! What a hit costs: look up, pin, read 8 bytes, unpin; random pages of 4 KiB.
//!
//! `cargo bench --bench hit`. Beside it the same eight bytes from the same places of plain memory: in a loop whose loads
//! overlap, and in one where each waits for the one before, which is the memory's latency. A hit that touches memory in
//! no cache cannot be much faster than that: its loads overlap with those of one or two others.

#![allow(clippy::expect_used)]

mod support;

use ringfield::Engine;
use std::hint::black_box;
use std::time::Instant;
use support::{Random, TestFile, median, rounds, spread};

const OPERATIONS: u64 = 2_000_000;
const PAGE: u64 = 4096;

fn main() {
    let pages = 16_384u64;
    let file = TestFile::new(pages * PAGE);
    let engine = Engine::builder()
        .dram_budget(96 << 20)
        .page_size(PAGE)
        .build()
        .expect("an engine");
    let field = engine.open(&file.path).expect("the test file");
    support::print_report(&engine);
    for page in 0..pages {
        field.read(page * PAGE..page * PAGE + 1).expect("a page");
    }
    let mut plain = vec![0u64; (pages * PAGE / 8) as usize];
    for (index, word) in plain.iter_mut().enumerate() {
        *word = index as u64;
    }

    // (name, pages, bytes of each page that are read: how much memory the reads themselves touch)
    for (name, pages, spread_words) in [
        ("64 pages, any 8 bytes", 64u64, 512u64),
        ("1 024 pages, any 8 bytes", 1024, 512),
        ("16 384 pages, first 8 bytes", pages, 1),
        ("16 384 pages, any 8 bytes", pages, 512),
    ] {
        let hit = |threads: u64| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let field = &field;
                    scope.spawn(move || {
                        let mut random = Random(0x2545_f491_4f6c_dd1d + thread * 7919);
                        let mut sum = 0u64;
                        for _ in 0..OPERATIONS {
                            let r = random.next();
                            let at = r % pages * PAGE + (r >> 40) % spread_words * 8;
                            let view = field.read(at..at + 8).expect("a hit");
                            let word = view.as_slice().expect("inside a page");
                            sum = sum.wrapping_add(u64::from_le_bytes(
                                word.try_into().expect("8 bytes"),
                            ));
                        }
                        black_box(sum);
                    });
                }
            });
            start.elapsed().as_nanos() as f64 / OPERATIONS as f64
        };
        let floor = |chained: bool| {
            let mut random = Random(0x2545_f491_4f6c_dd1d);
            let mut sum = 0u64;
            let start = Instant::now();
            for _ in 0..OPERATIONS {
                // The words are small, so that nothing is added; but the processor has to have them.
                let r = random.next() + if chained { sum >> 63 } else { 0 };
                sum =
                    sum.wrapping_add(plain[(r % pages * 512 + (r >> 40) % spread_words) as usize]);
            }
            black_box(sum);
            start.elapsed().as_nanos() as f64 / OPERATIONS as f64
        };
        let mut results: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds() {
            results[0].push(floor(false));
            results[1].push(floor(true));
            results[2].push(hit(1));
            results[3].push(hit(2));
        }
        let scaling = results[2]
            .iter()
            .zip(&results[3])
            .map(|(one, two)| 2.0 * one / two);
        println!(
            "{name:<28}  plain loop {} ns   latency {} ns   hit {} ns   two threads {} ns each = {:.2}x one",
            spread(results[0].iter().copied()),
            spread(results[1].iter().copied()),
            spread(results[2].iter().copied()),
            spread(results[3].iter().copied()),
            median(scaling),
        );
    }
}
