//! What the metadata say about encoding is done: special tokens, spaces, the order of merges.

use crate::models::{GEMMA, SMOLLM2, model_or_skip, tokenizer};
use crate::vocabulary::{small_bytes, small_pieces};
use ringfield::{EncodeOptions, Tokenizer};

const BARE: fn() -> EncodeOptions = EncodeOptions::new;

fn whole() -> EncodeOptions {
    BARE().add_special(true).parse_special(true)
}

#[track_caller]
fn pieces(tokenizer: &Tokenizer, text: &str, options: EncodeOptions) -> Vec<String> {
    let tokens = tokenizer.encode(text, options).unwrap();
    tokens
        .iter()
        .map(|&token| tokenizer.piece(token).unwrap().to_owned())
        .collect()
}

#[test]
fn merges_are_made_in_their_order_within_words() {
    let tokenizer = small_bytes().open().unwrap();
    assert_eq!(
        pieces(&tokenizer, "hello hello", BARE()),
        ["hello", "Ġhello"]
    );
    assert_eq!(
        pieces(&tokenizer, "hell hel", BARE()),
        ["hell", "Ġ", "he", "l"]
    );
    assert_eq!(pieces(&tokenizer, "hellllo", BARE()), ["hell", "ll", "o"]);
    assert_eq!(
        pieces(&tokenizer, "hello.hello12", BARE()),
        ["hello", ".", "hello", "12"]
    );
    // Every number is a word of its own for this one.
    let single = small_bytes().string("pre", "smollm").open().unwrap();
    assert_eq!(pieces(&single, "a12", BARE()), ["a", "1", "2"]);
}

#[test]
fn the_best_score_is_joined_first_and_the_leftmost_of_two() {
    let tokenizer = small_pieces()
        .flag("add_space_prefix", false)
        .open()
        .unwrap();
    // `ab` and `ba` have one score; `▁a` has a worse one.
    assert_eq!(pieces(&tokenizer, "aba", BARE()), ["ab", "a"]);
    assert_eq!(pieces(&tokenizer, "bab", BARE()), ["ba", "b"]);
    assert_eq!(pieces(&tokenizer, " ab", BARE()), ["▁", "ab"]);
    assert_eq!(pieces(&tokenizer, " aa", BARE()), ["▁a", "a"]);
    assert_eq!(pieces(&tokenizer, "aaa", BARE()), ["aa", "a"]);
    assert_eq!(pieces(&tokenizer, "   ", BARE()), ["▁▁", "▁"]);
    assert_eq!(pieces(&tokenizer, "aé", BARE()), ["a", "<0xC3>", "<0xA9>"]);
}

#[test]
fn a_space_goes_before_a_text_and_behind_a_special_token() {
    let tokenizer = small_pieces().open().unwrap();
    assert_eq!(pieces(&tokenizer, "b", BARE()), ["▁", "b"]);
    assert_eq!(pieces(&tokenizer, "", BARE()), [""; 0]);
    assert_eq!(
        pieces(&tokenizer, "b<tag>b", BARE()),
        ["▁", "b", "<tag>", "▁", "b"]
    );
    let without = small_pieces()
        .flag("add_space_prefix", false)
        .open()
        .unwrap();
    assert_eq!(pieces(&without, "b<tag>b", BARE()), ["b", "<tag>", "b"]);
}

#[test]
fn bos_and_eos_are_added_as_the_metadata_say() {
    let usual = small_pieces().open().unwrap();
    assert_eq!((usual.bos(), usual.eos()), (Some(1), Some(2)));
    assert_eq!(pieces(&usual, "", whole()), ["<s>"]);
    assert_eq!(pieces(&usual, "", BARE()), [""; 0]);
    let model = small_pieces()
        .flag("add_bos_token", false)
        .flag("add_eos_token", true);
    assert_eq!(pieces(&model.open().unwrap(), "", whole()), ["</s>"]);

    let usual = small_bytes()
        .number("bos_token_id", 264)
        .number("eos_token_id", 265);
    let tokenizer = usual.clone().open().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(264), Some(265)));
    assert_eq!(pieces(&tokenizer, "he", whole()), ["he"]);
    let both = usual
        .clone()
        .flag("add_bos_token", true)
        .flag("add_eos_token", true);
    let tokenizer = both.open().unwrap();
    assert_eq!(
        pieces(&tokenizer, "he", whole()),
        ["<|im_start|>", "he", "<|im_end|>"]
    );
    // Llama 3's kind begins with BOS without being told.
    let tokenizer = usual.string("pre", "llama-bpe").open().unwrap();
    assert_eq!(pieces(&tokenizer, "he", whole()), ["<|im_start|>", "he"]);
}

