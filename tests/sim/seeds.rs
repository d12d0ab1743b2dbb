//! A random workload against random faults, once a seed.
//!
//! A task is polled when it was woken, and now and then without a reason; reads are dropped in any state; files are
//! truncated under their readers. After every step, and once more at the end, the numbers must add up.

use crate::field_model::{FieldModel, FileModel};
use crate::judge::Case;
use crate::random::Random;
use crate::woken::Task;
use crate::world::World;
use ringfield::sim::{Disk, Faults, Machine, Simulation};
use ringfield::{Error, Field, Plan, ReadFuture, View};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Seeds of a plain `cargo test`; CI asks for more.
const SEEDS: u64 = 300;

#[test]
fn every_seed_delivers_right_bytes_or_a_justified_error() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("RINGFIELD_SIM_SEED") {
        return run(seed, true);
    }
    let seeds: u64 = number("RINGFIELD_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !failed.load(Relaxed) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run(seed, false))).is_err() {
                        failed.store(true, Relaxed);
                        eprintln!(
                            "replay: RINGFIELD_SIM_SEED={seed} cargo test --release --test sim every_seed -- --nocapture"
                        );
                    }
                }
            });
        }
    });
    assert!(
        !failed.load(Relaxed),
        "a seed failed; the command above replays it"
    );
    println!("{seeds} seeds in {:.1?}", began.elapsed());
}

fn run(seed: u64, verbose: bool) {
    let mut random = Random::new(seed);
    let world = World::new(&mut random);
    if verbose {
        println!("{:#?}", world.machine);
        println!(
            "pages of {}, {} frames, deadline {:?}, unanswered reads: {}",
            world.page, world.frames, world.deadline, world.never
        );
        for (_, model) in &world.fields {
            let file = &world.files[model.file];
            println!(
                "{}: {} bytes, aligned to {}, extents {:?}",
                file.name, file.len, file.align, model.extent
            );
        }
    }
    let World {
        disk,
        mut simulation,
        machine,
        mut files,
        fields,
        clean,
        page,
        frames,
        deadline,
        shutdown_timeout,
        never,
        metadata,
    } = world;
    let mut run = Run {
        random,
        verbose,
        disk: &disk,
        simulation: &mut simulation,
        machine,
        files: &mut files,
        fields: &fields,
        frames,
        deadline,
        reads: Vec::new(),
        views: Vec::new(),
        plan: None,
        broken: false,
        begun: 0,
        delivered: 0,
        orphaned: 0,
    };
    run.act();
    if never && run.random.chance(50) {
        run.leave();
        drop((fields, clean));
        end_with_unanswered_reads(simulation, &disk, shutdown_timeout);
    } else if run.random.chance(10) {
        run.fail();
    } else {
        run.settle();
        check_pool(&mut simulation, &disk, &clean, frames, page, machine);
        drop((fields, clean));
        simulation.step_within(Duration::ZERO);
        let left = simulation.engine().stats().metadata_left_bytes;
        assert_eq!(left, metadata, "closed fields give their metadata back");
        let end = simulation.shutdown();
        assert_eq!((end.reads_lost, end.frames_lost), (0, 0));
        assert!(end.took <= shutdown_timeout, "{end:?}");
    }
}

/// A read that has not ended.
struct Reading<'w> {
    task: Task<ReadFuture<'w>>,
    field: usize,
    range: Range<u64>,
    /// Virtual time of the first poll.
    began_ns: Option<u64>,
}

/// A view that is still held.
struct Held<'w> {
    view: View<'w>,
    field: usize,
    range: Range<u64>,
}

struct Run<'w> {
    random: Random,
    verbose: bool,
    disk: &'w Disk,
    simulation: &'w mut Simulation,
    machine: Machine,
    files: &'w mut Vec<FileModel>,
    fields: &'w [(Field, FieldModel)],
    frames: u64,
    deadline: Option<Duration>,
    reads: Vec<Reading<'w>>,
    views: Vec<Held<'w>>,
    plan: Option<Plan>,
    /// The loop has panicked.
    broken: bool,
    /// Reads polled at least once; they end delivered (bytes or an error) or orphaned (dropped).
    begun: u64,
    delivered: u64,
    orphaned: u64,
}

