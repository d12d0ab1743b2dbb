//! Values of a file's metadata. Scalars are read when they are asked for; arrays stay in the file.

use super::header::FORMAT;
use crate::engine::formats::cursor::{Cursor, Source};
use crate::engine::formats::part::Part;
use crate::error::Result;
use std::ops::Range;

/// Type of a metadata value, by GGUF's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

use ValueType as V;

impl ValueType {
    pub(super) fn of(code: u32) -> Option<ValueType> {
        const ALL: [ValueType; 13] = [
            V::U8,
            V::I8,
            V::U16,
            V::I16,
            V::U32,
            V::I32,
            V::F32,
            V::Bool,
            V::String,
            V::Array,
            V::U64,
            V::I64,
            V::F64,
        ];
        ALL.get(code as usize).copied()
    }

    /// Bytes of a value, where all values of the type have as many.
    pub(super) fn bytes(self) -> Option<u64> {
        match self {
            V::U8 | V::I8 | V::Bool => Some(1),
            V::U16 | V::I16 => Some(2),
            V::U32 | V::I32 | V::F32 => Some(4),
            V::U64 | V::I64 | V::F64 => Some(8),
            V::String | V::Array => None,
        }
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            V::U8 => "u8",
            V::I8 => "i8",
            V::U16 => "u16",
            V::I16 => "i16",
            V::U32 => "u32",
            V::I32 => "i32",
            V::F32 => "f32",
            V::Bool => "bool",
            V::String => "string",
            V::Array => "array",
            V::U64 => "u64",
            V::I64 => "i64",
            V::F64 => "f64",
        })
    }
}

/// A metadata value.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    /// A string that is not UTF-8.
    Bytes(Vec<u8>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => Some(n),
            Value::I8(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// A floating-point number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            _ => None,
        }
    }

    /// True or false.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// An array of a file's metadata, such as a vocabulary. It stays in the file: its elements are read through the pool.
#[derive(Debug, Clone)]
pub struct Array {
    part: Part,
    element: ValueType,
    len: u64,
    range: Range<u64>,
}

impl Array {
    /// Elements.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True where there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Type of the elements: never an array.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// Where the elements lie in their field, in bytes. Numbers are little-endian, one after the other; a string is its
    /// length in eight bytes and its bytes.
    pub fn range(&self) -> Range<u64> {
        self.part.base + self.range.start..self.part.base + self.range.end
    }

    /// The elements in their order.
    ///
    /// # Errors
    /// Each can fail as [`crate::Field::read`] does; the iterator ends with the first that does.
    pub fn iter(&self) -> ArrayIter<'_> {
        ArrayIter {
            array: self,
            cursor: Cursor::new(&self.part, FORMAT, self.range.start, self.range.end),
            left: self.len,
        }
    }
}

impl<'a> IntoIterator for &'a Array {
    type Item = Result<Value>;
    type IntoIter = ArrayIter<'a>;
    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

/// Reads an array's elements in their order.
pub struct ArrayIter<'a> {
    array: &'a Array,
    cursor: Cursor<'a, Part>,
    left: u64,
}

impl std::fmt::Debug for ArrayIter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrayIter")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Iterator for ArrayIter<'_> {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Result<Value>> {
        self.left = self.left.checked_sub(1)?;
        let value = read(&self.array.part, &mut self.cursor, self.array.element);
        if value.is_err() {
            self.left = 0;
        }
        Some(value)
    }
}

/// Steps over a value; returns its type.
pub(super) fn skip<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<ValueType> {
    let at = cursor.at();
    let kind = value_type(cursor)?;
    match kind {
        V::Array => {
            skip_array(cursor)?;
        }
        V::Bool => check_bool(cursor, at)?,
        V::String => {
            cursor.string("a string")?;
        }
        _ => {
            cursor.skip("a value", kind.bytes().unwrap_or(0))?;
        }
    }
    Ok(kind)
}