#[test]
fn control_tokens_in_a_text_are_text_unless_they_are_asked_for() {
    let tokenizer = small_bytes().open().unwrap();
    let text = "<|im_start|>he  he<|im_end|>";
    assert_eq!(
        pieces(&tokenizer, text, BARE().parse_special(true)),
        ["<|im_start|>", "he", "  ", "he", "<|im_end|>"]
    );
    // User-defined ones always are tokens.
    let bare = pieces(&tokenizer, text, BARE());
    assert!(
        bare.contains(&"  ".into()) && !bare.contains(&"<|im_start|>".into()),
        "{bare:?}"
    );
}

/// The longest special token of the whole text is taken first, not the first one.
#[test]
fn special_tokens_that_overlap_are_taken_longest_first() {
    let specials = ["abc", "bcdef", "ab", "aaa", "aa", "xyx"];
    let tokens: Vec<_> = crate::vocabulary::byte_letters()
        .into_iter()
        .chain(specials.map(String::from))
        .collect();
    let mut kinds = vec![1; 256];
    kinds.extend([4; 6]);
    let model = crate::vocabulary::Model::new("gpt2", &tokens)
        .merges(&[""; 0])
        .kinds(&kinds);
    let tokenizer = model.open().unwrap();
    for (text, expected) in [
        ("abcdef", &["a", "bcdef"][..]),
        ("abcde", &["abc", "d", "e"]),
        ("abc", &["abc"]),
        ("abd", &["ab", "d"]),
        ("aaaaa", &["aaa", "aa"]),
        ("aaaa", &["aaa", "a"]),
        ("aaabcdef", &["aaa", "bcdef"]),
        ("aabcdef", &["aa", "bcdef"]),
        ("xyxyx", &["xyx", "y", "x"]),
        ("zabcz", &["z", "abc", "z"]),
    ] {
        assert_eq!(pieces(&tokenizer, text, BARE()), expected, "{text}");
    }
}

#[test]
fn what_ends_a_text_is_known_by_its_number_or_its_name() {
    let path = model_or_skip!(SMOLLM2);
    let smollm2 = tokenizer(&path);
    let ends = |tokenizer: &Tokenizer| -> Vec<String> {
        let ends = (0..tokenizer.len()).filter(|&token| tokenizer.is_end_of_generation(token));
        ends.map(|token| tokenizer.piece(token).unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        ends(&smollm2),
        ["<|endoftext|>", "<|im_end|>", "<reponame>"]
    );
    assert_eq!(
        (smollm2.bos(), smollm2.eos(), smollm2.len()),
        (Some(1), Some(2), 49152)
    );
    assert_eq!(smollm2.token("Ġthe"), Some(260));

    let path = model_or_skip!(GEMMA);
    let gemma = tokenizer(&path);
    assert_eq!(ends(&gemma), ["<eos>", "<end_of_turn>", "</s>"]);
    assert_eq!(
        (gemma.bos(), gemma.eos(), gemma.len()),
        (Some(2), Some(1), 262_144)
    );

    let named = small_bytes()
        .number("eot_token_id", 7)
        .number("eos_token_id", 8);
    assert_eq!(ends(&named.open().unwrap()), ["ć", "Ĉ", "<|im_end|>"]);
}

/// Files give such tokens any kind.
#[test]
fn a_token_named_like_a_mark_is_a_control_token() {
    for (name, ends) in [
        ("<|eot_id|>", true),
        ("<fim_prefix>", false),
        ("<|file_sep|>", true),
    ] {
        let tokens = [name, "<other>"].map(String::from).into_iter();
        let tokens: Vec<_> = tokens.chain(crate::vocabulary::byte_letters()).collect();
        let model = crate::vocabulary::Model::new("gpt2", &tokens).merges(&[""; 0]);
        let tokenizer = model.open().unwrap();
        let parse = BARE().parse_special(true);
        assert_eq!(pieces(&tokenizer, name, parse), [name]);
        assert_eq!(pieces(&tokenizer, "<other>", parse).len(), 7);
        assert_eq!(tokenizer.is_end_of_generation(0), ends, "{name}");
        assert_eq!(tokenizer.decoder().push(0).unwrap(), "");
    }
}
