//! What all handles of an engine share: the pool, the rings, the open fields and the accounts.

use super::builder::Config;
use super::field::{Field, FieldShared, Member, OpenOptions};
use super::fork;
use super::geometry::Geometry;
use super::hits::ThreadCounter;
use super::plan::PlanState;
use crate::error::{Error, Result};
use crate::ring::device::Device;
use crate::ring::fault::Fault;
use crate::ring::file::{Identity, OpenFault, OpenFile};
use crate::ring::grant::Grant;
use crate::ring::handle::{Ring, RingConfig};
use crate::ring::options::{BackendKind, Poll};
use crate::ring::spin::SpinGate;
use crate::ring::submission_loop::depth::DEPTH_AT_FIRST;
use crate::ring::submission_loop::{Event, LoopConfig, SubmissionLoop};
use crate::ring::sys;
use crate::ring::uring::Uring;
use crate::tiers::arena::SCRATCH_BYTES;
use crate::tiers::pool::Pool;
use crate::tiers::wait::BatchWakes;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Largest single read, in bytes, where the device does not ask for less.
const IO_BYTES_MAX: u64 = 1 << 20;
/// Largest read that is polled for, in bytes, where the device does not say: 32 pages of the system.
const SCATTERED_BYTES_MAX: u64 = 128 << 10;
/// Bytes of histograms and accounts of a ring.
const RING_TELEMETRY_BYTES: u64 = 5 * 9216 + 1024;

/// Files are the same field where all of this is the same: the files, the extent and its base, whether they are an array,
/// and whether they are written to.
pub(crate) type FieldIdentity = (Vec<Identity>, Option<u64>, u64, bool, bool);

/// See the module.
pub(crate) struct Core {
    pub(crate) pool: Arc<Pool>,
    pub(crate) config: Config,
    pub(crate) fork_generation: u32,
    pub(crate) build_grants: Vec<Grant>,
    pub(crate) hits: ThreadCounter,
    pub(crate) misses: ThreadCounter,
    /// Bytes pinned at `build()`: arena and metadata, the part for opens included.
    pub(crate) pinned_bytes: u64,
    /// Callers that may read by themselves at once; `None` where they may not.
    pub(crate) inline_readers_max: Option<u32>,
    pub(crate) plan: PlanState,
    pub(crate) spin: Arc<SpinGate>,
    metadata_left: AtomicU64,
    rings: Mutex<Vec<Arc<Ring>>>,
    fields: Mutex<HashMap<FieldIdentity, Weak<FieldShared>>>,
    next_field: AtomicU32,
    /// Virtual time, where the disk is a simulated one.
    #[cfg(feature = "sim")]
    clock_ns: Option<Arc<AtomicU64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a core is made of.
pub(crate) struct CoreParts {
    pub(crate) pool: Arc<Pool>,
    pub(crate) config: Config,
    pub(crate) build_grants: Vec<Grant>,
    pub(crate) pinned_bytes: u64,
    pub(crate) metadata_bytes: u64,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Core {
        // A caller's own read is a `preadv`: where reads go through a mapping, all of them do.
        let inline = parts.config.inline_reads
            && parts.config.read_deadline.is_none()
            && parts.config.backend != BackendKind::Mmap;
        let spin = Arc::new(SpinGate::new(parts.config.spin));
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        Core {
            pool: parts.pool,
            config: parts.config,
            fork_generation: fork::watch(),
            build_grants: parts.build_grants,
            hits: ThreadCounter::new(),
            misses: ThreadCounter::new(),
            pinned_bytes: parts.pinned_bytes,
            inline_readers_max: inline.then_some(processors * 2),
            plan: PlanState::default(),
            spin,
            metadata_left: AtomicU64::new(parts.metadata_bytes),
            rings: Mutex::new(Vec::new()),
            fields: Mutex::new(HashMap::new()),
            next_field: AtomicU32::new(0),
            #[cfg(feature = "sim")]
            clock_ns: None,
        }
    }

    /// The clock that reads are timed with.
    pub(crate) fn now_ns(&self) -> u64 {
        #[cfg(feature = "sim")]
        if let Some(clock_ns) = &self.clock_ns {
            return clock_ns.load(Relaxed);
        }
        sys::now_ns()
    }

