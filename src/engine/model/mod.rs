//! Models that run: from text to tokens and back.

pub(crate) mod tokenizer;
