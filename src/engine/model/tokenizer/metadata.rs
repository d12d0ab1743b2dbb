//! The keys of a model's metadata that tokenizers read, and the errors where they are not what they must be.

use crate::engine::formats::gguf;
use crate::engine::{Array, Gguf, Value, ValueType};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// A model's metadata.
pub(super) struct Metadata<'m> {
    model: &'m Gguf,
    path: PathBuf,
}

impl<'m> Metadata<'m> {
    pub(super) fn of(model: &'m Gguf) -> Metadata<'m> {
        let first = model.fields().next();
        let path = first.map_or_else(PathBuf::new, |field| field.path().to_path_buf());
        Metadata { model, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The error of a value of `key`, which lies at `at` where that is known.
    pub(super) fn malformed(&self, at: u64, key: &str, what: impl std::fmt::Display) -> Error {
        gguf::malformed(&self.path, at, format!("{key} {what}"))
    }

    fn wrong_type(&self, key: &str, wanted: &str) -> Error {
        self.malformed(0, key, format_args!("is not {wanted}"))
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<String>> {
        match self.model.get(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_type(key, "a string of UTF-8")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.model.get(key)? {
            None => Ok(None),
            Some(value) => match value.as_bool() {
                Some(flag) => Ok(Some(flag)),
                None => Err(self.wrong_type(key, "a bool")),
            },
        }
    }

    /// The token that `key` names, out of `len`.
    pub(super) fn token(&self, key: &str, len: u32) -> Result<Option<u32>> {
        let Some(value) = self.model.get(key)? else {
            return Ok(None);
        };
        let number = value.as_u64();
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(token) if token < len => Ok(Some(token)),
            _ => Err(self.wrong_type(key, &format!("one of the {len} tokens"))),
        }
    }

    /// The array `key`, whose elements must be of the type `element`.
    pub(super) fn array(&self, key: &str, element: ValueType) -> Result<Option<Array>> {
        match self.model.get(key)? {
            None => Ok(None),
            Some(Value::Array(array)) if array.element() == element => Ok(Some(array)),
            Some(_) => Err(self.wrong_type(key, &format!("an array of {element}"))),
        }
    }

    /// Like [`Metadata::array`], and there must be `len` elements.
    pub(super) fn array_of(
        &self,
        key: &str,
        element: ValueType,
        len: u32,
    ) -> Result<Option<Array>> {
        let array = self.array(key, element)?;
        match &array {
            Some(found) if found.len() != u64::from(len) => Err(self.malformed(
                found.range().start,
                key,
                format_args!("has {} elements for {len} tokens", found.len()),
            )),
            _ => Ok(array),
        }
    }

    /// The error where `key` must be there and is not.
    pub(super) fn missing(&self, key: &str) -> Error {
        self.malformed(0, key, "is missing")
    }

    /// The error where `key` asks for what is not here.
    pub(super) fn unsupported(&self, key: &'static str, found: &str, supported: String) -> Error {
        Error::Unsupported {
            path: self.path.clone(),
            key,
            found: excerpt(found),
            supported,
        }
    }
}

/// The beginning of a text that can be of any length.
pub(super) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut chars = text.chars();
    let mut start: String = chars.by_ref().take(CHARS_MAX).collect();
    if chars.next().is_some() {
        start.push('…');
    }
    start
}
