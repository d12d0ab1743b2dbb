//! An engine on a simulated disk: stepped by its test, or with a thread as usual.

use super::array::ArrayParts;
use super::array::superblocks::Superblocks;
use super::builder::EngineBuilder;
use super::core::{Completer, Core};
use super::{ArrayOptions, Engine, Field, OpenOptions};
use crate::error::{Error, Result};
use crate::ring::device::Device;
use crate::ring::file::OpenFile;
use crate::ring::handle::Ring;
use crate::ring::shared::{Control, Shared};
use crate::ring::sim::{Sim, SimConfig};
use crate::ring::simulated_disk::{DEVICE, Disk};
use crate::ring::spin::SpinGate;
use crate::ring::submission_loop::{Event, Step, SubmissionLoop};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// What a simulated machine can do: the limits that a real kernel or device would set.
///
/// ```
/// let mut machine = ringfield::sim::Machine::default();
/// machine.vectored = false;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Machine {
    /// Frames, at most: a pool smaller than its budget. Default: no limit.
    pub frames_max: u32,
    /// Reads that can wait at once, at most. Default: no limit.
    pub waiters_max: u32,
    /// Largest single read, in bytes. Default: 1 MiB.
    pub read_bytes_max: u32,
    /// Whether one read can fill several places. Default: yes.
    pub vectored: bool,
    /// Bytes of a registered buffer; no read reaches into two. Default: 1 GiB.
    pub buffer_bytes: u64,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            frames_max: u32::MAX,
            waiters_max: u32::MAX,
            read_bytes_max: 1 << 20,
            vectored: true,
            buffer_bytes: 1 << 30,
        }
    }
}

type Loop = SubmissionLoop<Sim, Box<dyn FnMut(Event)>>;

/// An engine whose submission loop runs when [`Simulation::step`] is called, on the calling thread and in virtual time.
///
/// Reads are made with [`Field::read_async`], polled by the test or by [`Simulation::run`]; a blocking read of a page that
/// is not in the pool would wait for ever. Virtual time passes in `step` only, and `read_deadline` is measured in it.
pub struct Simulation {
    engine: Engine,
    ring: Arc<Ring>,
    disk: Disk,
    submission: Loop,
    /// The loop has panicked.
    broken: bool,
    ended: bool,
}