macro_rules! say {
    ($run:expr, $($text:tt)*) => {
        if $run.verbose {
            println!("{:>10} ns  {}", $run.disk.now_ns() - 1_000_000_000, format!($($text)*));
        }
    };
}

impl<'w> Run<'w> {
    /// The workload.
    fn act(&mut self) {
        let actions = self.random.from(40, 800);
        let at_once = self.random.from(1, 24);
        for _ in 0..actions {
            match self.random.below(100) {
                0..30 if (self.reads.len() as u64) < at_once => self.begin_read(),
                0..55 => self.poll_woken(),
                55..58 => self.poll_any(),
                58..64 => self.drop_read(),
                64..75 => self.drop_view(),
                75..80 => self.prefetch(),
                80..82 => self.declare_plan(),
                82..83 => self.cancel_plan(),
                83 if self.random.chance(15) => self.change_file(),
                84 => self.open_and_close(),
                85 => self.stats_add_up(),
                86 => self.read_what_is_there(),
                _ => self.step(),
            }
        }
    }

    fn step(&mut self) {
        let more = match self.random.below(4) {
            0 => self.simulation.step_within(Duration::ZERO),
            1 => {
                let limit = Duration::from_nanos(self.random.below(500_000));
                self.simulation.step_within(limit)
            }
            _ => self.simulation.step(),
        };
        say!(self, "step: {more}");
        self.nobody_is_forgotten();
    }

