//! Model files: real ones read right through every backend, and hostile ones are typed errors.
#![cfg(test)]

#[path = "../child/mod.rs"]
mod child;
#[path = "../content/mod.rs"]
mod content;
#[path = "../metered/mod.rs"]
mod metered;

mod elements;
mod hostile_gguf;
mod hostile_safetensors;
mod models;
mod mutation;
mod mutations;
mod split;
mod writer;