/// How a simulated engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// How long it took, in virtual time.
    pub took: Duration,
    /// Reads that were never answered. A real engine leaks their memory; a simulated one frees it.
    pub reads_lost: usize,
    /// Frames that such reads may still write to.
    pub frames_lost: u64,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("engine", &self.engine)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// An engine on `disk`, on a machine without limits of its own.
    ///
    /// # Errors
    /// Those of [`EngineBuilder::build`].
    pub fn new(disk: &Disk, builder: EngineBuilder) -> Result<Simulation> {
        Simulation::on(disk, builder, Machine::default())
    }

    /// An engine on `disk` and `machine`.
    ///
    /// # Errors
    /// Those of [`EngineBuilder::build`].
    pub fn on(disk: &Disk, builder: EngineBuilder, machine: Machine) -> Result<Simulation> {
        let (core, config) = core(disk, builder, machine)?;
        let shared = Arc::new(Shared::new(core.pool.slots.clone()));
        let ring = Ring::stepped(config.submission, device(), shared.clone());
        let ring = Arc::new(ring);
        core.add_ring(ring.clone());
        let mut completer = Completer::new(core.pool.clone());
        Ok(Simulation {
            engine: Engine { core },
            ring,
            disk: disk.clone(),
            submission: SubmissionLoop::new(
                shared,
                Sim::new(disk, config, None),
                config.submission,
                Arc::new(SpinGate::new(false)),
                Box::new(move |event| completer.handle(event)),
            ),
            broken: false,
            ended: false,
        })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Opens a file of the disk.
    ///
    /// # Errors
    /// [`Error::Open`] where the disk has no such file; [`Error::MetadataBudget`].
    pub fn open(&mut self, name: &str) -> Result<Field> {
        self.open_with(name, OpenOptions::new())
    }

    /// Opens a file of the disk, with options.
    ///
    /// # Errors
    /// As [`Simulation::open`]; those of [`Engine::open_with`] for an extent that cannot be held.
    pub fn open_with(&mut self, name: &str, options: OpenOptions) -> Result<Field> {
        let file = self.disk.open_file(name).map_err(|e| unopened(name, &e))?;
        self.add(file, options)
    }

    /// Opens the array of which these files of the disk are the members.
    ///
    /// # Errors
    /// Those of [`Engine::open_array_with`].
    pub fn open_array(&mut self, names: &[&str], options: ArrayOptions) -> Result<Field> {
        let core = self.engine.core.clone();
        let parts = self.disk.array(&core, names, options)?;
        core.open_parts(parts, |file| self.add_to_ring(file))
    }

    fn add(&mut self, file: OpenFile, options: OpenOptions) -> Result<Field> {
        let core = self.engine.core.clone();
        core.open_file(file, options, |file| self.add_to_ring(file))
    }

    fn add_to_ring(&mut self, file: &Arc<OpenFile>) -> Result<(Arc<Ring>, u32)> {
        let (index, answer) = self.ring.send_file(file);
        self.round(0);
        let added = self.ring.added(index, &answer);
        let index = added.map_err(|e| unopened(&file.path.to_string_lossy(), &e))?;
        Ok((self.ring.clone(), index))
    }

    /// Opens a file of the disk to write to it.
    #[cfg(test)]
    pub(super) fn open_for_writing(&mut self, name: &str) -> Result<Field> {
        let mut file = self.disk.open_file(name).map_err(|e| unopened(name, &e))?;
        file.written = true;
        self.add(file, OpenOptions::new())
    }

    /// One round of the loop. Time passes up to the next thing that happens: an answer of the disk, a deadline, a pause
    /// between two attempts. False where nothing is left to happen.
    pub fn step(&mut self) -> bool {
        self.round(u64::MAX)
    }

    /// One round of the loop, in which no more time passes than `limit`; all of it where nothing happens. False where
    /// nothing is left to happen.
    pub fn step_within(&mut self, limit: Duration) -> bool {
        self.round(self.disk.now_ns() + limit.as_nanos() as u64)
    }

    fn round(&mut self, until_ns: u64) -> bool {
        if self.ended {
            return false;
        }
        if self.broken {
            self.ended = !self.submission.refuse_requests();
            return false;
        }
        self.submission.backend_mut().limit_wait(until_ns);
        self.ended = self.submission.step(true) != Step::Running;
        !self.ended && !self.submission.backend_mut().is_idle()
    }

    /// Runs the loop until `future` is ready. `None` where nothing is left to happen before: the future would never be.
    pub fn run<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let flag = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if flag.0.swap(false, Relaxed)
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                return Some(output);
            }
            if !self.step() && !flag.0.load(Relaxed) {
                return None;
            }
        }
    }

    /// Makes the loop panic, as a bug in it would. Reads that wait fail, and so do those that come.
    pub fn break_loop(&mut self) {
        self.ring.shared.control(Control::Panic);
        if catch_unwind(AssertUnwindSafe(|| self.round(0))).is_err() {
            self.broken = true;
            self.submission.fail_all();
        }
    }

    /// Ends the engine as the last handle of a real one does. Fields, views and futures of it must be gone: what they wait
    /// for does not come any more.
    pub fn shutdown(mut self) -> Shutdown {
        let began_ns = self.disk.now_ns();
        self.ring.shared.control(Control::Stop);
        while !self.ended {
            self.round(u64::MAX);
        }
        let stats = self.engine.stats();
        Shutdown {
            took: Duration::from_nanos(self.disk.now_ns() - began_ns),
            // The pool is still there for the device that answers now.
            reads_lost: self.disk.write_late(),
            frames_lost: stats.frames_lost,
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// An engine with a thread on a simulated disk, whose files [`Engine::open`] does not know: see [`Disk::open`].
///
/// Virtual time runs as fast as the loop can follow. A blocking read measures its `read_deadline` in real time.
///
/// # Errors
/// Those of [`EngineBuilder::build`]; [`Error::Os`] where no thread can be started.
pub fn threaded(disk: &Disk, builder: EngineBuilder, machine: Machine) -> Result<Engine> {
    let (core, config) = core(disk, builder, machine)?;
    let shared = Arc::new(Shared::new(core.pool.slots.clone()));
    let waker = shared.clone();
    let wake = Arc::new(move || {
        waker.wake.wake();
    });
    let backend = Sim::new(disk, config, Some(wake));
    let mut completer = Completer::new(core.pool.clone());
    let ring = Ring::simulated(config, device(), shared, backend, move |event| {
        completer.handle(event)
    });
    let ring =
        ring.map_err(|e| Error::os("starting the submission loop of a simulated disk", &e))?;
    core.add_ring(Arc::new(ring));
    Ok(Engine { core })
}

impl Disk {
    /// Opens a file of this disk for an engine that [`threaded`] made of it.
    ///
    /// # Errors
    /// Those of [`Simulation::open_with`].
    pub fn open(&self, engine: &Engine, name: &str, options: OpenOptions) -> Result<Field> {
        let file = self.open_file(name).map_err(|e| unopened(name, &e))?;
        engine
            .core
            .open_file(file, options, |file| add_to_ring(engine, file))
    }

    /// Opens the array of which these files are the members, for an engine that [`threaded`] made of this disk.
    ///
    /// # Errors
    /// Those of [`Engine::open_array_with`].
    pub fn open_array(
        &self,
        engine: &Engine,
        names: &[&str],
        options: ArrayOptions,
    ) -> Result<Field> {
        let parts = self.array(&engine.core, names, options)?;
        engine
            .core
            .open_parts(parts, |file| add_to_ring(engine, file))
    }

    /// The files of an array, of which the superblocks are read past all faults.
    fn array(&self, core: &Core, names: &[&str], options: ArrayOptions) -> Result<ArrayParts> {
        let member = |name: &&str| {
            let file = self.open_file(name).map_err(|e| unopened(name, &e))?;
            let content = self.content(name).unwrap_or_default();
            let (superblock, damaged) = Superblocks::in_memory(&content).chosen(&file.path)?;
            core.array_file(file, superblock, damaged)
        };
        ArrayParts::of(names.iter().map(member).collect::<Result<_>>()?, options)
    }
}

fn add_to_ring(engine: &Engine, file: &Arc<OpenFile>) -> Result<(Arc<Ring>, u32)> {
    let name = file.path.to_string_lossy();
    let Some(ring) = engine.core.rings().into_iter().next() else {
        return Err(unopened(&name, &std::io::ErrorKind::NotFound.into()));
    };
    let index = ring.add_file(file).map_err(|e| unopened(&name, &e))?;
    Ok((ring, index))
}

/// Makes the submission loops of an engine panic, as a bug in them would, to see that its reads fail instead of hanging.
/// For a stepped engine there is [`Simulation::break_loop`].
pub fn break_loops(engine: &Engine) {
    for ring in engine.core.rings() {
        ring.shared.control(Control::Panic);
    }
}

fn core(disk: &Disk, builder: EngineBuilder, machine: Machine) -> Result<(Arc<Core>, SimConfig)> {
    // A caller cannot read a simulated file by itself.
    let builder = builder.inline_reads(false);
    let parts = builder.parts(machine.frames_max, machine.waiters_max)?;
    let mut core = Core::new(parts);
    core.set_clock(disk.clock());
    let depth = core.config.depth_max();
    let (frames, frame_bytes) = (u64::from(core.pool.frame_count()), core.pool.frame_bytes);
    let config = SimConfig {
        submission: core.loop_config(depth, machine.read_bytes_max.max(4096)),
        arena_bytes: (frames * frame_bytes) as usize,
        vectored: machine.vectored,
        // A page never lies in two buffers.
        buffer_bytes: machine
            .buffer_bytes
            .max(frame_bytes)
            .next_multiple_of(frame_bytes) as usize,
    };
    Ok((Arc::new(core), config))
}

fn device() -> Device {
    Device {
        number: DEVICE,
        name: "sim".into(),
        requests_max: None,
        io_bytes_max: None,
        scattered_bytes_max: None,
        polls: None,
    }
}

fn unopened(name: &str, e: &std::io::Error) -> Error {
    Error::Open {
        path: name.into(),
        errno: e.raw_os_error().unwrap_or(libc::ENOENT),
    }
}
