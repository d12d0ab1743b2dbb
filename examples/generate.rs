//! Goes on with a text, with a model that may be bigger than its budget.
//!
//! `cargo run --release --example generate -- MODEL.gguf "The capital of France is" [MiB of memory]`

use ringfield::{EncodeOptions, Engine, Model, Sampling, SessionOptions, Tokenizer};
use std::error::Error;
use std::io::Write;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompt, budget @ ..] = &arguments[..] else {
        return Err("usage: generate MODEL.gguf PROMPT [MiB]".into());
    };
    let budget = budget.first().map_or(Ok(64), |mib| mib.parse::<u64>())?;
    // Weights are a stream: its depth is for throughput.
    let engine = Engine::builder()
        .dram_budget(budget << 20)
        .queue_depth(16)
        .build()?;
    let model = Model::open(&engine, model)?;
    let tokenizer = Tokenizer::open(model.gguf())?;

    let mut session = model.session(SessionOptions::new())?;
    session.feed(&tokenizer.encode(prompt, EncodeOptions::new().add_special(true))?)?;
    let mut decoder = tokenizer.decoder();
    for token in session.generate(Sampling::new().temperature(0.7).top_p(0.95), 64) {
        let token = token?;
        if tokenizer.is_end_of_generation(token) {
            break;
        }
        print!("{}", decoder.push(token)?);
        std::io::stdout().flush()?;
    }
    println!("{}", decoder.finish());
    let stats = model.stats();
    println!(
        "{:.0} % of the weights were in memory when they were needed",
        100.0 * stats.hit_share()
    );
    Ok(())
}
