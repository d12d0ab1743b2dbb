//! The `ringfield` command.
fn main() {}
