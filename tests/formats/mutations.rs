//! Model files changed at random: no panic, no endless loop, and never more memory than the header is worth.

use crate::metered::bytes_of;
use crate::mutation::{SLACK_BYTES, committed, mutate};
use crate::writer::{GgufFile, TensorPart, safetensors, tensor};
use ringfield::TensorType;
use ringfield::sim::{parse_gguf, parse_safetensors};

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
