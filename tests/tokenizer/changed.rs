//! Tokenizers changed at random: no panic, no endless loop, and no token that is not there.
//!
//! `RINGFIELD_MUTATIONS` says how many; a failing one prints the number that makes it again.

use crate::vocabulary::{open, small_bytes, small_pieces};
use crate::writer::engine;
use ringfield::{EncodeOptions, Error};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// SplitMix64 (public domain).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

fn change(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = match random.below(4) {
            0 => bytes[at] ^ 1 << random.below(8),
            1 => b"\0\x01\xff ab<>"[random.below(8)],
            2 => bytes[random.below(bytes.len())],
            _ => random.below(256) as u8,
        };
    }
}

#[test]
fn a_changed_tokenizer_opens_and_works_or_is_an_error() {
    let count = std::env::var("RINGFIELD_MUTATIONS").ok();
    let count: u64 = count.map_or(3000, |count| count.parse().unwrap());
    let models = [
        small_bytes().number("bos_token_id", 264),
        small_pieces().number("bos_token_id", 1),
    ];
    let models = models.map(|model| model.template("{{ '<|im_start|>' }}").0.bytes());
    let engine = engine();
    let mut opened = 0;
    for number in 0..count {
        let mut random = Random(number);
        let mut bytes = models[(number % 2) as usize].clone();
        change(&mut bytes, &mut random);
        let works = || match open(&engine, &bytes) {
            Ok(tokenizer) => {
                let text = "hello  <|im_start|>ab 12 é\n<tag>\t語 👋🏽 <s>  hello's</s>";
                let options = EncodeOptions::new().add_special(true).parse_special(true);
                let mut decoder = tokenizer.decoder().render_control(true).begins_text(true);
                for token in tokenizer.encode(text, options).unwrap() {
                    decoder.push(token).unwrap();
                }
                decoder.finish();
                let _ = tokenizer.chat_prompt(&[]);
                true
            }
            Err(Error::Malformed { .. } | Error::Unsupported { .. }) => false,
            Err(e) => panic!("{e}"),
        };
        match catch_unwind(AssertUnwindSafe(works)) {
            Ok(works) => opened += u64::from(works),
            Err(_) => panic!("change {number} panics"),
        }
    }
    assert!(
        opened > count / 20 && opened < count,
        "{opened} of {count} opened"
    );
}