    /// From now on time is what `clock_ns` says.
    #[cfg(feature = "sim")]
    pub(crate) fn set_clock(&mut self, clock_ns: Arc<AtomicU64>) {
        self.clock_ns = Some(clock_ns);
    }

    pub(crate) fn busy(&self) -> Error {
        Error::Busy {
            what: "places for waiting reads",
            limit: u64::from(self.config.waiters),
        }
    }

    /// True in a child of the process that built this. There no lock may be taken: another thread may have held it when
    /// the process was forked, and is not there to give it back.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        fork::generation() != self.fork_generation
    }

    /// The rings; none in a forked child.
    pub(crate) fn rings(&self) -> Vec<Arc<Ring>> {
        if self.is_forked() {
            return Vec::new();
        }
        lock(&self.rings).clone()
    }

    /// The fields that are open, each once.
    pub(crate) fn open_fields(&self) -> Vec<Arc<FieldShared>> {
        if self.is_forked() {
            return Vec::new();
        }
        let fields = lock(&self.fields);
        fields.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn metadata_left(&self) -> u64 {
        self.metadata_left.load(Relaxed)
    }

    pub(crate) fn charge(&self, what: impl FnOnce() -> String, need: u64) -> Result<()> {
        self.metadata_left
            .fetch_update(Relaxed, Relaxed, |have| have.checked_sub(need))
            .map(|_| ())
            .map_err(|have| Error::MetadataBudget {
                what: what(),
                need,
                have,
            })
    }

    pub(crate) fn discharge(&self, bytes: u64) {
        self.metadata_left.fetch_add(bytes, Relaxed);
    }

    /// Opens a file, or finds it open.
    pub(crate) fn open(self: &Arc<Self>, path: &Path, options: OpenOptions) -> Result<Field> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let file = self.open_path(path)?;
        self.open_file(file, options, |file| self.add_to_ring(file))
    }

