//! How byte-level vocabularies write bytes: each of the 256 is a letter that can be seen.
//!
//! Printable Latin-1 stands for itself, the other 68 bytes for U+0100 on, in their order. Introduced by GPT-2
//! (<https://github.com/openai/gpt-2/blob/master/src/encoder.py>), so that a vocabulary of text can spell any bytes.

const fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The letters of the bytes, all of them below U+0800.
const LETTERS: [u16; 256] = {
    let mut letters = [0; 256];
    let mut byte = 0;
    let mut shifted = 0x100;
    while byte < 256 {
        if stands_for_itself(byte as u8) {
            letters[byte] = byte as u16;
        } else {
            letters[byte] = shifted;
            shifted += 1;
        }
        byte += 1;
    }
    letters
};

/// The letter that stands for `byte`.
pub(super) fn letter(byte: u8) -> char {
    let letter = LETTERS.get(usize::from(byte)).copied();
    letter
        .map(u32::from)
        .and_then(char::from_u32)
        .unwrap_or_default()
}

/// The byte that `letter` stands for.
pub(super) fn byte(letter: char) -> Option<u8> {
    let number = u32::from(letter);
    if let Ok(byte) = u8::try_from(number) {
        return stands_for_itself(byte).then_some(byte);
    }
    match number {
        0x100..=0x120 => Some((number - 0x100) as u8),
        0x121..=0x142 => Some((number - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own_and_comes_back() {
        for number in 0..=255 {
            assert_eq!(byte(letter(number)), Some(number));
        }
        assert_eq!((letter(b' '), letter(b'\n'), letter(b'a')), ('Ġ', 'Ċ', 'a'));
        assert_eq!((letter(0x7f), letter(0xa0), letter(0xad)), ('ġ', 'ł', 'Ń'));
        for none in ['\0', ' ', '\u{ad}', '\u{144}', '▁', '語'] {
            assert_eq!(byte(none), None, "{none:?}");
        }
    }
}
