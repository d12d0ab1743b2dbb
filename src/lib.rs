//! ringfield serves neural weights bigger than memory straight from SSDs, inside a latency-critical host process.
//!
//! It owns its I/O: one submission loop per device reads with `O_DIRECT` through an io_uring into one pinned pool of pages,
//! whose size is a hard budget, and hands out views of those pages without a copy.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?; let path = dir.path().join("weights.bin");
//! # std::fs::write(&path, vec![7u8; 300_000])?;
//! let engine = ringfield::Engine::builder()
//!     .dram_budget(16 << 20) // bytes; a hard ceiling, pool and metadata
//!     .page_size(64 << 10) // bytes; a power of two
//!     .build()?;
//! let field = engine.open(&path)?; // any regular file or block device, as it is
//!
//! // One range, waited for: pinned while the view lives.
//! let view = field.read(70_000..200_000)?;
//! let sum: u64 = view.chunks().flatten().map(|&byte| u64::from(byte)).sum();
//! assert_eq!(sum, 7 * 130_000);
//!
//! // Many ranges, one submission; the batch is used again and again.
//! let mut batch = engine.batch(64)?;
//! field.read_many(&[0..4096, 250_000..251_000], &mut batch)?;
//! assert_eq!(batch.view(1)?.len(), 1000);
//!
//! println!("{}", engine.report()); // what the machine granted, what not, why, and how to get it
//! println!("{}", engine.stats()); // what happened
//! # Ok(()) }
//! ```
//!
//! | for | see |
//! |---|---|
//! | choosing limits | [`EngineBuilder`] |
//! | opening files | [`Engine::open`], [`Engine::open_with`] (extents); [`Gguf`], [`SafeTensors`] (models as they are) |
//! | reading | [`Field::read`], [`Field::read_many`], [`Batch`] (a window that slides), [`Field::read_async`] |
//! | running models | [`Model`], [`Session`], [`Sampling`]; text to tokens and back: [`Tokenizer`], [`Decoder`] |
//! | arithmetic alone | [`kernels`] |
//! | saying what comes next | [`Field::prefetch`] (a hint), [`Engine::plan`] (exact knowledge) |
//! | what was granted, what happened | [`Engine::report`], [`Engine::stats`] |
//! | what can go wrong | [`Error`] |
//!
//! Inside, `ring` moves bytes, `tiers` decides where a page lives, `kernels` computes, and `engine` puts them together;
//! ARCHITECTURE.md in the repository says how and why.
//!
//! The engine is for Linux. Other systems, WebAssembly among them, have [`kernels`] alone.
// The model checker looks at the ring's and the pool's state machines alone.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(all(target_os = "linux", not(loom)))]
mod engine;
#[cfg(target_os = "linux")]
mod error;
pub mod kernels;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(target_os = "linux")]
mod sync;
#[cfg(target_os = "linux")]
mod tiers;

#[cfg(all(target_os = "linux", not(loom)))]
pub use engine::{
    Arithmetic, Array, ArrayIter, ArrayOptions, Batch, Cancel, Chunks, Damage, Dtype, Engine,
    EngineBuilder, Field, FieldRange, Finish, Generation, Gguf, KvFormat, LaneStats, Model,
    ModelOptions, ModelPlan, ModelStats, OpenOptions, Pack, Packed, PackedField, PackedFile,
    PackedInfo, PackedTensor, Plan, Prefetch, Progress, ReadFuture, Ready, Report, SafeTensor,
    SafeTensors, Sampling, Session, SessionOptions, SourceFormat, Spin, Stats, Tensor, TensorRole,
    TensorType, Value, ValueType, Verified, Verify, View,
};
#[cfg(all(target_os = "linux", not(loom)))]
pub use engine::{Decoder, EncodeOptions, Message, Role, Tokenizer};
#[cfg(target_os = "linux")]
pub use error::{Error, Result};
#[cfg(target_os = "linux")]
pub use ring::fault::Fault;
#[cfg(target_os = "linux")]
pub use ring::grant::Grant as ReportRow;
#[cfg(all(target_os = "linux", not(loom)))]
pub use ring::options::{BackendKind, Poll};
#[cfg(target_os = "linux")]
pub use tiers::arena::HugePages;
#[cfg(target_os = "linux")]
pub use tiers::eviction::Eviction;

