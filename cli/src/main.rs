//! The `ringfield` command: a demo on the user's own disk, a doctor, and fio jobs side by side.

mod direct;
mod error;
mod interrupt;
mod job;
mod os;
mod size;
fn main() {}
