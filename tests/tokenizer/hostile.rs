//! Vocabularies that lie: typed errors that name the file and the key, never a panic.

use crate::child::Child;
use crate::vocabulary::{
    F32, I32, MERGES, Model, byte_letters, numbers, small_bytes, small_pieces,
};
use crate::writer::{ARRAY, BOOL, Dir, STRING, U32, array, engine, string};
use ringfield::{Error, Gguf, Tokenizer};
use std::path::PathBuf;

/// Fails unless opening `model` is an error that says `wanted` of `key`.
#[track_caller]
fn refused(model: &Model, key: &str, wanted: &str) {
    let e = model.open().expect_err(wanted);
    let text = e.to_string();
    let typed = matches!(e, Error::Malformed { .. } | Error::Unsupported { .. });
    assert!(typed && text.contains("made.gguf"), "{text}");
    assert!(
        text.contains(&format!("tokenizer.ggml.{key}")) && text.contains(wanted),
        "{text}"
    );
}

fn text_array(texts: &[&[u8]]) -> Vec<u8> {
    let bytes: Vec<u8> = texts.iter().flat_map(|text| string(text)).collect();
    array(STRING, texts.len() as u64, &bytes)
}

#[test]
fn kinds_of_tokenizers_that_are_not_here_are_named() {
    for kind in ["bert", "t5", "rwkv", "plamo2", "gemma4", "", "LLAMA"] {
        let model = small_bytes().string("model", kind);
        refused(&model, "model", "supported: gpt2, llama");
        let e = model.open().unwrap_err();
        assert!(matches!(e, Error::Unsupported { found, .. } if found == kind));
    }
    let long = "x".repeat(100_000);
    let e = small_bytes().string("model", &long).open().unwrap_err();
    assert!(e.to_string().len() < 1000, "an error repeats no long value");
    refused(&small_bytes().without("model"), "model", "is missing");
    refused(
        &small_bytes().number("model", 1),
        "model",
        "is not a string",
    );
    refused(
        &small_bytes().with("model", STRING, string(b"\xff")),
        "model",
        "is not a string",
    );
}

#[test]
fn ways_of_cutting_words_that_are_not_here_are_named() {
    for pre in ["gpt-4o", "kimi-k2", "", "Default"] {
        refused(&small_bytes().string("pre", pre), "pre", "llama-bpe");
        refused(&small_bytes().string("pre", pre), "pre", "smollm");
    }
    refused(&small_bytes().flag("pre", true), "pre", "is not a string");
    // Files older than the key have none.
    assert!(small_bytes().without("pre").open().is_ok());
}

#[test]
fn a_vocabulary_must_be_there_and_be_text() {
    refused(&small_bytes().without("tokens"), "tokens", "is missing");
    refused(&Model::new("gpt2", &[""; 0]), "tokens", "has 0 tokens");
    refused(&Model::new("llama", &[""; 0]), "tokens", "has 0 tokens");
    refused(
        &small_bytes().number("tokens", 5),
        "tokens",
        "is not an array of string",
    );
    let wrong = numbers(U32, &[[0; 4]; 3]);
    refused(
        &small_bytes().with("tokens", ARRAY, wrong),
        "tokens",
        "is not an array of string",
    );
    let wrong = text_array(&[b"a", b"b\xff"]);
    refused(
        &small_bytes().with("tokens", ARRAY, wrong),
        "tokens",
        "not UTF-8 (token 1)",
    );
    let long = "a".repeat(5000);
    refused(
        &Model::new("gpt2", &["a", &long]),
        "tokens",
        "a piece of 5000 bytes",
    );
}

#[test]
fn a_piece_is_there_once() {
    refused(
        &Model::new("gpt2", &["a", "b", "a"]),
        "tokens",
        "`a` twice, first as 0 (token 2)",
    );
    // But for empty ones, which fill gaps and stand for nothing.
    let model = Model::new("gpt2", &["a", "", "b", ""]).merges(&[""; 0]);
    let tokenizer = model.open().unwrap();
    assert_eq!(
        (tokenizer.len(), tokenizer.piece(1), tokenizer.token("")),
        (4, Some(""), None)
    );
}