#[cfg(all(target_os = "linux", feature = "sim", not(loom)))]
pub mod sim {
    //! A disk in memory that fails as it is told to, for tests of a host that links ringfield and of ringfield itself.
    //! Only with the feature `sim`.
    //!
    //! A [`Disk`] has files, faults and virtual time, all of it determined by a seed. A [`Simulation`] is an engine on
    //! such a disk without a thread: the test calls [`Simulation::step`], so that every run of a seed is the same run.
    //! [`threaded`] gives an engine as a host knows it, with a thread, on the same disk.
    //!
    //! Whatever the engine does, the simulated device checks what it is promised: no two reads or writes in flight share
    //! memory, all of it lies inside the pool, offsets and lengths are aligned, no more of them are in flight than the depth,
    //! and what is being written does not change. A
    //! broken promise is a panic in the test. The memory of a read is poisoned when the read is submitted and filled only
    //! when it is answered, so that a page that is used too early shows wrong bytes.
    //!
    //! ```
    //! use ringfield::Engine;
    //! use ringfield::sim::{Disk, Simulation};
    //!
    //! # fn main() -> Result<(), Box<dyn std::error::Error>> {
    //! let disk = Disk::new(7);
    //! let content: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    //! disk.add_file("weights", content.clone(), 512)?;
    //! disk.break_range("weights", 8192..8193);
    //!
    //! let builder = Engine::builder().dram_budget(8 << 20).page_size(4096);
    //! let mut simulation = Simulation::new(&disk, builder)?;
    //! let weights = simulation.open("weights")?;
    //!
    //! // One bad sector fails its page and no other.
    //! let bad = simulation.run(weights.read_async(8000..9000));
    //! assert!(matches!(bad, Some(Err(ringfield::Error::Read { page: 2, .. }))));
    //! let good = simulation.run(weights.read_async(0..8192)).ok_or("nothing left to happen")??;
    //! assert_eq!(good.to_vec(), &content[..8192]);
    //! # Ok(()) }
    //! ```
    pub use crate::engine::simulation::{Machine, Shutdown, Simulation, break_loops, threaded};
    pub use crate::ring::simulated_disk::{Answer, Answered, Disk, Faults};

    use crate::engine::array::superblocks::Superblocks;
    use crate::engine::formats::{cursor::Memory, gguf, safetensors};
    use crate::engine::packed::index as packed_index;

    /// Parses a GGUF header that lies in memory, as [`crate::Gguf::open`] does: tensors, keys, bytes of the header.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn parse_gguf(file: &[u8]) -> crate::Result<(usize, usize, u64)> {
        gguf::parse(&Memory(file))
    }

    /// Parses a safetensors header that lies in memory, as [`crate::SafeTensors::open`] does: tensors, bytes of the header.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn parse_safetensors(file: &[u8]) -> crate::Result<(usize, u64)> {
        safetensors::parse(&Memory(file))
    }

    /// Parses all of a tensor index that lies in memory, as [`crate::PackedField::of`] and its methods do, of a field of
    /// `room` bytes in pages of `page_bytes`: files and entries.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn parse_packed_index(
        index: &[u8],
        room: u64,
        page_bytes: u64,
    ) -> crate::Result<(usize, usize)> {
        let content = packed_index::parse(Memory(index), room, page_bytes)?;
        Ok((content.files.len(), content.entries.len()))
    }

    /// Reads both superblocks of a member that lies in memory, as [`crate::Engine::open_array`] does: which member it is,
    /// of how many.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn parse_superblock(member: &[u8]) -> crate::Result<(u32, u32)> {
        let both = Superblocks::in_memory(member);
        let (superblock, _) = both.chosen(std::path::Path::new("memory"))?;
        Ok((superblock.member, superblock.members))
    }
}

#[cfg(all(target_os = "linux", not(loom)))]
const _: () = {
    const fn send_sync<T: Send + Sync>() {}
    const fn send<T: Send>() {}
    send_sync::<Engine>();
    send_sync::<Field>();
    send_sync::<Error>();
    send_sync::<View<'_>>();
    send::<Batch>();
    send::<ReadFuture<'_>>();
    send::<Plan>();
    send_sync::<Tokenizer>();
};
