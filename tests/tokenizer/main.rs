//! Tokens are those of llama.cpp, text comes back as it was, and no vocabulary does harm.
#![cfg(test)]

#[path = "../child/mod.rs"]
mod child;
#[path = "../metered/mod.rs"]
mod metered;
#[path = "../formats/writer.rs"]
#[allow(dead_code)]
mod writer;

mod changed;
mod chat;
mod encoding;
mod hostile;
mod models;
mod names;
mod reference;
mod size;
mod text;
mod vocabulary;
mod words;
