//! The part of JSON (RFC 8259) that a header is made of: objects, strings, arrays of whole numbers.

use crate::engine::formats::cursor::{Cursor, Source};
use crate::error::Result;

/// Steps over white space; returns what comes next, without taking it. `None` at the end.
pub(super) fn next<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<Option<u8>> {
    while let Some(byte) = cursor.peek()? {
        if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(Some(byte));
        }
        cursor.skip("white space", 1)?;
    }
    Ok(None)
}

/// Takes `wanted`, behind white space.
pub(super) fn expect<S: Source>(cursor: &mut Cursor<'_, S>, wanted: u8) -> Result<()> {
    let found = next(cursor)?;
    if found != Some(wanted) {
        let found = found.map_or("the end".into(), |byte| format!("{:?}", char::from(byte)));
        return Err(cursor.malformed(
            cursor.at(),
            format!("{:?} is expected, and there is {found}", char::from(wanted)),
        ));
    }
    cursor.skip("a character", 1)?;
    Ok(())
}

/// Goes through an object's or an array's members: `member` takes one, `close` ends it.
pub(super) fn members<'s, S: Source>(
    cursor: &mut Cursor<'s, S>,
    (open, close): (u8, u8),
    mut member: impl FnMut(&mut Cursor<'s, S>) -> Result<()>,
) -> Result<()> {
    expect(cursor, open)?;
    if next(cursor)? == Some(close) {
        return expect(cursor, close);
    }
    loop {
        member(cursor)?;
        if next(cursor)? == Some(b',') {
            expect(cursor, b',')?;
        } else {
            return expect(cursor, close);
        }
    }
}

/// Steps over a string, of any length.
pub(super) fn skip_string<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<()> {
    expect(cursor, b'"')?;
    while piece(cursor)?.is_some() {}
    Ok(())
}

/// Takes the next byte or escape of a string; `None` behind its last.
fn piece<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<Option<Piece>> {
    let at = cursor.at();
    let [byte] = cursor.array("a string")?;
    Ok(match byte {
        b'"' => None,
        b'\\' => Some(Piece::Escape(escape(cursor, at)?)),
        0..0x20 => {
            return Err(cursor.malformed(at, "a control character in a string"));
        }
        byte => Some(Piece::Byte(byte)),
    })
}

enum Piece {
    Byte(u8),
    Escape(char),
}

/// Takes a string of at most `bytes_max` bytes of UTF-8, unescaped, into `text`.
pub(super) fn string<S: Source>(
    cursor: &mut Cursor<'_, S>,
    bytes_max: usize,
    text: &mut Vec<u8>,
) -> Result<()> {
    expect(cursor, b'"')?;
    let start = cursor.at();
    text.clear();
    while let Some(piece) = piece(cursor)? {
        match piece {
            Piece::Byte(byte) => text.push(byte),
            Piece::Escape(character) => {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if text.len() > bytes_max {
            return Err(cursor.malformed(start, format!("a string of more than {bytes_max} bytes")));
        }
    }
    if std::str::from_utf8(text).is_err() {
        return Err(cursor.malformed(start, "a string that is not UTF-8"));
    }
    Ok(())
}

fn escape<S: Source>(cursor: &mut Cursor<'_, S>, at: u64) -> Result<char> {
    let [letter] = cursor.array("an escape")?;
    Ok(match letter {
        b'"' | b'\\' | b'/' => char::from(letter),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = four_digits(cursor, at)?;
            // Characters beyond 16 bits are written as a pair of surrogates.
            let units = if (0xd800..0xdc00).contains(&first) {
                let next: [u8; 2] = cursor.array("a surrogate")?;
                if next != *b"\\u" {
                    return Err(cursor.malformed(at, "half a surrogate pair"));
                }
                [first, four_digits(cursor, at)?]
            } else {
                [first, 0]
            };
            let decoded = char::decode_utf16(units).next();
            return decoded
                .and_then(std::result::Result::ok)
                .ok_or_else(|| cursor.malformed(at, "half a surrogate pair"));
        }
        _ => return Err(cursor.malformed(at, "an escape that JSON does not have")),
    })
}

fn four_digits<S: Source>(cursor: &mut Cursor<'_, S>, at: u64) -> Result<u16> {
    let digits: [u8; 4] = cursor.array("an escape")?;
    let mut number = 0;
    for digit in digits {
        let Some(value) = char::from(digit).to_digit(16) else {
            return Err(cursor.malformed(at, "an escape without four hexadecimal digits"));
        };
        number = number << 4 | value as u16;
    }
    Ok(number)
}

/// Takes a whole number that is not negative.
pub(super) fn number<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<u64> {
    let first = next(cursor)?;
    let at = cursor.at();
    let mut number = 0u64;
    let mut digits = 0;
    while let Some(byte @ b'0'..=b'9') = cursor.peek()? {
        cursor.skip("a digit", 1)?;
        digits += 1;
        let longer = number.checked_mul(10);
        let Some(longer) = longer.and_then(|n| n.checked_add(u64::from(byte - b'0'))) else {
            return Err(cursor.malformed(at, "a number of more than 64 bits"));
        };
        number = longer;
    }
    if digits == 0 || (digits > 1 && first == Some(b'0')) {
        return Err(cursor.malformed(at, "a whole number is expected"));
    }
    Ok(number)
}
