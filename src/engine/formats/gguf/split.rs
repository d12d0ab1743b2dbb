//! Models split over several files: `NAME-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

/// The place of a file in its set, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1.
    pub(super) number: u32,
    pub(super) count: u32,
}

const DIGITS: usize = 5;
const SUFFIX: &str = ".gguf";
/// Bytes of `-00001-of-00003`.
const PLACE_BYTES: usize = 1 + DIGITS + 4 + DIGITS;

/// The name of a file without its place, and the place, where it has one.
fn place_of(path: &Path) -> Option<(&str, Place)> {
    let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    let from = name.len().checked_sub(PLACE_BYTES)?;
    let (stem, place) = (name.get(..from)?, name.get(from..)?);
    let (number, count) = place.strip_prefix('-')?.split_once("-of-")?;
    let digits = |text: &str| {
        let plain = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u32>().ok())?
    };
    let (number, count) = (digits(number)?, digits(count)?);
    ((1..=count).contains(&number)).then_some((stem, Place { number, count }))
}

/// How many files the set has that `path` belongs to: one where it belongs to none.
pub(super) fn count(path: &Path) -> u32 {
    place_of(path).map_or(1, |(_, place)| place.count)
}

/// File `number`, from 1, of the set that `path` belongs to; itself where it belongs to none.
pub(super) fn member(path: &Path, number: u32) -> PathBuf {
    match place_of(path) {
        None => path.to_path_buf(),
        Some((stem, Place { count, .. })) => {
            path.with_file_name(format!("{stem}-{number:05}-of-{count:05}{SUFFIX}"))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{count, member};
    use std::path::{Path, PathBuf};

    fn members(path: &Path) -> Vec<PathBuf> {
        (1..=count(path))
            .map(|number| member(path, number))
            .collect()
    }

    fn named(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn any_member_names_the_set() {
        for member in ["dir/a-b-00001-of-00003.gguf", "dir/a-b-00003-of-00003.gguf"] {
            assert_eq!(
                members(Path::new(member)),
                named(&[
                    "dir/a-b-00001-of-00003.gguf",
                    "dir/a-b-00002-of-00003.gguf",
                    "dir/a-b-00003-of-00003.gguf"
                ])
            );
        }
    }

    #[test]
    fn other_names_stand_for_themselves() {
        for alone in [
            "model.gguf",
            "-00001-of-00002.bin",
            "a-00000-of-00002.gguf",
            "a-00003-of-00002.gguf",
            "a-1-of-2.gguf",
            "a-0000\u{e9}-of-00002.gguf",
            "a-+0001-of-00002.gguf",
            "\u{1f600}00001-of-00002.gguf",
            ".gguf",
            "..",
        ] {
            assert_eq!(members(Path::new(alone)), named(&[alone]));
        }
    }
}