    /// A read that is overdue has been woken, at the latest after three deadlines: it can wait for one frame after the
    /// other, and for one whose alarm has just been put off.
    fn nobody_is_forgotten(&mut self) {
        let Some(deadline) = self.deadline else {
            return;
        };
        let late = |run: &Run<'_>| {
            let now_ns = run.disk.now_ns();
            let limit_ns = 3 * deadline.as_nanos() as u64;
            run.reads.iter().position(|read| {
                let began_ns = read.began_ns.unwrap_or(now_ns);
                now_ns > began_ns + limit_ns && !read.task.is_woken()
            })
        };
        // The loop looks at the clock once a round.
        for _ in 0..3 {
            if late(self).is_none() {
                return;
            }
            self.simulation.step_within(Duration::ZERO);
        }
        let Some(at) = late(self) else { return };
        let read = &self.reads[at];
        panic!(
            "{:?} is overdue and was not woken, since {:?}",
            read.task, read.began_ns
        );
    }

    fn begin_read(&mut self) {
        let field = self.random.below(self.fields.len() as u64) as usize;
        let range = self.range(field);
        let future = self.fields[field].0.read_async(range.clone());
        self.reads.push(Reading {
            task: Task::new(future),
            field,
            range: range.clone(),
            began_ns: None,
        });
        // Some are never polled before they are dropped.
        if self.random.chance(95) {
            self.poll(self.reads.len() - 1);
        }
    }

    /// Mostly a few units; now and then nothing, everything, or something outside.
    fn range(&mut self, field: usize) -> Range<u64> {
        let model = &self.fields[field].1;
        let unit = model.extent.map_or(model.page, |(bytes, _)| bytes);
        let start = self.random.below(model.len);
        let len = match self.random.below(20) {
            0 => 0,
            1 => model.len,
            2 => return start..start + self.random.below(2 * model.len) + 1,
            3..6 => self.random.below(8 * unit) + 1,
            6..12 => self.random.below(3 * unit) + 1,
            _ => self.random.below(unit) + 1,
        };
        start..(start + len).min(model.len)
    }

    fn poll_woken(&mut self) {
        let woken: Vec<usize> = (0..self.reads.len())
            .filter(|&at| self.reads[at].task.is_woken())
            .collect();
        if let Some(&at) = woken.get(self.random.below(woken.len() as u64) as usize) {
            self.poll(at);
        }
    }

    fn poll_any(&mut self) {
        if !self.reads.is_empty() {
            let at = self.random.below(self.reads.len() as u64) as usize;
            if self.random.chance(50) {
                self.reads[at].task.move_to_another_waker();
            }
            self.poll(at);
        }
    }

    fn poll(&mut self, at: usize) {
        let read = &mut self.reads[at];
        if read.began_ns.is_none() {
            read.began_ns = Some(self.disk.now_ns());
            self.begun += 1;
        }
        let Poll::Ready(outcome) = read.task.poll() else {
            say!(
                self,
                "poll {:?} of field {}: pending",
                self.reads[at].range,
                self.reads[at].field
            );
            return;
        };
        let read = self.reads.swap_remove(at);
        say!(
            self,
            "poll {:?} of field {}: {outcome:?}",
            read.range,
            read.field
        );
        self.delivered += 1;
        match outcome {
            Ok(view) => {
                let held = Held {
                    view,
                    field: read.field,
                    range: read.range,
                };
                self.check_view(&held);
                if self.random.chance(60) {
                    self.views.push(held);
                }
            }
            Err(error) => self.judge(&read, &error),
        }
    }

    fn judge(&self, read: &Reading<'_>, error: &Error) {
        let model = &self.fields[read.field].1;
        let began_ns = read.began_ns.unwrap_or_default();
        Case {
            disk: self.disk,
            file: &self.files[model.file],
            field: model,
            range: &read.range,
            frames: self.frames,
            deadline: self.deadline,
            waited: Duration::from_nanos(self.disk.now_ns() - began_ns),
            few_waiters: self.machine.waiters_max < 64,
            broken: self.broken,
        }
        .judge(error);
    }

    fn check_view(&self, held: &Held<'_>) {
        let (field, model) = &self.fields[held.field];
        let content = &self.files[model.file].content;
        let right = &content[held.range.start as usize..held.range.end as usize];
        let view = &held.view;
        assert_eq!((view.start(), view.len()), (held.range.start, right.len()));
        let mut at = 0;
        for chunk in view.chunks() {
            if right.get(at..at + chunk.len()) != Some(chunk) {
                self.explain(right, at, chunk);
                panic!("wrong bytes in {field:?}, {:?}", held.range);
            }
            at += chunk.len();
        }
        assert_eq!(
            at,
            right.len(),
            "the chunks of {field:?} are all of {:?}",
            held.range
        );
        let units = model.units(&held.range);
        assert_eq!(view.as_slice().is_some(), units.end - units.start <= 1);
    }

    /// Where the first wrong bytes of a chunk come from.
    fn explain(&self, right: &[u8], at: usize, chunk: &[u8]) {
        let wrong = (0..chunk.len())
            .find(|&k| right.get(at + k) != Some(&chunk[k]))
            .unwrap_or(0);
        let sample = &chunk[wrong..(wrong + 16).min(chunk.len())];
        println!("bytes {} of the view are {sample:02x?}", at + wrong);
        for file in self.files.iter() {
            if let Some(place) = file.content.windows(sample.len()).position(|w| w == sample) {
                println!("they belong to {} at {place}", file.name);
            }
        }
        for answer in self.disk.log().iter().rev().take(12).rev() {
            println!("{answer:?}");
        }
    }

    /// Pages in the pool are read without waiting.
    fn read_what_is_there(&mut self) {
        let at = self.random.below(self.fields.len() as u64) as usize;
        let range = self.range(at);
        let field = &self.fields[at].0;
        if field.is_resident(range.clone()) {
            let view = field.read(range.clone()).expect("it is in the pool");
            say!(self, "found {range:?} of field {at}");
            let held = Held {
                view,
                field: at,
                range,
            };
            self.check_view(&held);
        }
    }

    fn drop_read(&mut self) {
        if !self.reads.is_empty() {
            let at = self.random.below(self.reads.len() as u64) as usize;
            let read = self.reads.swap_remove(at);
            say!(self, "drop read {:?} of field {}", read.range, read.field);
            self.orphaned += u64::from(read.began_ns.is_some());
        }
    }

    fn drop_view(&mut self) {
        if !self.views.is_empty() {
            let at = self.random.below(self.views.len() as u64) as usize;
            let held = self.views.swap_remove(at);
            say!(self, "drop view {:?} of field {}", held.range, held.field);
            self.check_view(&held);
        }
    }

    fn prefetch(&mut self) {
        let field = self.random.below(self.fields.len() as u64) as usize;
        let ranges: Vec<_> = (0..self.random.from(1, 3))
            .map(|_| self.range(field))
            .collect();
        let queued = self.fields[field].0.prefetch(&ranges);
        say!(self, "prefetch {ranges:?} of field {field}: {queued}");
    }

    fn declare_plan(&mut self) {
        let ranges: Vec<_> = (0..self.random.from(1, 6))
            .map(|_| {
                let field = self.random.below(self.fields.len() as u64) as usize;
                let range = self.range(field);
                self.fields[field].0.at(range)
            })
            .collect();
        let plan = self.simulation.engine().plan(&ranges);
        say!(self, "plan {ranges:?}: {} queued", plan.queued());
        self.plan = Some(plan);
    }

    fn cancel_plan(&mut self) {
        if let Some(plan) = self.plan.take() {
            say!(self, "cancel plan");
            plan.cancel();
        }
    }

    /// Cuts a file or appends to it, once: what was cut off must not come back as zeros.
    fn change_file(&mut self) {
        let at = self.random.below(self.files.len() as u64) as usize;
        let file = &mut self.files[at];
        if !file.is_changed() {
            file.len = self.random.below(2 * file.len);
            self.disk.set_len(&file.name, file.len);
            say!(
                self,
                "{} has {} bytes now",
                self.files[at].name,
                self.files[at].len
            );
        }
    }

    /// A field that is closed while it is being read ahead.
    fn open_and_close(&mut self) {
        let at = self.random.below(self.files.len() as u64) as usize;
        let file = &self.files[at];
        if file.is_changed() {
            return;
        }
        say!(self, "open {}, prefetch, close", file.name);
        // An extent that no other field has: with the same options the open one would be found.
        let options = ringfield::OpenOptions::new().extent(1 + self.random.below(3000));
        let field = self.simulation.open_with(&file.name, options).unwrap();
        field.prefetch(&[self.random.below(file.len)..file.len]);
        if self.random.chance(50) {
            self.simulation.step_within(Duration::ZERO);
        }
    }

    fn stats_add_up(&self) {
        let stats = self.simulation.engine().stats();
        assert_eq!(stats.frames, self.frames);
        assert!(stats.frames_resident + stats.frames_loading + stats.frames_lost <= stats.frames);
        assert!(stats.frames_pinned <= stats.frames, "{stats:?}");
        assert_eq!(stats.ios, self.disk.log().len() as u64);
        let submitted = self.disk.reads_submitted();
        assert_eq!(submitted, stats.ios + self.disk.reads_in_flight() as u64);
    }

    /// Every read ends: nothing fails from here on, and whatever was held back is answered.
    fn settle(mut self) {
        say!(self, "settle");
        self.disk.set_faults(Faults::default());
        self.disk.release();
        let mut rounds = 0;
        while !self.reads.is_empty() {
            let woken = self
                .reads
                .iter()
                .position(|read| read.task.is_woken() || read.began_ns.is_none());
            match woken {
                Some(at) => self.poll(at),
                None => {
                    let more = self.simulation.step();
                    let stuck = !more && !self.reads.iter().any(|read| read.task.is_woken());
                    assert!(
                        !stuck,
                        "{} reads wait for nothing: {:?}",
                        self.reads.len(),
                        self.reads[0].task
                    );
                }
            }
            // Views give way, or reads may find the pool pinned for ever.
            if rounds % 8 == 7 {
                self.drop_view();
            }
            rounds += 1;
            assert!(rounds < 100_000, "reads end in a bounded number of rounds");
        }
        while !self.views.is_empty() {
            self.drop_view();
        }
        assert_eq!(self.begun, self.delivered + self.orphaned);
        // Read ahead, planned or orphaned: it all comes in.
        while self.simulation.step() {
            rounds += 1;
            assert!(rounds < 200_000, "reads end in a bounded number of rounds");
        }
        self.cancel_plan();
        self.stats_add_up();
        let stats = self.simulation.engine().stats();
        assert_eq!(
            (stats.frames_pinned, stats.frames_loading, stats.frames_lost),
            (0, 0, 0)
        );
        assert_eq!(self.disk.reads_in_flight(), 0);
    }

    /// The loop panics: whoever waits is told.
    fn fail(mut self) {
        say!(self, "the loop panics");
        self.simulation.break_loop();
        self.broken = true;
        self.reads.retain(|read| read.began_ns.is_some());
        let mut polls = 0;
        while let Some(at) = self.reads.iter().position(|read| read.task.is_woken()) {
            self.poll(at);
            self.simulation.step();
            polls += 1;
            assert!(polls < 10_000, "reads end in a bounded number of polls");
        }
        assert!(
            self.reads.is_empty(),
            "reads hang: {:?}",
            self.reads[0].task
        );
        while !self.views.is_empty() {
            self.drop_view();
        }
        assert_eq!(self.begun, self.delivered + self.orphaned);
        let stats = self.simulation.engine().stats();
        assert_eq!((stats.frames_pinned, stats.frames_loading), (0, 0));
        assert!(stats.frames_lost >= (self.disk.reads_in_flight() as u64).min(1));
    }

    /// Everybody goes, whatever is in flight.
    fn leave(mut self) {
        say!(self, "leave");
        while !self.reads.is_empty() {
            self.drop_read();
        }
        while !self.views.is_empty() {
            self.drop_view();
        }
        self.cancel_plan();
        assert_eq!(self.begun, self.delivered + self.orphaned);
        let stats = self.simulation.engine().stats();
        assert_eq!(stats.frames_pinned, 0);
    }
}

