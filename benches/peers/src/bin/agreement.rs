//! Logits beside llama.cpp's, with llama.cpp's own spread between its settings.
//!
//! Needs cmake and libclang; from `benches/peers`, whose configuration counts:
//! `CMAKE_BUILD_PARALLEL_LEVEL=2 cargo run --release --bin agreement MODEL.gguf TEXT [CHUNKS]`.
//!
//! The reference is llama.cpp with `-fa off -ctk f32 -ctv f32`. Two kinds of texts, both given token by token to all:
//! what the reference itself says after ten prompts, 48 tokens each; and CHUNKS (8) pieces of 512 tokens of TEXT, of which
//! the second half is scored, as llama-perplexity does. Keys and values are 32-bit floats where nothing else is said.

use ringfield::{
    Arithmetic, EncodeOptions, Engine, KvFormat, Model, ModelOptions, SessionOptions, Tokenizer,
};
use ringfield_peers::distance::{Distance, top};
use ringfield_peers::llama::{Llama, REFERENCE, Settings};
use std::path::Path;

const CHUNK: usize = 512;
const SAID: usize = 48;
const THREADS: usize = 2;

const PROMPTS: [&str; 10] = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "To make bread you need",
    "def fibonacci(n):\n",
    "The three laws of thermodynamics are",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: What is the largest planet of the solar system?\nA:",
    "In 1969, the first human beings",
    "The main difference between a list and a tuple is",
    "Roses are red, violets are blue,",
];

const OTHERS: [Settings; 5] = [
    Settings {
        name: "llama.cpp, again",
        ..REFERENCE
    },
    Settings {
        name: "llama.cpp, token by token",
        batch: 1,
        ..REFERENCE
    },
    Settings {
        name: "llama.cpp, not repacked",
        repacked: false,
        ..REFERENCE
    },
    Settings {
        name: "llama.cpp, f16 keys and values",
        kv_f32: false,
        ..REFERENCE
    },
    Settings {
        name: "llama.cpp, flash attention, f16",
        kv_f32: false,
        flash_attention: true,
        ..REFERENCE
    },
];

/// Somebody who runs the model.
enum Runner {
    Llama(Llama),
    Ringfield(Model),
}

impl Runner {
    fn open(path: &Path, settings: Settings) -> Runner {
        Runner::Llama(Llama::open(path, settings, CHUNK as u32, THREADS as i32))
    }

    fn ringfield(path: &Path, arithmetic: Arithmetic) -> Runner {
        let bytes = std::fs::metadata(path).expect("a model").len();
        let engine = Engine::builder()
            .dram_budget(bytes + bytes / 8 + (16 << 20))
            .build();
        let options = ModelOptions::new().arithmetic(arithmetic).threads(THREADS);
        Runner::Ringfield(
            Model::open_with(&engine.expect("an engine"), path, options).expect("a model"),
        )
    }

    /// The logits after each token of a text from number `from` on.
    fn logits(&mut self, tokens: &[u32], from: usize, mut each: impl FnMut(&[f32])) {
        match self {
            Runner::Llama(llama) => {
                llama.clear();
                llama.feed(0, tokens, from, each);
            }
            Runner::Ringfield(model) => {
                let options = SessionOptions::new()
                    .kv_format(KvFormat::F32)
                    .kv_budget(1 << 30)
                    .context(CHUNK);
                let mut session = model.session(options).expect("a session");
                session.feed(&tokens[..from]).expect("a beginning");
                session
                    .feed_with(&tokens[from..], &mut each)
                    .expect("a text");
            }
        }
    }
}

/// A text, and the number of the first token whose logits count.
struct Text {
    tokens: Vec<u32>,
    from: usize,
}

/// What the reference says after a prompt.
fn continuation(llama: &mut Llama, prompt: Vec<u32>) -> Text {
    llama.clear();
    let from = prompt.len() - 1;
    let mut tokens = prompt;
    let mut at = 0;
    for _ in 0..SAID {
        let mut next = 0;
        let new = &tokens[at..];
        llama.feed(at, new, new.len() - 1, |logits| next = top(logits).0 as u32);
        at = tokens.len();
        tokens.push(next);
    }
    Text { tokens, from }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, text, rest @ ..] = &arguments[..] else {
        eprintln!("usage: agreement MODEL.gguf TEXT [CHUNKS]");
        std::process::exit(2);
    };
    let chunks: usize = rest
        .first()
        .map_or(8, |n| n.parse().expect("a number of chunks"));
    let path = Path::new(path);

    let eight_bit = Runner::ringfield(path, Arithmetic::EightBit);
    let exact = Runner::ringfield(path, Arithmetic::Exact);
    let Runner::Ringfield(model) = &exact else {
        unreachable!("what was just made")
    };
    let tokenizer = Tokenizer::open(model.gguf()).expect("a tokenizer");
    let encode = |text: &str| {
        tokenizer
            .encode(text, EncodeOptions::new().add_special(true))
            .expect("tokens")
    };
    println!(
        "# {}: {}; llama.cpp with {THREADS} threads",
        path.display(),
        model.kernels().isa()
    );
    let bos = encode("").first().copied();

    let mut llama = Llama::open(path, REFERENCE, CHUNK as u32, THREADS as i32);
    let said: Vec<Text> = PROMPTS
        .iter()
        .map(|prompt| continuation(&mut llama, encode(prompt)))
        .collect();
    let mut reference = Runner::Llama(llama);
    let text = encode(&std::fs::read_to_string(text).expect("a text"));
    let pieces: Vec<Text> = text
        .chunks_exact(CHUNK)
        .take(chunks)
        .map(|piece| {
            let mut tokens = piece.to_vec();
            tokens[0] = bos.unwrap_or(tokens[0]);
            Text {
                tokens,
                from: CHUNK / 2,
            }
        })
        .collect();
    assert!(
        pieces.len() == chunks,
        "the text has {} chunks of {CHUNK} tokens",
        pieces.len()
    );

    let mut others = vec![
        ("ringfield, eight-bit", eight_bit),
        ("ringfield, exact", exact),
    ];
    others.extend(OTHERS.map(|settings| (settings.name, Runner::open(path, settings))));
    for (what, texts) in [
        ("its own continuations", said),
        ("pieces of a text", pieces),
    ] {
        let mut distances = vec![Distance::default(); others.len()];
        let positions: usize = texts
            .iter()
            .map(|text| text.tokens.len() - 1 - text.from)
            .sum();
        for text in &texts {
            // After the last token nothing follows.
            let tokens = &text.tokens[..text.tokens.len() - 1];
            let follows = &text.tokens[text.from + 1..];
            let mut right = Vec::new();
            reference.logits(tokens, text.from, |logits| right.extend_from_slice(logits));
            let vocabulary = right.len() / follows.len();
            for ((_, other), distance) in others.iter_mut().zip(&mut distances) {
                let mut rows = right.chunks_exact(vocabulary).zip(follows);
                other.logits(tokens, text.from, |logits| {
                    let (right, &follows) = rows.next().expect("as many positions");
                    distance.add(right, logits, Some(follows));
                });
            }
        }
        println!("\nto llama.cpp -fa off -ctk f32 -ctv f32, on {what}: {positions} positions");
        let header = Distance::HEADER.map(|name| format!("{name:>20}")).concat();
        println!("{:<34}{header}", "");
        for ((name, _), distance) in others.iter().zip(&distances) {
            let columns = distance
                .columns()
                .map(|column| format!("{column:>20}"))
                .concat();
            println!("{name:<34}{columns}");
        }
    }
}
