//! Numbers, sizes, times and yes-or-no values in fio's notation.

use std::time::Duration;

/// Bytes as fio reads them with its default `kb_base=1024`: `k`, `kb` and `ki` are 1024, while
/// `kib` is 1000 — "the opposite of the standards", says fio's manual, for the sake of old jobs.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let decimal = text.to_ascii_lowercase().ends_with("ib");
    let power = match unit.strip_suffix('i').unwrap_or(unit) {
        "" if unit.is_empty() => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let base: u64 = if decimal { 1000 } else { 1024 };
    number.checked_mul(base.pow(power))
}

/// A time as fio reads it: with one of the units `d h m s ms us`, or without one in the option's
/// own unit, given in microseconds.
pub(super) fn time(text: &str, own_unit_us: u64) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit_us: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => own_unit_us,
        "us" | "usec" => 1,
        "ms" | "msec" => 1_000,
        "s" | "sec" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(unit_us).map(Duration::from_micros)
}

pub(super) fn integer(text: &str) -> Option<u64> {
    match number_and_unit(text)? {
        (number, "") => Some(number),
        _ => None,
    }
}

pub(super) fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Decimal or, as in fio, hexadecimal digits, and what follows them.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // `from_str_radix` alone would accept a sign.
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        return u64::from_str_radix(hex, 16).ok().map(|n| (n, ""));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    number.parse().ok().map(|n| (n, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_fio_makes_of_them() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("4k", Some(4096)),
            ("4K", Some(4096)),
            ("4kb", Some(4096)),
            ("4ki", Some(4096)),
            ("4kib", Some(4000)),
            ("1m", Some(1 << 20)),
            ("1MiB", Some(1_000_000)),
            ("4096B", Some(4096)),
            ("0x1000", Some(4096)),
            ("2g", Some(2 << 30)),
            ("1t", Some(1 << 40)),
            ("4.5k", None),
            ("-4k", None),
            ("+4k", None),
            ("0x-4", None),
            ("0x", None),
            ("k", None),
            ("i", None),
            ("4i", None),
            ("4ib", None),
            ("4kk", None),
            ("4k,8k", None),
            ("10%", None),
            ("18446744073709551616", None),
            ("16384p", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn times_default_to_the_unit_of_their_option() {
        let time = |text| time(text, 1_000_000);
        assert_eq!(super::time("24", 1), Some(Duration::from_micros(24)));
        assert_eq!(time("3"), Some(Duration::from_secs(3)));
        assert_eq!(time("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(time("2m"), Some(Duration::from_secs(120)));
        assert_eq!(time("7us"), Some(Duration::from_micros(7)));
        for text in ["", "s", "-1", "1x", "1 s", "99999999999999999d"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
