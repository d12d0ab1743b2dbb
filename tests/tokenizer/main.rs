//! Tokens are those of llama.cpp, text comes back as it was, and no vocabulary does harm.
#![cfg(test)]

#[path = "../child/mod.rs"]
mod child;
#[path = "../formats/writer.rs"]
#[allow(dead_code)]
mod writer;

mod models;
mod reference;
