//! Keep a fixed number of random reads in flight, and use each as soon as it is there: the way to a device's full speed
//! from one thread.
//!
//! `cargo run --release --example sliding_window -- [FILE]`

use ringfield::Engine;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Reads in flight.
const WINDOW: usize = 32;
/// Bytes of a row, and how many of them to read.
const ROW_BYTES: u64 = 4096;
const ROWS: u64 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let sample;
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => {
            sample = sample_file(128 << 20)?;
            sample.path().to_path_buf()
        }
    };
    let engine = Engine::builder()
        .dram_budget(16 << 20)
        .page_size(4096)
        .queue_depth(WINDOW as u32)
        .build()?;
    let field = engine.open(&path)?;
    let rows = field.len() / ROW_BYTES;
    if rows == 0 {
        return Err("the file is shorter than one row".into());
    }

    // All memory of the window is taken here; submitting and waiting allocate nothing.
    let mut batch = engine.batch(WINDOW)?;
    // Which rows to read: a sequence that jumps about (Knuth's multiplicative hash).
    let mut wanted = (0..ROWS).map(|i| i.wrapping_mul(2_654_435_761) % rows);
    let started = Instant::now();
    for row in wanted.by_ref().take(WINDOW) {
        batch.submit(&field, row * ROW_BYTES..(row + 1) * ROW_BYTES, row)?;
    }
    let mut ones = 0u64;
    // Sleeps until some results are there; 0 means that nothing is under way any more.
    while batch.wait(4) > 0 {
        loop {
            let Some(ready) = batch.next() else { break };
            let bits = ready
                .view()?
                .chunks()
                .flatten()
                .map(|byte| u64::from(byte.count_ones()))
                .sum::<u64>();
            ones += bits;
            // Its pages can be evicted again, and its place is free for the next.
            drop(ready);
            if let Some(row) = wanted.next() {
                batch.submit(&field, row * ROW_BYTES..(row + 1) * ROW_BYTES, row)?;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{ROWS} rows in {seconds:.2} s: {:.0} rows a second; {ones} bits set\n",
        ROWS as f64 / seconds
    );
    println!("{}", engine.stats());
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
