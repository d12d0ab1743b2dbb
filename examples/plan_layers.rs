//! A dense model larger than memory: its layers are read in the same order for every token, so the host says so, and each
//! layer is there when it is its turn.
//!
//! `cargo run --release --example plan_layers -- [FILE]`

use ringfield::{Engine, FieldRange};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

const LAYERS: u64 = 32;
const TOKENS: u64 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let sample;
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => {
            sample = sample_file(128 << 20)?;
            sample.path().to_path_buf()
        }
    };
    for planned in [false, true] {
        let engine = Engine::builder().dram_budget(48 << 20).build()?;
        let field = engine.open(&path)?;
        // A real host has these from the model's tensor table.
        let layer_bytes = (field.len() / LAYERS).min(8 << 20);
        let layers: Vec<_> = (0..LAYERS)
            .map(|layer| layer * layer_bytes..(layer + 1) * layer_bytes)
            .collect();
        // The next tokens, layer by layer: as much of it as fits is read ahead, the rest follows as layers are used.
        let future: Vec<FieldRange> = (0..TOKENS)
            .flat_map(|_| layers.iter().map(|layer| field.at(layer.clone())))
            .collect();
        let started = Instant::now();
        if planned {
            // Dropping the handle would leave the plan in force as well; it is there to look at it and to cancel it.
            let plan = engine.plan(&future);
            println!("with a plan: {} pages on their way at once", plan.queued());
        } else {
            println!("without a plan:");
        }
        let mut sum = 0u64;
        for _ in 0..TOKENS {
            for layer in &layers {
                let weights = field.read(layer.clone())?;
                // Stands for the arithmetic of a layer.
                for chunk in weights.chunks() {
                    sum = chunk
                        .iter()
                        .fold(sum, |sum, &w| sum.wrapping_mul(31) + u64::from(w));
                }
            }
        }
        let stats = engine.stats();
        println!(
            "  {TOKENS} tokens in {:.2} s, {:.1} % of the pages there or on their way (checksum {sum:x})",
            started.elapsed().as_secs_f64(),
            stats.hit_share() * 100.0
        );
    }
    Ok(())
}

/// A file that goes away when it is dropped.
fn sample_file(len: usize) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new_in(".")?;
    let block: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    for _ in 0..len / block.len() {
        file.write_all(&block)?;
    }
    Ok(file)
}
