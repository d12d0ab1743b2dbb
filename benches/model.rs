//! Tokens a second, in exact arithmetic, with half of a model in memory, beside what arithmetic and device allow: the model all in memory, and
//! fio's throughput over the bytes that are streamed.
//!
//! `cargo bench --bench model`, with the models of `scripts/get-models.sh`. fio reads the model's file at random places, 256
//! KiB at depth 24 and 1 MiB at depth 8, each with its own buffers and, where huge pages are reserved, with those; the
//! fastest counts. All of them run in every round, and a share is that of its round. The depth is `ringfield run`'s.

#![allow(clippy::expect_used)]

mod support;

use ringfield::{Arithmetic, Engine, Model, ModelOptions, Sampling, Session, SessionOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{fio, median, rounds, seconds, spread};

const MODELS: [&str; 2] = [
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma-3-270m-q4_k_m.gguf",
];
const PROMPT: [u32; 4] = [2, 504, 2178, 282];
const FIO: [(u64, u32); 2] = [(256 << 10, 24), (1 << 20, 8)];

/// A model under a budget.
struct Running {
    session: Session,
    model: Model,
}

impl Running {
    fn open(path: &Path, budget: u64) -> Running {
        let engine = Engine::builder()
            .dram_budget(budget)
            .queue_depth(16)
            .build()
            .expect("an engine");
        let exact = ModelOptions::new().arithmetic(Arithmetic::Exact);
        let model = Model::open_with(&engine, path, exact).expect("a model");
        let session = model.session(SessionOptions::new()).expect("a session");
        Running { session, model }
    }

    /// Tokens a second of a new text.
    fn tokens_per_s(&mut self) -> f64 {
        self.session = self
            .model
            .session(SessionOptions::new())
            .expect("a session");
        self.session.feed(&PROMPT).expect("a prompt");
        let room = self.session.context() - PROMPT.len();
        let mut generation = self.session.generate(Sampling::new(), room);
        generation.next().expect("a token").expect("no error");
        let started = Instant::now();
        let mut tokens = 0;
        while started.elapsed() < Duration::from_secs_f64(seconds()) {
            match generation.next() {
                Some(token) => token.expect("no error"),
                None => break,
            };
            tokens += 1;
        }
        f64::from(tokens) / started.elapsed().as_secs_f64()
    }
}

/// fio's best, in bytes a second.
fn fio_bytes_per_s(path: &Path) -> Option<f64> {
    let huge = reserved_huge_pages() >= 16;
    let mut best: Option<f64> = None;
    for (bytes, depth) in FIO {
        for extra in [&[][..], &["--iomem=mmaphuge"]] {
            if extra.is_empty() || huge {
                let rate = fio(path, bytes, depth, extra)?.iops * bytes as f64;
                best = Some(best.map_or(rate, |best| best.max(rate)));
            }
        }
    }
    best
}

fn reserved_huge_pages() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/vm/nr_hugepages");
    text.ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

fn main() {
    for name in MODELS {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("models")
            .join(name);
        let Ok(file) = std::fs::metadata(&path) else {
            println!("SKIPPED: models/{name} is not here: scripts/get-models.sh takes it");
            continue;
        };
        let mut all = Running::open(&path, file.len() * 9 / 8 + (16 << 20));
        let mut half = Running::open(&path, file.len() / 2 + (16 << 20));
        let plan = *half.model.plan();
        println!(
            "# {name}: {} threads, {}; half: {:.0} % in memory, {} bytes a token",
            plan.threads,
            half.model.kernels().isa(),
            100.0 * plan.resident_bytes as f64 / (plan.resident_bytes + plan.streamed_bytes) as f64,
            plan.streamed_bytes,
        );
        support::print_report(half.model.engine());
        let mut rows: Vec<[f64; 5]> = Vec::new();
        for _ in 0..rounds() {
            let compute = all.tokens_per_s();
            let before = half.model.engine().stats().read_bytes;
            let got = half.tokens_per_s();
            let read = half.model.engine().stats().read_bytes - before;
            // The prompt is one pass.
            let passes = half.session.tokens().len() - PROMPT.len() + 1;
            let Some(fio) = fio_bytes_per_s(&path) else {
                println!("SKIPPED: fio is not installed");
                return;
            };
            let device = fio / plan.streamed_bytes as f64;
            rows.push([
                got,
                compute,
                device,
                got / compute.min(device),
                read as f64 / passes as f64,
            ]);
        }
        let column = |index: usize| rows.iter().map(move |row| row[index]);
        println!(
            "{name}: {} tokens/s; all in memory {}; fio {} GB/s, {} tokens/s of it",
            spread(column(0).collect::<Vec<_>>()),
            spread(column(1).collect::<Vec<_>>()),
            spread(
                column(2)
                    .map(|t| t * plan.streamed_bytes as f64 / 1e9)
                    .collect::<Vec<_>>()
            ),
            spread(column(2).collect::<Vec<_>>()),
        );
        println!(
            "{name}: share of the lesser {}; read {:.2} times what is streamed",
            spread(column(3).collect::<Vec<_>>()),
            median(column(4)) / plan.streamed_bytes as f64,
        );
    }
}
