//! Text comes back as it was, and is valid at every moment.

use crate::models::{GEMMA, SMOLLM2, model_or_skip, tokenizer};
use crate::reference::corpus;
use crate::vocabulary::{Model, byte_letters, small_bytes, small_pieces};
use ringfield::{EncodeOptions, Error, Tokenizer};

/// All that a decoder prints of `tokens`.
fn text(tokenizer: &Tokenizer, tokens: &[u32], render_control: bool) -> String {
    let mut decoder = tokenizer
        .decoder()
        .begins_text(true)
        .render_control(render_control);
    let mut text = String::new();
    for &token in tokens {
        text.push_str(decoder.push(token).unwrap());
    }
    text + decoder.finish()
}

#[track_caller]
fn assert_comes_back(tokenizer: &Tokenizer, is_lost: impl Fn(char) -> bool) {
    let mut compared = 0;
    for sample in corpus().iter().filter(|sample| !sample.contains(&is_lost)) {
        let bare = tokenizer.encode(sample, EncodeOptions::new()).unwrap();
        assert_eq!(text(tokenizer, &bare, false), *sample);
        let options = EncodeOptions::new().parse_special(true);
        let whole = tokenizer.encode(sample, options).unwrap();
        assert_eq!(text(tokenizer, &whole, true), *sample);
        compared += 1;
    }
    assert!(compared > 240, "{compared}");
}

#[test]
fn text_comes_back_from_byte_pairs() {
    let path = model_or_skip!(SMOLLM2);
    // Bytes that this vocabulary lacks: six control characters, and two that begin the far planes of Unicode.
    let is_lost = |c: char| {
        matches!(
            c,
            '\x04' | '\x06' | '\x13' | '\x14' | '\x16' | '\x1d' | '\u{40000}'..='\u{bffff}'
        )
    };
    assert_comes_back(&tokenizer(&path), is_lost);
}

#[test]
fn text_comes_back_from_sentence_pieces() {
    let path = model_or_skip!(GEMMA);
    // Written with a space here, and a space when it comes back.
    assert_comes_back(&tokenizer(&path), |c| c == '▁');
}

#[test]
fn a_space_put_before_a_text_is_taken_away_again() {
    let tokenizer = small_pieces().open().unwrap();
    for sample in ["ab", " ab", "  ", "", "a b", "語 a"] {
        let tokens = tokenizer.encode(sample, EncodeOptions::new()).unwrap();
        assert_eq!(text(&tokenizer, &tokens, false), sample);
    }
    let tokens = tokenizer.encode("ab", EncodeOptions::new()).unwrap();
    let mut decoder = tokenizer.decoder();
    let printed: String = tokens
        .iter()
        .map(|&token| decoder.push(token).unwrap().to_owned())
        .collect();
    assert_eq!(printed, " ab", "a text that goes on keeps its spaces");
}

/// A character is held back until it is whole, and what cannot become one is replaced as by `String::from_utf8_lossy`.
#[test]
fn any_bytes_at_all_are_printed_as_valid_text() {
    let tokenizer = small_bytes().open().unwrap();
    // The tokens below 256 are the bytes.
    let samples: [&[u8]; 12] = [
        "Grüße, 世界 👋🏽!".as_bytes(),
        b"\xff\xfe",
        b"\xc3",
        b"a\xe4\xb8",
        b"\xe4\xb8a",
        b"\xf0\x9f\x91\xf0\x9f\x91\x8b",
        b"\xc0\x80\xc1\xbf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe4\xe4\xe4\xb8\x96",
        b"\x80\x80\xf0\x9f",
        b"\xf0\x80\x80\x41",
    ];
    for bytes in samples {
        let mut decoder = tokenizer.decoder();
        let mut printed = String::new();
        for (at, &byte) in bytes.iter().enumerate() {
            printed.push_str(decoder.push(byte.into()).unwrap());
            let held = (at + 1).saturating_sub(printed.len());
            assert!(
                held <= 3 || printed.contains('\u{fffd}'),
                "{bytes:x?} at {at}"
            );
            if let Ok(whole) = std::str::from_utf8(&bytes[..=at]) {
                assert_eq!(printed, whole, "printed as soon as it is whole");
            }
        }
        printed.push_str(decoder.finish());
        assert_eq!(printed, String::from_utf8_lossy(bytes), "{bytes:x?}");
        assert_eq!(decoder.finish(), "", "nothing is left");
    }
}

