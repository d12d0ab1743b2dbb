//! Sizes as users type them: `64KiB`, `1GiB`, `256M`, `4096`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes given on the command line.
///
/// Every unit is a power of 1024, with or without `iB` or `B`: `1G`, `1GB` and `1GiB` are the same,
/// because memory and block sizes are the only things measured here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err("a size is a number with an optional unit, such as 64KiB".into());
        }
        let unit_bytes = unit_bytes(unit.trim()).ok_or_else(|| {
            format!(
                "unknown unit '{}'; units are KiB, MiB, GiB, TiB (or K, M, G, T)",
                unit.trim()
            )
        })?;
        let bytes = match number.split_once('.') {
            None => number
                .parse::<u64>()
                .ok()
                .and_then(|n| n.checked_mul(unit_bytes)),
            Some((whole, fraction)) => scale(whole, fraction, unit_bytes),
        };
        bytes
            .map(Size)
            .ok_or_else(|| format!("'{text}' is not a number of bytes below 16 EiB"))
    }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    Some(1 << shift)
}

/// `1.5` of a unit, in integers: a fraction of at most nine digits cannot overflow 128 bits.
fn scale(whole: &str, fraction: &str, unit_bytes: u64) -> Option<u64> {
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let numerator: u128 = fraction.parse::<u64>().ok()?.into();
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u64::try_from(numerator * u128::from(unit_bytes) / denominator).ok()?;
    whole.checked_mul(unit_bytes)?.checked_add(part)
}

impl fmt::Display for Size {
    /// The largest unit that leaves a short number: `1 GiB`, `1.5 MiB`, `4096 B` as `4 KiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            let unit_bytes = 1_u64 << shift;
            if self.0 >= unit_bytes {
                return if self.0.is_multiple_of(unit_bytes) {
                    write!(f, "{} {unit}", self.0 >> shift)
                } else {
                    write!(f, "{:.1} {unit}", self.0 as f64 / unit_bytes as f64)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_in_every_spelling() {
        for (text, bytes) in [
            ("4096", 4096),
            ("0", 0),
            ("64KiB", 64 << 10),
            ("64k", 64 << 10),
            ("64 KB", 64 << 10),
            ("256M", 256 << 20),
            ("1GiB", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("2t", 2 << 40),
            (" 7 b ", 7),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "k",
            "GiB",
            "-1",
            "1X",
            "1e9",
            "1..5G",
            "1.G",
            ".5G",
            "1.0000000001G",
            "99999999999999999999",
            "16777216T",
            "1 G G",
            "0x10",
            "½",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn shown_in_the_largest_fitting_unit() {
        assert_eq!(Size(1 << 30).to_string(), "1 GiB");
        assert_eq!(Size(3 << 19).to_string(), "1.5 MiB");
        assert_eq!(Size(512).to_string(), "512 B");
    }
}
