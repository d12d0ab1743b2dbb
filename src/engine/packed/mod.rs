//! Models rewritten into packed fields, and back.
//!
//! Packing (`pack`) opens the files of a model (`source`), lays them out anew (`layout`), and writes the pages of an array
//! (`writer`); the tensor index (`index`) says where each tensor's rows (`rows`) have gone. Unpacking goes the other way.

mod gather;
pub(crate) mod index;
mod layout;
mod new_file;
mod opened;
mod pack;
pub(crate) mod roles;
pub(crate) mod rows;
mod source;
mod unpack;
mod window;
mod writer;

pub use index::SourceFormat;
pub(crate) use opened::Placed;
pub use opened::{PackedField, PackedFile, PackedTensor};
pub use pack::{Pack, Packed, Progress};
pub use roles::TensorRole;
