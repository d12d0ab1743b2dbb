//! The words that pre-tokenizers cut: what regular expressions say in the models' own files, written as steps over
//! characters. Each function says how many bytes of a text its first word has.

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// What a character is to a pre-tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{L}`. Not `char::is_alphabetic`, which has vowel signs and circled letters too.
    Letter,
    /// `\p{N}`.
    Number,
    /// `\p{M}`.
    Mark,
    /// `\p{P}`.
    Punctuation,
    /// `\s`: Unicode's `White_Space`.
    Space,
    Other,
}

pub(super) fn class(c: char) -> Class {
    if c.is_whitespace() {
        return Class::Space;
    }
    match get_general_category(c) {
        Category::UppercaseLetter
        | Category::LowercaseLetter
        | Category::TitlecaseLetter
        | Category::ModifierLetter
        | Category::OtherLetter => Class::Letter,
        Category::DecimalNumber | Category::LetterNumber | Category::OtherNumber => Class::Number,
        Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => Class::Mark,
        Category::ConnectorPunctuation
        | Category::DashPunctuation
        | Category::OpenPunctuation
        | Category::ClosePunctuation
        | Category::InitialPunctuation
        | Category::FinalPunctuation
        | Category::OtherPunctuation => Class::Punctuation,
        _ => Class::Other,
    }
}

pub(super) fn is_letter(c: char) -> bool {
    class(c) == Class::Letter
}

fn is_number(c: char) -> bool {
    class(c) == Class::Number
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Bytes of the characters that `text` begins with and of which `of` is true.
pub(super) fn run(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

/// What of `text` lies behind `bytes`.
fn behind(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

/// Hands over word after word; `first` says how long the first one is.
pub(super) fn each(mut text: &str, first: impl Fn(&str) -> usize, word: &mut impl FnMut(&str)) {
    while let Some(c) = text.chars().next() {
        let bytes = first(text).max(c.len_utf8());
        word(text.get(..bytes).unwrap_or(text));
        text = behind(text, bytes);
    }
}

/// Hands over what `matched` finds, and what lies between.
pub(super) fn apart(mut text: &str, matched: impl Fn(&str) -> usize, mut part: impl FnMut(&str)) {
    let mut between = 0;
    while let Some(c) = behind(text, between).chars().next() {
        let bytes = matched(behind(text, between));
        if bytes == 0 {
            between += c.len_utf8();
            continue;
        }
        if let Some(before) = text.get(..between)
            && !before.is_empty()
        {
            part(before);
        }
        part(text.get(between..between + bytes).unwrap_or_default());
        text = behind(text, between + bytes);
        between = 0;
    }
    if !text.is_empty() {
        part(text);
    }
}

/// `\p{N}`.
pub(super) fn one_number(text: &str) -> usize {
    let first = text.chars().next().filter(|&c| is_number(c));
    first.map_or(0, char::len_utf8)
}

/// `\p{N}+`.
pub(super) fn numbers(text: &str) -> usize {
    run(text, is_number)
}

/// `[0-9][0-9][0-9]`.
pub(super) fn three_digits(text: &str) -> usize {
    let digits = text.bytes().take(3).filter(u8::is_ascii_digit).count();
    if digits == 3 { 3 } else { 0 }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`: what English leaves of a word behind an apostrophe.
fn contraction(text: &[u8]) -> usize {
    match text {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => 2,
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => 3,
        _ => 0,
    }
}

/// As [`contraction`], in letters of either size.
fn contraction_of_any_case(text: &[u8]) -> usize {
    let mut start = [0; 3];
    for (lower, byte) in start.iter_mut().zip(text) {
        *lower = byte.to_ascii_lowercase();
    }
    contraction(&start)
}

/// `\s+(?!\S)|\s+`: white space, less its last character where a word follows that it belongs to.
fn space(text: &str) -> usize {
    let bytes = run(text, char::is_whitespace);
    let spaces = text.get(..bytes).unwrap_or_default();
    match spaces.char_indices().next_back() {
        Some((last, _)) if bytes < text.len() && last > 0 => last,
        _ => bytes,
    }
}

/// The space that a text may begin with, in bytes, and the class of what follows it.
fn after_space(text: &str) -> (usize, Option<Class>) {
    let space = usize::from(text.starts_with(' '));
    (space, behind(text, space).chars().next().map(class))
}

/// ` ?[^\s\p{L}\p{N}]+` where `is_letter` is `\p{L}`; zero where there is none.
fn marks(text: &str, is_letter: impl Fn(char) -> bool) -> usize {
    let space = usize::from(text.starts_with(' '));
    let is_mark = |c| !is_letter(c) && !matches!(class(c), Class::Number | Class::Space);
    match run(behind(text, space), is_mark) {
        0 => 0,
        bytes => space + bytes,
    }
}

/// GPT-2's: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
pub(super) fn gpt2(text: &str) -> usize {
    let contraction = contraction(text.as_bytes());
    if contraction > 0 {
        return contraction;
    }
    let (before, class) = after_space(text);
    let rest = behind(text, before);
    match class {
        Some(Class::Letter) => before + run(rest, is_letter),
        Some(Class::Number) => before + run(rest, is_number),
        Some(Class::Space) | None => space(text),
        Some(_) => marks(text, is_letter),
    }
}

/// Llama 3's, with `digits` = 3, and Qwen2's, with 1:
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
/// Qwen3.5 has `[\p{L}\p{M}]` for `\p{L}`, but for the character before a word, which can be a mark.
pub(super) fn llama3(text: &str, digits: usize, is_letter: impl Fn(char) -> bool + Copy) -> usize {
    let contraction = contraction_of_any_case(text.as_bytes());
    if contraction > 0 {
        return contraction;
    }
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return 0;
    };
    if is_number(first) {
        let numbers = text
            .char_indices()
            .take(digits)
            .take_while(|&(_, c)| is_number(c));
        return numbers.last().map_or(0, |(at, c)| at + c.len_utf8());
    }
    let letters = run(chars.as_str(), is_letter);
    if is_letter(first) || (letters > 0 && !is_newline(first)) {
        return first.len_utf8() + letters;
    }
    let marks = marks(text, is_letter);
    if marks > 0 {
        return marks + run(behind(text, marks), is_newline);
    }
    let spaces = text
        .get(..run(text, char::is_whitespace))
        .unwrap_or_default();
    match spaces.rfind(is_newline) {
        Some(last) => last + 1,
        None => space(text),
    }
}