/// Bytes that begin, continue and end characters, and ones at the borders of what is allowed: overlong forms, surrogates,
/// beyond the last character.
const ODD: [u8; 16] = [
    b'A', 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc3, 0xe0, 0xe4, 0xed, 0xf0, 0xf4, 0xf5, 0xff,
];

/// Every text of four of [`ODD`], in pieces of one byte and of two.
#[test]
fn texts_come_piece_by_piece_as_they_do_at_once() {
    let letters = byte_letters();
    let letter = |byte: u8| letters[usize::from(byte)].as_str();
    let pairs = ODD.map(|a| ODD.map(|b| [letter(a), letter(b)].concat()));
    let tokens = [&letters[..], pairs.as_flattened()].concat();
    let byte_pairs = Model::new("gpt2", &tokens).merges(&[""; 0]).open().unwrap();
    let sentence_pieces = small_pieces().open().unwrap();
    let pair = |a: usize, b: usize| (256 + a * ODD.len() + b) as u32;
    for number in 0..ODD.len().pow(4) {
        let [a, b, c, d] = [12, 8, 4, 0].map(|bits| number >> bits & 15);
        let bytes = [a, b, c, d].map(|odd| ODD[odd]);
        let whole = String::from_utf8_lossy(&bytes);
        let [w, x, y, z] = bytes.map(u32::from);
        for tokens in [
            &[w, x, y, z][..],
            &[pair(a, b), pair(c, d)],
            &[w, pair(b, c), z],
        ] {
            assert_eq!(text(&byte_pairs, tokens, false), whole, "{bytes:x?}");
        }
        // `<0x00>` is the fourth token.
        let tokens = [w, x, y, z].map(|byte| byte + 3);
        assert_eq!(text(&sentence_pieces, &tokens, false), whole, "{bytes:x?}");
    }
}

#[test]
fn the_bytes_of_a_character_that_no_piece_has_are_put_together() {
    let path = model_or_skip!(GEMMA);
    let tokenizer = tokenizer(&path);
    // An egyptian hieroglyph of the year 2024.
    let tokens = tokenizer.encode("\u{13460}", EncodeOptions::new()).unwrap();
    let pieces: Vec<_> = tokens
        .iter()
        .map(|&token| tokenizer.piece(token).unwrap())
        .collect();
    assert_eq!(pieces, ["<0xF0>", "<0x93>", "<0x91>", "<0xA0>"]);
    let mut decoder = tokenizer.decoder();
    for &token in &tokens[..3] {
        assert_eq!(decoder.push(token).unwrap(), "");
    }
    assert_eq!(decoder.push(tokens[3]).unwrap(), "\u{13460}");
    assert_eq!(decoder.finish(), "");
}

#[test]
fn control_tokens_print_nothing_unless_asked_to() {
    let tokenizer = small_bytes().open().unwrap();
    let options = EncodeOptions::new().parse_special(true);
    let tokens = tokenizer
        .encode("<|im_start|>hello<|im_end|>", options)
        .unwrap();
    assert_eq!(tokens, [264, 259, 265]);
    assert_eq!(text(&tokenizer, &tokens, false), "hello");
    assert_eq!(
        text(&tokenizer, &tokens, true),
        "<|im_start|>hello<|im_end|>"
    );
}

#[test]
fn tokens_that_are_not_used_print_nothing() {
    for (kind, printed) in [(0, ""), (1, "a"), (2, ""), (3, ""), (4, "a"), (5, "")] {
        let mut kinds = vec![1; 267];
        kinds[usize::from(b'a')] = kind;
        let tokenizer = small_bytes().kinds(&kinds).open().unwrap();
        assert_eq!(
            text(&tokenizer, &[b'a'.into()], false),
            printed,
            "kind {kind}"
        );
    }
}

#[test]
fn a_token_that_is_not_there_is_an_error() {
    let tokenizer = small_bytes().open().unwrap();
    let len = tokenizer.len();
    assert_eq!(len, 267);
    for token in [len, u32::MAX] {
        let e = tokenizer.decoder().push(token).unwrap_err();
        assert_eq!(e, Error::NoSuchToken { token, len });
        assert_eq!(tokenizer.piece(token), None);
        assert!(!tokenizer.is_end_of_generation(token));
    }
}
