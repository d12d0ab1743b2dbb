//! Open a file of any size, read parts of it in place, and see what the machine granted and what happened.
//!
//! `cargo run --release --example quickstart -- [FILE]`

use ringfield::Engine;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    // Keeps the file, where none was named, until the end of main.
    let sample;
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => {
            sample = sample_file(64 << 20)?;
            sample.path().to_path_buf()
        }
    };

    // Takes all of its memory now, and never more.
    let engine = Engine::builder()
        .dram_budget(16 << 20)
        .page_size(64 << 10)
        .build()?;
    let field = engine.open(&path)?;
    println!("{}: {} bytes", path.display(), field.len());

    // A view pins the pages it lies in; the bytes stay where they are until it is dropped.
    let start = field.len() / 2;
    let view = field.read(start..field.len().min(start + 16))?;
    println!("16 bytes from the middle: {:02x?}", view.to_vec());
    drop(view);

    // A range of several pages is several slices. This goes through the whole file, in a pool that holds a part of it.
    let mut sum = 0u64;
    let mut at = 0;
    while at < field.len() {
        let end = field.len().min(at + (1 << 20));
        let view = field.read(at..end)?;
        for chunk in view.chunks() {
            sum = chunk.iter().fold(sum, |sum, &byte| sum + u64::from(byte));
        }
        at = end;
    }
    println!("sum of all bytes: {sum}\n");

    println!("{}", engine.report());
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
