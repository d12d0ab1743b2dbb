//! Model files changed at random: no panic, no endless loop, and never more memory than the header is worth.
//!
//! `RINGFIELD_MUTATIONS` says how many of each format; a failing one prints the number that makes it again.

use crate::content::Random;
use crate::metered::bytes_of;
use crate::writer::{GgufFile, TensorPart, safetensors, tensor};
use ringfield::TensorType;
use ringfield::sim::{parse_gguf, parse_safetensors};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What parsing may take at most: twice the header, of which there is no more than the file, and 1 MiB.
const SLACK_BYTES: usize = 1 << 20;

/// Files of the fuzzer's corpus.
fn committed(format: &str) -> impl Iterator<Item = Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(root.join("fuzz/corpus").join(format))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // A seed means the same mutation on every machine.
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap())
}

/// Parses a mutation of one of `corpus` for each seed.
fn mutate(corpus: &[Vec<u8>], parse: impl Fn(&[u8]) -> bool) {
    let wanted = std::env::var("RINGFIELD_MUTATIONS").ok();
    let count: u64 = wanted.and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let first = std::env::var("RINGFIELD_MUTATION").ok();
    let first: u64 = first.and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut right = 0u64;
    for seed in first..first + count {
        let bytes = mutation(corpus, seed);
        let mut accepted = false;
        let mut outcome = Ok(());
        let (_, peak) = bytes_of(|| {
            outcome = catch_unwind(AssertUnwindSafe(|| accepted = parse(&bytes)));
        });
        assert!(
            outcome.is_ok(),
            "replay with RINGFIELD_MUTATION={seed} RINGFIELD_MUTATIONS=1"
        );
        assert!(
            peak <= 2 * bytes.len() + SLACK_BYTES,
            "mutation {seed}: {peak} bytes for a file of {}",
            bytes.len()
        );
        right += u64::from(accepted);
    }
    // Neither all nothing nor all the same: the changes reach what lies deep.
    assert!(
        count < 1000 || (right > 0 && right < count),
        "{right} of {count} accepted"
    );
}

fn mutation(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    const NUMBERS: [u64; 12] = [
        0,
        1,
        7,
        255,
        65_535,
        1 << 20,
        u32::MAX as u64,
        1 << 32,
        1 << 42,
        i64::MAX as u64,
        u64::MAX - 31,
        u64::MAX,
    ];
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.next();
    let mut bytes = corpus[random.below(corpus.len() as u64) as usize].clone();
    for _ in 0..1 + random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let number = NUMBERS[random.below(NUMBERS.len() as u64) as usize].to_le_bytes();
                let width = [4, 8][random.below(2) as usize].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            4 => {
                let end = bytes.len().min(at + random.below(64) as usize);
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() as u64) as usize;
                bytes.splice(to..to, part);
            }
            5 => {
                let end = bytes.len().min(at + random.below(64) as usize);
                bytes.drain(at..end);
            }
            _ => {
                let other = &corpus[random.below(corpus.len() as u64) as usize];
                let from = random.below(other.len() as u64) as usize;
                let end = other.len().min(from + random.below(64) as usize);
                let end_here = bytes.len().min(at + (end - from));
                bytes.splice(at..end_here, other[from..end].iter().copied());
            }
        }
    }
    bytes
}

fn gguf_corpus() -> Vec<Vec<u8>> {
    let whole = GgufFile::new();
    let mut tiny = GgufFile::new();
    tiny.keys.clear();
    tiny.tensors = vec![tensor("t", &[1], TensorType::I8, 0)];
    tiny.alignment = 32;
    let mut many = GgufFile::new();
    many.tensors = (0..40)
        .map(|n| -> TensorPart { tensor(&format!("t{n}"), &[1], TensorType::I8, n * 64) })
        .collect();
    many.data = vec![0; 40 * 64];
    let mut corpus = vec![whole.bytes(), tiny.bytes(), many.bytes()];
    corpus.extend(committed("gguf"));
    corpus
}

#[test]
fn no_mutation_of_a_gguf_file_panics_or_takes_more_than_its_header_is_worth() {
    mutate(&gguf_corpus(), |bytes| parse_gguf(bytes).is_ok());
}

#[test]
fn no_mutation_of_a_safetensors_file_panics_or_takes_more_than_its_header_is_worth() {
    let record = |n: u64| {
        format!(
            r#""t{n}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{}]}}"#,
            n + 1
        )
    };
    let many: Vec<_> = (0..40).map(record).collect();
    let mut corpus = vec![
        safetensors(
            r#"{"__metadata__":{"k\n":"\u00e9"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}} "#,
            &[0; 8],
        ),
        safetensors(&format!("{{{}}}", many.join(",")), &[0; 40]),
        safetensors("{}", &[]),
    ];
    corpus.extend(committed("safetensors"));
    mutate(&corpus, |bytes| parse_safetensors(bytes).is_ok());
}

/// The shortest records there can be, in number: what is kept of them stays below twice their bytes.
#[test]
fn what_is_kept_of_a_header_is_less_than_twice_the_header() {
    let mut keys = GgufFile::new();
    keys.keys = (0..120_000u32)
        .map(|n| {
            let name = char::from_u32(0x1_0000 + n).unwrap_or('?').to_string();
            (name.into_bytes(), 0, vec![0])
        })
        .collect();
    keys.keys.dedup();
    keys.tensors.clear();
    let mut tensors = GgufFile::new();
    tensors.tensors = (0..120_000u64)
        .map(|n| tensor(&format!("{n:x}"), &[1], TensorType::I8, n * 64))
        .collect();
    tensors.data = vec![0; 120_000 * 64];
    let records: Vec<_> = (0..120_000u64)
        .map(|n| format!(r#""{n:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let safe = safetensors(&format!("{{{}}}", records.join(",")), &[]);
    for (name, bytes, header) in [
        ("keys", keys.bytes(), keys.header().len()),
        ("tensors", tensors.bytes(), tensors.header().len()),
    ] {
        let (_, peak) = bytes_of(|| {
            parse_gguf(&bytes).unwrap();
        });
        assert!(
            peak <= 2 * header + SLACK_BYTES,
            "{name}: {peak} bytes for {header}"
        );
    }
    let (_, peak) = bytes_of(|| {
        parse_safetensors(&safe).unwrap();
    });
    assert!(
        peak <= 2 * safe.len() + SLACK_BYTES,
        "{peak} bytes for {}",
        safe.len()
    );
    // A lying count takes nothing, however much data there is to be mistaken for records.
    let mut lying = GgufFile::new();
    lying.tensor_count = Some(1_000_000);
    lying.data = vec![0; 64 << 20];
    let bytes = lying.bytes();
    let (_, peak) = bytes_of(|| assert!(parse_gguf(&bytes).is_err()));
    assert!(
        peak <= 2 * lying.header().len() + SLACK_BYTES,
        "{peak} bytes"
    );
}