#[test]
fn lengths_that_disagree_are_errors() {
    for count in [0, 1, 266, 268] {
        let wanted = format!("has {count} elements for 267 tokens");
        refused(&small_bytes().kinds(&vec![1; count]), "token_type", &wanted);
    }
    refused(
        &small_pieces().scores(&[0.0; 5]),
        "scores",
        "has 5 elements for 268 tokens",
    );
    refused(&small_pieces().without("scores"), "scores", "is missing");
    let wrong = numbers(F32, &[[0; 4]; 267]);
    refused(
        &small_bytes().with("token_type", ARRAY, wrong),
        "token_type",
        "an array of i32",
    );
    let wrong = numbers(I32, &[[0; 4]; 268]);
    refused(
        &small_pieces().with("scores", ARRAY, wrong),
        "scores",
        "an array of f32",
    );
}

#[test]
fn kinds_and_scores_must_mean_something() {
    for wrong in [-1, 7, i32::MAX, i32::MIN] {
        let mut kinds = [1; 267];
        kinds[66] = wrong;
        refused(
            &small_bytes().kinds(&kinds),
            "token_type",
            "is not 0 to 6 (token 66)",
        );
    }
    let mut kinds = [1; 267];
    kinds[66] = 6;
    refused(
        &small_bytes().kinds(&kinds),
        "token_type",
        "not as `<0xFF>` (token 66)",
    );
    let mut scores = [0.0; 268];
    scores[3] = f32::NAN;
    refused(
        &small_pieces().scores(&scores),
        "scores",
        "is not a number (token 3)",
    );
    scores[3] = f32::NEG_INFINITY;
    assert!(small_pieces().scores(&scores).open().is_ok());
}

#[test]
fn merges_name_tokens() {
    for wrong in [
        "",
        " ",
        "a",
        "ab",
        "a ",
        " a",
        "q z",
        "h  e",
        "nothere b",
        "h nothere",
    ] {
        let mut merges = MERGES.map(String::from).to_vec();
        merges.push(wrong.into());
        refused(
            &small_bytes().merges(&merges),
            "merges",
            "two tokens that make a third (merge 8)",
        );
    }
    refused(&small_bytes().without("merges"), "merges", "is missing");
    refused(
        &small_bytes().flag("merges", true),
        "merges",
        "is not an array of string",
    );
    let wrong = text_array(&[b"h e", b"\xff \xfe"]);
    refused(
        &small_bytes().with("merges", ARRAY, wrong),
        "merges",
        "not UTF-8 (merge 1)",
    );
    // Of two with one pair the first counts.
    let twice = small_bytes().merges(&["h e", "l l", "h e"]).open().unwrap();
    assert_eq!(twice.encode("he", Default::default()).unwrap(), [256]);
}

