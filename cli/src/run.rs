//! `ringfield run` and `ringfield plan`: text from a model bigger than its memory budget.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::args::{PlanArgs, RunArgs};
use crate::console;
use crate::engine_run;
use crate::error::{Context, Error, Result};
use crate::os;
use crate::size::Size;

/// Largest prompt, in bytes.
const PROMPT_BYTES_MAX: u64 = 64 << 20;

/// The last line of `run --json`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Generated {
    /// Ids of the generated tokens.
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: String,
    /// `count`, `end`, `context` or `interrupted`.
    pub(crate) finish: &'static str,
    pub(crate) tok_per_s: f64,
    pub(crate) prompt_tokens: usize,
    pub(crate) prompt_tok_per_s: f64,
    pub(crate) token_p50_ms: f64,
    pub(crate) token_p99_ms: f64,
    /// What the devices delivered.
    pub(crate) bytes_read: u64,
    /// The share of the weights that were in memory when they were needed.
    pub(crate) hit_share: f64,
    /// Shares of the threads' time while tokens were generated.
    pub(crate) io_wait_share: f64,
    pub(crate) compute_share: f64,
    pub(crate) dram_bytes: u64,
    pub(crate) kv_bytes: u64,
    /// The most memory that the process had, explicit huge pages included.
    pub(crate) peak_bytes: u64,
    pub(crate) backend: String,
    pub(crate) isa: &'static str,
    pub(crate) threads: usize,
}

/// A line of `run --json` for each token.
#[derive(Debug, Serialize)]
struct TokenLine<'t> {
    token: u32,
    text: &'t str,
}

/// What `plan` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) dram_bytes: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) streamed_bytes: u64,
    /// Small tensors and the tokenizer, beside --dram.
    pub(crate) beside_bytes: u64,
    pub(crate) kv_bytes_per_token: u64,
    pub(crate) predicted_tok_per_s: f64,
    pub(crate) threads: usize,
    pub(crate) backend: String,
    pub(crate) isa: &'static str,
}

/// Runs `ringfield run`.
///
/// # Errors
/// A prompt or a model that cannot be read, or a budget that is too small.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let prompt = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => read_prompt(path)?,
        (None, None) => String::new(),
    };
    let json = args.model.json;
    let mut out = io::stdout().lock();
    let mut each = |token: u32, text: &str| -> io::Result<()> {
        if json {
            let line = serde_json::to_string(&TokenLine { token, text });
            writeln!(out, "{}", line.unwrap_or_default())?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        out.flush()
    };
    let mut done = engine_run::generate(args, &prompt, &mut each)?;
    drop(out);
    done.peak_bytes = os::peak_memory_bytes();
    if json {
        console::print(serde_json::to_string(&done).map_err(Error::message)?)?;
    } else {
        console::print("")?;
        eprintln!("{}", summary(&done));
    }
    match done.finish {
        "interrupted" => Err(Error::Interrupted),
        _ => Ok(()),
    }
}

/// The one line below a text.
fn summary(done: &Generated) -> String {
    let ended = match done.finish {
        "context" => "; the context is full: raise --ctx or --kv",
        _ => "",
    };
    format!(
        "{} tokens at {:.1} a second (p99 {:.0} ms), prompt of {} at {:.1} a second; read {} (hits {:.0} %); \
         waiting for reads {:.0} %, computing {:.0} %; peak memory {}{ended}",
        done.tokens.len(),
        done.tok_per_s,
        done.token_p99_ms,
        done.prompt_tokens,
        done.prompt_tok_per_s,
        Size(done.bytes_read),
        done.hit_share * 100.0,
        done.io_wait_share * 100.0,
        done.compute_share * 100.0,
        Size(done.peak_bytes),
    )
}

/// Reads a text; `-` is standard input.
///
/// # Errors
/// A file that cannot be read, or is no UTF-8.
pub(crate) fn read_prompt(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(PROMPT_BYTES_MAX).read_to_string(&mut text)
    } else {
        let file = fs::File::open(path).at("cannot open", path)?;
        file.take(PROMPT_BYTES_MAX).read_to_string(&mut text)
    };
    read.at("cannot read the prompt", path)?;
    Ok(text)
}

/// Runs `ringfield plan`.
///
/// # Errors
/// A model that cannot be read, or a budget that is too small.
pub(crate) fn plan(args: &PlanArgs) -> Result<()> {
    let plan = engine_run::plan(&args.model, args.time)?;
    if args.model.json {
        return console::print_json(&plan);
    }
    let total = plan.resident_bytes + plan.streamed_bytes;
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let rows = vec![
        row("memory of the engine", Size(plan.dram_bytes).to_string()),
        row("stays in memory", share(plan.resident_bytes, total)),
        row("read for every token", share(plan.streamed_bytes, total)),
        row(
            "beside it: small tensors, tokenizer",
            Size(plan.beside_bytes).to_string(),
        ),
        row(
            "keys and values of a token",
            Size(plan.kv_bytes_per_token).to_string(),
        ),
        row(
            "tokens a second",
            format!(
                "{:.1}, by {} with {} threads ({})",
                plan.predicted_tok_per_s, plan.backend, plan.threads, plan.isa
            ),
        ),
    ];
    console::print(console::table(&["", ""], &[0, 1], rows))
}

fn share(bytes: u64, total: u64) -> String {
    let percent = 100.0 * bytes as f64 / total.max(1) as f64;
    format!("{} ({percent:.0} %)", Size(bytes))
}

/// A percentile of `times`, which ascend.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent).div_ceil(100).max(1) - 1;
    times.get(at).copied().unwrap_or_default()
}