/// All frames can be had again, all but a quarter by prefetch, and all waiters' places are free.
fn check_pool(
    simulation: &mut Simulation,
    disk: &Disk,
    clean: &(Field, FileModel),
    frames: u64,
    page: u64,
    machine: Machine,
) {
    let (field, model) = clean;
    let whole = frames * page;
    // At once: some engines have a deadline.
    let mut instant = Faults::default();
    instant.latency_ns = (0, 0);
    disk.set_faults(instant);
    let view = simulation.run(field.read_async(0..whole));
    let view = view
        .expect("a read of the whole pool ends")
        .expect("and succeeds");
    assert!(
        view.to_vec() == model.content[..whole as usize],
        "wrong bytes in the clean file"
    );
    let stats = simulation.engine().stats();
    assert_eq!(
        (stats.frames_pinned, stats.frames_resident),
        (frames, frames)
    );
    drop(view);

    // One page is not there: all places wait for it.
    let wanted = whole..whole + 1;
    let places = u64::from(machine.waiters_max).min(8);
    let mut tasks: Vec<_> = (0..places)
        .map(|_| Task::new(field.read_async(wanted.clone())))
        .collect();
    for task in &mut tasks {
        assert!(
            task.poll().is_pending(),
            "there are {places} places for waiting reads"
        );
    }
    if u64::from(machine.waiters_max) == places {
        let mut one_more = Task::new(field.read_async(wanted.clone()));
        assert!(matches!(
            one_more.poll(),
            Poll::Ready(Err(Error::Busy { .. }))
        ));
    }
    while simulation.step() {}
    for mut task in tasks {
        assert!(task.is_woken());
        assert!(matches!(task.poll(), Poll::Ready(Ok(_))));
    }

    let room = frames - frames / 4;
    let queued = field.prefetch(&[whole + page..2 * whole]);
    assert_eq!(
        queued as u64,
        room.min(frames - 1),
        "prefetch takes all but a quarter"
    );
    while simulation.step() {}
    let stats = simulation.engine().stats();
    assert_eq!((stats.frames_pinned, stats.frames_loading), (0, 0));
    assert_eq!(disk.reads_in_flight(), 0);
}

/// Shutdown does not wait for ever, and what the device may still write to is still there.
fn end_with_unanswered_reads(simulation: Simulation, disk: &Disk, timeout: Duration) {
    let end = simulation.shutdown();
    assert!(end.took <= timeout, "{end:?} within {timeout:?}");
    assert!(
        end.reads_lost as u64 <= end.frames_lost.max(end.reads_lost as u64),
        "{end:?}"
    );
    assert_eq!(end.reads_lost > 0, end.frames_lost > 0, "{end:?}");
    assert_eq!(
        disk.reads_in_flight(),
        0,
        "a simulated engine leaves nothing behind"
    );
}