    /// Makes a field of pages of a file that the engine is to write to; see [`OpenFile::for_writing`].
    pub(crate) fn open_for_writing(self: &Arc<Self>, file: File, path: &Path) -> Result<Field> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let file = self.path_for_writing(file, path)?;
        self.open_file(file, OpenOptions::new(), |file| self.add_to_ring(file))
    }

    fn reads_directly(&self) -> bool {
        self.config.backend != BackendKind::Mmap
    }

    /// Opens a file as the backend reads it.
    pub(crate) fn open_path(&self, path: &Path) -> Result<OpenFile> {
        let opened = OpenFile::open(path, self.pool.frame_bytes, self.reads_directly());
        opened.map_err(|fault| not_opened(path, fault))
    }

    /// Opens a file as the backend writes it.
    pub(crate) fn path_for_writing(&self, file: File, path: &Path) -> Result<OpenFile> {
        let (frame_bytes, direct) = (self.pool.frame_bytes, self.reads_directly());
        let opened = OpenFile::for_writing(file, path, frame_bytes, direct);
        opened.map_err(|fault| not_opened(path, fault))
    }

    /// Makes a file known to the ring of its device: the ring, and the file's number there.
    pub(crate) fn add_to_ring(&self, file: &Arc<OpenFile>) -> Result<(Arc<Ring>, u32)> {
        let ring = self.ring_of(file)?;
        let index = ring.add_file(file).map_err(|e| refused(file, &e))?;
        Ok((ring, index))
    }

    /// The field that is open already.
    pub(crate) fn known_field(&self, identity: &FieldIdentity) -> Option<Field> {
        let shared = lock(&self.fields).get(identity)?.upgrade()?;
        Some(Field { shared })
    }

    pub(crate) fn new_field_id(&self) -> u32 {
        self.next_field.fetch_add(1, Relaxed)
    }

    /// Two threads that open the same files at once get two fields; both are right, only pages are not shared.
    pub(crate) fn remember_field(&self, identity: FieldIdentity, shared: FieldShared) -> Field {
        let shared = Arc::new(shared);
        lock(&self.fields).insert(identity, Arc::downgrade(&shared));
        Field { shared }
    }

    /// Makes a field of an open file. `add` makes the file known to a ring: the ring, and the file's index there.
    pub(crate) fn open_file(
        self: &Arc<Self>,
        file: OpenFile,
        options: OpenOptions,
        add: impl FnOnce(&Arc<OpenFile>) -> Result<(Arc<Ring>, u32)>,
    ) -> Result<Field> {
        let identity = (
            vec![file.identity],
            options.extent,
            options.extent_base,
            false,
            file.written,
        );
        if let Some(field) = self.known_field(&identity) {
            return Ok(field);
        }
        let geometry = self.geometry(&file, options)?;
        let name_bytes = file.path.as_os_str().len();
        let charged = (size_of::<FieldShared>() + size_of::<OpenFile>() + name_bytes + 256) as u64;
        self.charge(|| file.path.display().to_string(), charged)?;
        let file = Arc::new(file);
        let (ring, file_index) = match add(&file) {
            Ok(added) => added,
            Err(e) => {
                self.discharge(charged);
                return Err(e);
            }
        };
        let shared = FieldShared {
            core: self.clone(),
            path: file.path.clone(),
            members: Box::new([Some(Member {
                ring,
                file,
                file_index,
            })]),
            array: None,
            complete: true,
            grants: Vec::new(),
            id: self.new_field_id(),
            geometry,
            charged,
        };
        Ok(self.remember_field(identity, shared))
    }

    fn geometry(&self, file: &OpenFile, options: OpenOptions) -> Result<Geometry> {
        let frame_bytes = self.pool.frame_bytes;
        let Some(extent) = options.extent else {
            return Ok(Geometry::pages(file.identity.len, frame_bytes, file.align));
        };
        let geometry = Geometry::extents(
            file.identity.len,
            frame_bytes,
            file.align,
            extent,
            options.extent_base,
        )
        .ok_or_else(|| Error::InvalidOption {
            option: "extent",
            value: extent.to_string(),
            why: "an extent has at least 1 byte and less than 2 GiB".into(),
        })?;
        let frames = u64::from(self.pool.frame_count());
        if u64::from(geometry.span) > frames {
            return Err(Error::RangeTooLarge {
                need: u64::from(geometry.span),
                frames,
            });
        }
        Ok(geometry)
    }

    pub(crate) fn forget_field(&self, field: &FieldShared) {
        self.discharge(field.charged);
        lock(&self.fields).retain(|_, known| known.strong_count() > 0);
    }

    /// The loop of the file's device, started where this is its first file.
    fn ring_of(&self, file: &Arc<OpenFile>) -> Result<Arc<Ring>> {
        let device = Device::of(file.device);
        let mut rings = lock(&self.rings);
        if let Some(ring) = rings
            .iter()
            .find(|ring| ring.device.number == device.number)
        {
            return Ok(ring.clone());
        }
        let mut depth = self.config.depth_max();
        depth = device
            .requests_max
            .map_or(depth, |max| depth.min(max.max(1)));
        let frames = self.pool.frame_count();
        // Where the depth is to be found, it is looked for as far as there is room, with some left for other devices.
        while self.config.queue_depth.is_none()
            && depth > DEPTH_AT_FIRST
            && ring_memory_bytes(depth, frames) > self.metadata_left() / 4
        {
            depth = (depth / 2).max(DEPTH_AT_FIRST);
        }
        let need = ring_memory_bytes(depth, frames);
        self.charge(|| format!("the submission loop of {}", device.name), need)?;
        let submission = self.loop_config(depth, self.io_bytes_max(&device).max(4096));
        let config = RingConfig {
            submission,
            kind: self.config.backend,
            sqpoll_idle_ms: self.config.sqpoll_idle_ms,
            poll: self.config.poll,
            device_polls: device.polls,
            cpus: self.config.cpus.clone(),
            nice: self.config.nice,
            arena_bytes: self.pool.arena.bytes(),
            scratch: self.pool.arena.scratch(),
            scratch_bytes: SCRATCH_BYTES as u32,
            spin: self.spin.clone(),
        };
        let name = device.name.clone();
        let mut completer = Completer::new(self.pool.clone());
        let slots = self.pool.slots.clone();
        let started = Ring::start(config, device, slots, file, move |event| {
            completer.handle(event)
        });
        let ring = started.map(Arc::new).map_err(|e| {
            self.discharge(need);
            let hint = if self.config.backend == BackendKind::Uring {
                " (backend(Uring) was asked for; Auto would fall back to pread)"
            } else {
                ""
            };
            Error::os(format!("starting the submission loop of {name}{hint}"), &e)
        })?;
        rings.push(ring.clone());
        Ok(ring)
    }
}

