//! Model files, read as they are.
//!
//! A parser walks a header once, through the pool, with every length checked against what is there; it keeps where the
//! records begin and leaves their content in the file.

pub(crate) mod charge;
pub(crate) mod cursor;
pub(crate) mod gguf;
pub(crate) mod part;
mod records;
pub(crate) mod safetensors;