#[test]
fn special_tokens_are_in_the_vocabulary() {
    for key in [
        "bos_token_id",
        "eos_token_id",
        "eot_token_id",
        "eom_token_id",
        "fim_pad_token_id",
    ] {
        for wrong in [267, u32::MAX] {
            refused(
                &small_bytes().number(key, wrong),
                key,
                "is not one of the 267 tokens",
            );
        }
        refused(
            &small_bytes().string(key, "1"),
            key,
            "is not one of the 267 tokens",
        );
        refused(
            &small_bytes().with(key, I32, (-1i32).to_le_bytes().into()),
            key,
            "is not one",
        );
    }
    refused(
        &small_pieces().number("unknown_token_id", 268),
        "unknown_token_id",
        "268 tokens",
    );
    for key in ["add_bos_token", "add_eos_token"] {
        refused(
            &small_bytes().flag(key, true),
            key,
            "there is no such token",
        );
        refused(&small_bytes().number(key, 1), key, "is not a bool");
    }
    refused(
        &small_pieces().number("add_space_prefix", 1),
        "add_space_prefix",
        "is not a bool",
    );
    assert_eq!(
        small_bytes()
            .with("add_bos_token", BOOL, vec![0])
            .open()
            .unwrap()
            .bos(),
        None
    );
    // SentencePiece's usual numbers are no tokens of a vocabulary of one.
    let one = Model::new("llama", &["a"]).scores(&[0.0]);
    refused(&one, "add_bos_token", "there is no such token");
    let one = one.flag("add_bos_token", false).open().unwrap();
    assert_eq!(
        one.encode("aé", Default::default()).unwrap(),
        [0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn a_template_must_be_text() {
    let wrong = small_bytes().with_key("tokenizer.chat_template", STRING, string(b"\xff"));
    let e = wrong.open().unwrap_err();
    assert!(
        e.to_string()
            .contains("tokenizer.chat_template is not a string"),
        "{e}"
    );
}

#[test]
fn a_byte_that_a_vocabulary_lacks_is_left_out() {
    let letters = &byte_letters()[b'a' as usize..];
    let tokenizer = Model::new("gpt2", letters).merges(&[""; 0]).open().unwrap();
    assert_eq!(
        tokenizer.encode("a\0 b", Default::default()).unwrap(),
        [0, 1]
    );
}

/// A file whose last key is `key`, of `len` strings: the first has `first` bytes, the others none. It is as long as it says
/// and has almost nothing on the disk.
fn sparse(dir: &Dir, model: Model, key: &str, len: u64, first: u64) -> PathBuf {
    let model = model.with(key, ARRAY, array(STRING, len, &first.to_le_bytes()));
    let header = model.0.header();
    let path = dir.write("made.gguf", &header);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let bytes = header.len() as u64 + first + 8 * (len - 1);
    file.set_len(bytes.next_multiple_of(64)).unwrap();
    path
}

const ENTRIES_MAX: u64 = (1 << 22) - 1;

#[test]
fn arrays_longer_than_the_file_are_refused() {
    for key in ["tokens", "merges", "token_type"] {
        for len in [1 << 20, u64::MAX / 8, u64::MAX] {
            let kind = if key == "token_type" { I32 } else { STRING };
            let model = small_bytes().with(key, ARRAY, array(kind, len, &[0; 16]));
            let e = model.open().unwrap_err();
            assert!(matches!(e, Error::Malformed { .. }), "{e}");
            let wanted = format!("an array of {len} elements does not fit");
            assert!(e.to_string().contains(&wanted), "{e}");
        }
    }
}

#[test]
fn more_entries_than_an_index_has_are_refused_before_memory_is_taken() {
    let dir = Dir::new();
    let engine = engine();
    for (key, what) in [
        ("tokens", "tokens, not 1 to"),
        ("merges", "merges, more than"),
    ] {
        let path = sparse(&dir, small_bytes(), key, ENTRIES_MAX + 1, 0);
        let model = Gguf::open(&engine, &path).unwrap();
        let (_, peak) = crate::metered::bytes_of(|| {
            let e = Tokenizer::open(&model).unwrap_err();
            let wanted = format!("{key} has {} {what} {ENTRIES_MAX}", ENTRIES_MAX + 1);
            assert!(e.to_string().contains(&wanted), "{e}");
        });
        assert!(peak < 1 << 20, "{key}: {peak}");
    }
}

#[test]
fn a_piece_as_long_as_the_file_is_refused_before_memory_is_taken() {
    let dir = Dir::new();
    let bytes = 900 << 20;
    let path = sparse(&dir, small_bytes(), "tokens", 1, bytes);
    let model = Gguf::open(&engine(), &path).unwrap();
    let (_, peak) = crate::metered::bytes_of(|| {
        let e = Tokenizer::open(&model).unwrap_err();
        let wanted = format!("tokens has {bytes} bytes of text, more than 4096");
        assert!(e.to_string().contains(&wanted), "{e}");
    });
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn a_vocabulary_that_no_memory_is_left_for_is_an_error() {
    if crate::child::part().is_none() {
        let test = "hostile::a_vocabulary_that_no_memory_is_left_for_is_an_error";
        // The allocator sets address space aside for each thread, which would not be refused.
        let child = Child::new(test, "all").env("MALLOC_ARENA_MAX", "1");
        return child.run();
    }
    let dir = Dir::new();
    for (key, what) in [("tokens", "pieces"), ("merges", "merges")] {
        let path = sparse(&dir, small_bytes(), key, ENTRIES_MAX, 0);
        let model = Gguf::open(&engine(), &path).unwrap();
        let error = with_address_space_left(8 << 20, || Tokenizer::open(&model).unwrap_err());
        let Error::Os { what: found, errno } = &error else {
            panic!("{error}");
        };
        assert_eq!(*errno, libc::ENOMEM);
        let wanted = format!("memory for {ENTRIES_MAX} {what}");
        assert!(found.starts_with(&wanted), "{found}");
    }
}

/// Runs `f` while the process may take `bytes` more than it has.
fn with_address_space_left<T>(bytes: u64, f: impl FnOnce() -> T) -> T {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is a valid rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut before) }, 0);
    // SAFETY: it asks for a number.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let limit = libc::rlimit {
        rlim_cur: pages * page_bytes + bytes,
        ..before
    };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let result = f();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &before) }, 0);
    result
}
