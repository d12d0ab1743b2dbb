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

/// `[\r\n]`.
pub(super) fn one_newline(text: &str) -> usize {
    usize::from(text.starts_with(is_newline))
}

/// `\s?X+`, where `X` are the characters of a class.
pub(super) fn spaced(text: &str, of: Class) -> usize {
    let space = text.chars().next().filter(|c| c.is_whitespace());
    let space = space.map_or(0, char::len_utf8);
    match run(behind(text, space), |c| class(c) == of) {
        0 => 0,
        bytes => space + bytes,
    }
}

/// `[一-龥ࠀ-一가-\u{d7ff}]+` without the white space in it: what is written without spaces, and much else.
pub(super) fn unspaced(text: &str) -> usize {
    let is_unspaced = |c| matches!(c, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}');
    run(text, |c: char| is_unspaced(c) && !c.is_whitespace())
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

/// `\p{N}{1,digits}`, and zero where there is none.
fn some_numbers(text: &str, digits: usize) -> usize {
    let numbers = text.char_indices().take(digits);
    let last = numbers.take_while(|&(_, c)| is_number(c)).last();
    last.map_or(0, |(at, c)| at + c.len_utf8())
}

/// ` ?[^\s\p{L}\p{N}]+[tail]*|\s*[\r\n]+|\s+(?!\S)|\s+`: what is neither a word nor a number.
fn between_words(
    text: &str,
    is_letter: impl Fn(char) -> bool,
    tail: impl Fn(char) -> bool,
) -> usize {
    let marks = marks(text, is_letter);
    if marks > 0 {
        return marks + run(behind(text, marks), tail);
    }
    let spaces = text.get(..run(text, char::is_whitespace));
    match spaces.unwrap_or_default().rfind(is_newline) {
        Some(last) => last + 1,
        None => space(text),
    }
}

/// Llama 3's, with `digits` = 3, and Qwen2's, with 1:
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
/// Qwen3.5's has `[\p{L}\p{M}]` for `\p{L}`, but for the character before a word, which can be a mark.
pub(super) fn llama3(text: &str, digits: usize, is_letter: impl Fn(char) -> bool + Copy) -> usize {
    let contraction = contraction_of_any_case(text.as_bytes());
    if contraction > 0 {
        return contraction;
    }
    let numbers = some_numbers(text, digits);
    if numbers > 0 {
        return numbers;
    }
    let mut chars = text.chars();
    let first = chars.next().unwrap_or_default();
    let letters = run(chars.as_str(), is_letter);
    if is_letter(first) || (letters > 0 && !is_newline(first)) {
        return first.len_utf8() + letters;
    }
    between_words(text, is_letter, is_newline)
}

/// Llama 4's, with `digits` = 3, and Mistral's Tekken, with 1 and without the contractions. A word ends where lower case
/// becomes upper case. Letters outside of ASCII are of both, which is how llama.cpp reads `\p{Lu}` and `\p{Ll}`:
/// `[^\r\n\p{L}\p{N}]?U*L+(?i:'s|…)?|[^\r\n\p{L}\p{N}]?U+L*(?i:'s|…)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
/// with `U` for a letter that is not `[a-z]` and `L` for one that is not `[A-Z]`.
pub(super) fn cased(text: &str, digits: usize, contractions: bool) -> usize {
    let numbers = some_numbers(text, digits);
    if numbers > 0 {
        return numbers;
    }
    let first = text.chars().next().unwrap_or_default();
    let is_before = !is_letter(first) && !is_newline(first);
    let before = if is_before { first.len_utf8() } else { 0 };
    let word = before + cased_letters(behind(text, before));
    if word > before {
        let rest = behind(text, word).as_bytes();
        let contraction = if contractions {
            contraction_of_any_case(rest)
        } else {
            0
        };
        return word + contraction;
    }
    between_words(text, is_letter, |c| is_newline(c) || c == '/')
}

/// `U*L+|U+L*` of [`cased`].
fn cased_letters(text: &str) -> usize {
    let upper = run(text, |c| is_letter(c) && !c.is_ascii_lowercase());
    let lower = run(behind(text, upper), |c| {
        is_letter(c) && !c.is_ascii_uppercase()
    });
    if lower > 0 {
        return upper + lower;
    }
    // The last one that can be the `L+` is; without any all of them are the `U+`.
    let letters = text.get(..upper).unwrap_or_default();
    match letters.rfind(|c: char| !c.is_ascii_uppercase()) {
        Some(last) => {
            last + behind(letters, last)
                .chars()
                .next()
                .map_or(0, char::len_utf8)
        }
        None => upper,
    }
}
