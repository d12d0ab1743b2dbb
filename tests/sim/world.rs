//! One seed's disk, engine and files, chosen at random.

use crate::field_model::{FieldModel, FileModel};
use crate::random::Random;
use ringfield::sim::{Disk, Faults, Machine, Simulation};
use ringfield::{Engine, Field, OpenOptions};
use std::time::Duration;

/// The name of a file that never fails.
const CLEAN: &str = "clean";

pub(crate) struct World {
    pub(crate) disk: Disk,
    pub(crate) simulation: Simulation,
    pub(crate) machine: Machine,
    pub(crate) files: Vec<FileModel>,
    pub(crate) fields: Vec<(Field, FieldModel)>,
    /// Twice as many pages as there are frames, without faults.
    pub(crate) clean: (Field, FileModel),
    pub(crate) page: u64,
    pub(crate) frames: u64,
    pub(crate) deadline: Option<Duration>,
    pub(crate) shutdown_timeout: Duration,
    /// Reads may be left unanswered.
    pub(crate) never: bool,
    /// Metadata left before the first field was opened, in bytes.
    pub(crate) metadata: u64,
}

impl World {
    pub(crate) fn new(random: &mut Random) -> World {
        let page = random.one_of(&[4096, 4096, 4096, 8192, 16_384, 65_536]);
        let frames = match random.below(4) {
            0 => random.from(4, 8),
            1 => random.from(9, 16),
            _ => random.from(12, 48),
        };
        let deadline = random
            .chance(35)
            .then(|| Duration::from_micros(random.from(100, 20_000)));
        let shutdown_timeout = Duration::from_millis(random.from(0, 50));
        let depth = random.one_of(&[1, 2, 3, 4, 8, 16, 32]);
        let disk = Disk::new(random.next());
        let machine = machine(random, frames, page);
        let mut builder = Engine::builder()
            .page_size(page)
            .dram_budget((frames * page + (64 << 10)).next_multiple_of(2 << 20) + (3 << 20))
            .queue_depth(depth)
            .shutdown_timeout(shutdown_timeout);
        if let Some(deadline) = deadline {
            builder = builder.read_deadline(deadline);
        }
        let mut simulation = Simulation::on(&disk, builder, machine).unwrap();
        assert_eq!(simulation.engine().frames(), frames);
        let metadata = simulation.engine().stats().metadata_left_bytes;

        let files: Vec<_> = (0..random.from(1, 3))
            .map(|k| file(random, &disk, format!("file-{k}"), page, frames))
            .collect();
        let fields = (0..random.from(files.len() as u64, 4))
            .map(|k| {
                let at = k as usize % files.len();
                field(random, &mut simulation, &files[at], at, page, frames)
            })
            .collect();
        let clean = clean(random, &disk, &mut simulation, 2 * frames * page);
        let never = random.chance(25);
        disk.set_faults(faults(random, never));
        World {
            disk,
            simulation,
            machine,
            files,
            fields,
            clean,
            page,
            frames,
            deadline,
            shutdown_timeout,
            never,
            metadata,
        }
    }
}

fn machine(random: &mut Random, frames: u64, page: u64) -> Machine {
    let mut machine = Machine::default();
    machine.frames_max = frames as u32;
    machine.vectored = random.chance(75);
    machine.read_bytes_max = match random.below(3) {
        0 => 1 << 20,
        1 => random.from(8, 256) as u32 * 512,
        _ => random.from(1, 8) as u32 * page as u32,
    };
    if random.chance(40) {
        machine.buffer_bytes = random.from(1, frames) * page;
    }
    if random.chance(20) {
        machine.waiters_max = random.from(1, 6) as u32;
    }
    machine
}

fn file(random: &mut Random, disk: &Disk, name: String, page: u64, frames: u64) -> FileModel {
    let most = 3 * frames * page;
    let len = match random.below(8) {
        0 => random.from(1, page),
        1 => random.from(1, frames) * page,
        _ => random.from(page, most.min(1 << 20)),
    };
    let align = random.one_of(&[512, 512, 4096, 1]);
    let content = random.bytes(len as usize);
    disk.add_file(&name, content.clone(), align).unwrap();
    for _ in 0..random.below(4).saturating_sub(1) {
        let start = random.below(len);
        let end = start + random.from(1, 2 * page);
        disk.break_range(&name, start..end);
    }
    FileModel {
        name,
        content,
        align: u64::from(align),
        len,
    }
}

fn clean(
    random: &mut Random,
    disk: &Disk,
    simulation: &mut Simulation,
    len: u64,
) -> (Field, FileModel) {
    let content = random.bytes(len as usize);
    disk.add_file(CLEAN, content.clone(), 512).unwrap();
    let model = FileModel {
        name: CLEAN.into(),
        content,
        align: 512,
        len,
    };
    (simulation.open(CLEAN).unwrap(), model)
}

fn field(
    random: &mut Random,
    simulation: &mut Simulation,
    file: &FileModel,
    at: usize,
    page: u64,
    frames: u64,
) -> (Field, FieldModel) {
    let mut model = FieldModel {
        file: at,
        len: file.len,
        page,
        align: file.align,
        extent: None,
    };
    let mut options = OpenOptions::new();
    if random.chance(35) {
        let most = (frames / 2).min(6) * page;
        let bytes = match random.below(3) {
            0 => random.from(1, 6).min(frames / 2) * page,
            _ => random.from(page / 4, most),
        };
        let base = random.below(3 * bytes);
        model.extent = Some((bytes, base));
        if model.span() <= frames {
            options = options.extent(bytes).extent_base(base);
        } else {
            model.extent = None;
        }
    }
    (simulation.open_with(&file.name, options).unwrap(), model)
}

/// What goes wrong, and how often: some of everything, or much of one thing.
fn faults(random: &mut Random, never: bool) -> Faults {
    let mut faults = Faults::default();
    if random.chance(10) {
        return faults;
    }
    let mut share = |most: u64| {
        if random.chance(50) {
            random.below(most) as u32
        } else {
            0
        }
    };
    faults.eio = share(60);
    faults.eagain = share(150);
    faults.eintr = share(150);
    faults.short = share(250);
    faults.sliver = share(60);
    faults.early_end = share(20);
    faults.slow = share(60);
    faults.never = if never { 1 + share(40) } else { 0 };
    let least = random.one_of(&[0, 1_000, 50_000]);
    faults.latency_ns = (least, least + random.one_of(&[0, 100_000, 2_000_000]));
    faults
}
