//! Writes the logits after every token of a text: for judging the arithmetic, or for scoring texts.
//!
//! `cargo run --release --example logits -- MODEL.gguf TEXT.txt LOGITS.npy IDS.txt [MiB of memory] [eight-bit]`
//!
//! LOGITS.npy has a row of 32-bit floats for each token of the vocabulary's size, IDS.txt the tokens. Keys and values are
//! kept in single precision. `scripts/reference.py compare` compares two such files.

use ringfield::{
    Arithmetic, EncodeOptions, Engine, KvFormat, Model, ModelOptions, SessionOptions, Tokenizer,
};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, logits, ids, rest @ ..] = &arguments[..] else {
        return Err(
            "usage: logits MODEL.gguf TEXT.txt LOGITS.npy IDS.txt [MiB] [eight-bit]".into(),
        );
    };
    let budget = rest.first().map_or(Ok(64), |mib| mib.parse::<u64>())?;
    let arithmetic = match rest.get(1).map(String::as_str) {
        None => Arithmetic::Exact,
        Some("eight-bit") => Arithmetic::EightBit,
        Some(other) => return Err(format!("no such arithmetic: {other}").into()),
    };
    let engine = Engine::builder().dram_budget(budget << 20).build()?;
    let options = ModelOptions::new().arithmetic(arithmetic);
    let model = Model::open_with(&engine, model, options)?;
    let tokenizer = Tokenizer::open(model.gguf())?;
    let options = EncodeOptions::new().add_special(true);
    let tokens = tokenizer.encode(&fs::read_to_string(text)?, options)?;
    let listed: Vec<String> = tokens.iter().map(u32::to_string).collect();
    fs::write(ids, listed.join(","))?;

    let mut out = BufWriter::new(File::create(logits)?);
    out.write_all(&npy_header(tokens.len(), model.vocabulary()))?;
    let options = SessionOptions::new()
        .kv_format(KvFormat::F32)
        .kv_budget(1 << 30)
        .context(tokens.len());
    let mut session = model.session(options)?;
    let mut written = Ok(());
    session.feed_with(&tokens, |row| {
        for logit in row {
            if written.is_ok() {
                written = out.write_all(&logit.to_le_bytes());
            }
        }
    })?;
    written?;
    out.flush()?;
    println!("{} tokens; {}", tokens.len(), model.kernels().isa());
    Ok(())
}

/// The header of an array of 32-bit floats (NEP 1, version 1.0).
fn npy_header(rows: usize, columns: usize) -> Vec<u8> {
    let mut text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic, version, length and text together are a multiple of 64, and end with a newline.
    let padded = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.push_str(&" ".repeat(padded - text.len() - 1));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend_from_slice(&(padded as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header
}