impl Core {
    /// Largest read of a device, in bytes.
    fn io_bytes_max(&self, device: &Device) -> u32 {
        let mut bytes = device
            .io_bytes_max
            .unwrap_or(IO_BYTES_MAX)
            .min(IO_BYTES_MAX);
        if self.config.poll != Poll::Interrupt {
            // The kernel does not split a read that is polled for: it answers EAGAIN to itself, and tries for ever
            // (seen on Linux 6.1).
            bytes = bytes.min(device.scattered_bytes_max.unwrap_or(SCATTERED_BYTES_MAX));
        }
        bytes as u32
    }

    pub(crate) fn loop_config(&self, depth: u32, io_bytes_max: u32) -> LoopConfig {
        LoopConfig {
            depth,
            find_depth: self.config.queue_depth.is_none(),
            arena: self.pool.address(0),
            frame_bytes: self.pool.frame_bytes,
            io_bytes_max,
            deadline_ns: self.config.read_deadline.map(|d| d.as_nanos() as u64),
            shutdown_ns: self.config.shutdown_timeout.as_nanos() as u64,
        }
    }

    /// Takes a ring that was started elsewhere.
    #[cfg(feature = "sim")]
    pub(crate) fn add_ring(&self, ring: Arc<Ring>) {
        lock(&self.rings).push(ring);
    }
}

fn not_opened(path: &Path, fault: OpenFault) -> Error {
    match fault {
        OpenFault::Kind(kind) => Error::NotAFile {
            path: path.to_path_buf(),
            kind,
        },
        OpenFault::Os(e) => Error::Open {
            path: path.to_path_buf(),
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        },
    }
}

pub(crate) fn refused(file: &OpenFile, e: &std::io::Error) -> Error {
    Error::Open {
        path: file.path.clone(),
        errno: e.raw_os_error().unwrap_or(libc::EIO),
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.is_forked() {
            let rings = self.rings.get_mut();
            for ring in rings.unwrap_or_else(PoisonError::into_inner) {
                ring.abandon();
            }
            // Where the pool was, this process may have memory of its own by now.
            std::mem::forget(self.pool.clone());
        }
    }
}

/// Bytes of memory of one ring and its loop.
pub(crate) fn ring_memory_bytes(depth: u32, frames: u32) -> u64 {
    Uring::memory_bytes(depth)
        + SubmissionLoop::<Uring, fn(Event)>::memory_bytes(depth, frames)
        + RING_TELEMETRY_BYTES
}

/// Makes page states of a loop's events; lives on the loop's thread.
pub(crate) struct Completer {
    pool: Arc<Pool>,
    batches: BatchWakes,
}

impl Completer {
    pub(crate) fn new(pool: Arc<Pool>) -> Completer {
        Completer {
            pool,
            batches: BatchWakes::default(),
        }
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Done { slot, outcome } => {
                self.pool.complete(slot, outcome, &mut self.batches);
            }
            Event::Lost { slot, fault } => self.pool.lose(slot, fault, &mut self.batches),
            Event::Overdue { slot } => {
                self.pool
                    .ops
                    .nudge(self.pool.frame(slot), &mut self.batches);
            }
            Event::Flush => self.batches.flush(),
        }
    }
}

/// True where a fault says nothing about the page: the read may simply start again.
pub(crate) fn is_restart(error: &Error) -> bool {
    matches!(
        error,
        Error::Read {
            fault: Fault::Closed,
            ..
        }
    )
}