fn value_type<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<ValueType> {
    let at = cursor.at();
    let code = cursor.u32("a value's type")?;
    ValueType::of(code)
        .ok_or_else(|| cursor.malformed(at, format!("a value has the unknown type {code}")))
}

fn check_bool<S: Source>(cursor: &mut Cursor<'_, S>, at: u64) -> Result<()> {
    let [byte] = cursor.array("a bool")?;
    if byte > 1 {
        return Err(cursor.malformed(at, format!("a bool is {byte}, not 0 or 1")));
    }
    Ok(())
}

/// Steps over an array's header and its elements: their type, number and place.
fn skip_array<S: Source>(cursor: &mut Cursor<'_, S>) -> Result<(ValueType, u64, Range<u64>)> {
    let at = cursor.at();
    let element = value_type(cursor)?;
    let len = cursor.u64("an array's length")?;
    let start = cursor.at();
    match element {
        V::Array => {
            return Err(cursor.malformed(at, "an array of arrays, which no model has"));
        }
        V::String => {
            // Each has at least its length.
            if len > cursor.left() / 8 {
                return Err(too_long(cursor, at, len));
            }
            for _ in 0..len {
                cursor.string("a string of an array")?;
            }
        }
        V::Bool => {
            if len > cursor.left() {
                return Err(too_long(cursor, at, len));
            }
            for _ in 0..len {
                let at = cursor.at();
                check_bool(cursor, at)?;
            }
        }
        _ => {
            let bytes = len.checked_mul(element.bytes().unwrap_or(1));
            let Some(bytes) = bytes.filter(|&bytes| bytes <= cursor.left()) else {
                return Err(too_long(cursor, at, len));
            };
            cursor.skip("an array", bytes)?;
        }
    }
    Ok((element, len, start..cursor.at()))
}

fn too_long<S: Source>(cursor: &Cursor<'_, S>, at: u64, len: u64) -> crate::Error {
    cursor.malformed(
        at,
        format!(
            "an array of {len} elements does not fit the {} bytes that are left",
            cursor.left()
        ),
    )
}

/// Reads the value that the cursor stands before, its type included.
pub(super) fn read_typed(part: &Part, cursor: &mut Cursor<'_, Part>) -> Result<Value> {
    let kind = value_type(cursor)?;
    read(part, cursor, kind)
}

fn read(part: &Part, cursor: &mut Cursor<'_, Part>, kind: ValueType) -> Result<Value> {
    const WHAT: &str = "a value";
    Ok(match kind {
        V::U8 => Value::U8(u8::from_le_bytes(cursor.array(WHAT)?)),
        V::I8 => Value::I8(i8::from_le_bytes(cursor.array(WHAT)?)),
        V::U16 => Value::U16(u16::from_le_bytes(cursor.array(WHAT)?)),
        V::I16 => Value::I16(i16::from_le_bytes(cursor.array(WHAT)?)),
        V::U32 => Value::U32(u32::from_le_bytes(cursor.array(WHAT)?)),
        V::I32 => Value::I32(i32::from_le_bytes(cursor.array(WHAT)?)),
        V::F32 => Value::F32(f32::from_le_bytes(cursor.array(WHAT)?)),
        V::Bool => Value::Bool(cursor.array::<1>(WHAT)? != [0]),
        V::U64 => Value::U64(u64::from_le_bytes(cursor.array(WHAT)?)),
        V::I64 => Value::I64(i64::from_le_bytes(cursor.array(WHAT)?)),
        V::F64 => Value::F64(f64::from_le_bytes(cursor.array(WHAT)?)),
        V::String => {
            let range = cursor.string("a string")?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            part.read(range.start, &mut bytes)?;
            match String::from_utf8(bytes) {
                Ok(text) => Value::String(text),
                Err(e) => Value::Bytes(e.into_bytes()),
            }
        }
        V::Array => {
            let (element, len, range) = skip_array(cursor)?;
            Value::Array(Array {
                part: part.clone(),
                element,
                len,
                range,
            })
        }
    })
}
