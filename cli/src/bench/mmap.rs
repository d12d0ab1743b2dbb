//! The rival that everybody has: page faults on a fresh mapping, from a cold page cache.

use std::fs::{self, File};
use std::time::Instant;

use super::load::Load;
use super::order::Order;
use super::round::{Measured, Round};
use crate::error::{Context, Result};
use crate::interrupt;
use crate::job::Rw;
use crate::os::{self, FileMap, MapAdvice};

pub(crate) fn round(load: &Load) -> Result<Round> {
    let file = File::open(&load.path).at("cannot open", &load.path)?;
    os::drop_cache(&file);
    let map = FileMap::new(&file, load.region_bytes).at("cannot map", &load.path)?;
    let advice = match load.rw {
        Rw::RandRead => {
            map.advise(0..load.region_bytes, MapAdvice::Random);
            "MADV_RANDOM"
        }
        // The kernel's own read-ahead finds a sequential reader by itself.
        Rw::Read => "MADV_NORMAL",
    };
    let measured = Measured::run(
        load.numjobs,
        |job| Ok(Order::new(load, job)),
        |_, order, latencies| {
            let start = Instant::now();
            for index in 0.. {
                if !load.goes_on(index, start.elapsed()) || interrupt::requested() {
                    break;
                }
                super::wait_until_due(load, start, index);
                if let Some(pause) = load.pause_before(index) {
                    std::thread::sleep(pause);
                }
                announce(load, &map, &order, index);
                let begin = Instant::now();
                let offset = usize::try_from(order.offset(index)).unwrap_or(0);
                let end = offset + usize::try_from(load.block_bytes).unwrap_or(0);
                // One byte of each page: the fault is what is measured, not a copy.
                let touched = map.bytes()[offset..end].iter().step_by(4096).copied();
                std::hint::black_box(touched.fold(0_u8, u8::wrapping_add));
                latencies.record(begin.elapsed());
            }
            Ok(())
        },
    )?;
    interrupt::check()?;
    let flags = vec![
        if load.burst.is_some() {
            "MADV_WILLNEED for each burst".into()
        } else {
            advice.to_owned()
        },
        "depth=1".to_owned(),
        "cold page cache".to_owned(),
        memory_limit().unwrap_or_else(|| "not memory limited".to_owned()),
    ];
    Ok(Round {
        backend: "mmap".into(),
        flags,
        ..measured.round(load, 0.0)
    })
}

/// Says at the start of a burst what the whole burst will need: the best that mmap can do.
fn announce(load: &Load, map: &FileMap, order: &Order, index: u64) {
    let Some(burst) = load.burst.map(|burst| u64::from(burst.reads)) else {
        return;
    };
    if index.is_multiple_of(burst) {
        for index in index..index.saturating_add(burst.min(load.blocks())) {
            let offset = order.offset(index);
            map.advise(offset..offset + load.block_bytes, MapAdvice::WillNeed);
        }
    }
}

/// The memory limit that this process was put under, if any.
fn memory_limit() -> Option<String> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    cgroups
        .lines()
        .find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let file = if controllers.split(',').any(|c| c == "memory") {
                format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")
            } else if controllers.is_empty() {
                format!("/sys/fs/cgroup{path}/memory.max")
            } else {
                return None;
            };
            // Without a limit version 1 shows a number near 2^63 and version 2 shows `max`.
            let bytes: u64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
            (bytes < 1 << 60).then_some(bytes)
        })
        .map(|bytes| format!("memory limited to {}", crate::size::Size(bytes)))
}
