//! The rival that everybody has: page faults on a fresh mapping, from a cold page cache.
//!
//! Each block is read once, however long the job lasts: a second pass over a file that memory
//! happens to hold would measure memory.

use std::fs::File;
use std::ops::Range;
use std::time::Instant;

use super::load::Load;
use super::order::Order;
use super::round::{Measured, Round};
use crate::cgroup;
use crate::error::{Context, Result};
use crate::interrupt;
use crate::job::Rw;
use crate::os::{self, FileMap, MapAdvice};
use crate::size::Size;

pub(crate) fn round(load: &Load) -> Result<Round> {
    let file = File::open(&load.path).at("cannot open", &load.path)?;
    os::drop_cache(&file);
    let map = FileMap::new(&file, load.region_bytes).at("cannot map", &load.path)?;
    if load.rw == Rw::RandRead {
        map.advise(0..load.region_bytes, MapAdvice::Random);
    }
    let ahead = reads_ahead(load);
    let advice = match (load.rw, ahead) {
        (_, Some(1)) => "MADV_RANDOM, MADV_WILLNEED of each read",
        (_, Some(_)) => "MADV_WILLNEED of each burst",
        (Rw::RandRead, None) => "MADV_RANDOM",
        // The kernel's own read-ahead finds a sequential reader by itself.
        (Rw::Read, None) => "MADV_NORMAL",
    };
    let order = Order::each_once(load);
    let jobs = u64::from(load.numjobs);
    let measured = Measured::run(
        load.numjobs,
        // The jobs share one order, each taking its turn: what one reads no other finds cached.
        |job| Ok(move |index: u64| index * jobs + u64::from(job)),
        |_, turn, latencies| {
            let start = Instant::now();
            for index in (0..).take_while(|&index| turn(index) < load.blocks()) {
                if !load.goes_on(index, start.elapsed()) || interrupt::requested() {
                    break;
                }
                super::wait_until_due(load, start, index);
                if let Some(pause) = load.pause_before(index) {
                    std::thread::sleep(pause);
                }
                let begin = Instant::now();
                for index in announced(ahead, index) {
                    let offset = order.offset(turn(index));
                    map.advise(offset..offset + load.block_bytes, MapAdvice::WillNeed);
                }
                let offset = usize::try_from(order.offset(turn(index))).unwrap_or(0);
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
        advice.to_owned(),
        "depth=1, each block once".to_owned(),
        "cold page cache".to_owned(),
        match cgroup::memory_limit() {
            Some(bytes) => format!("memory limited to {}", Size(bytes)),
            None => "not memory limited".to_owned(),
        },
    ];
    Ok(Round {
        backend: "mmap".into(),
        flags,
        ..measured.round(load, 0.0)
    })
}

/// Reads to announce together, where announcing them beats faulting them in page by page.
fn reads_ahead(load: &Load) -> Option<u64> {
    match (load.burst, load.rw) {
        (Some(burst), _) => Some(u64::from(burst.reads).min(load.blocks())),
        (None, Rw::RandRead) if load.block_bytes >= 16 << 10 => Some(1),
        (None, _) => None,
    }
}

/// The reads to announce before read `index`: all of the group that it is the first of.
fn announced(ahead: Option<u64>, index: u64) -> Range<u64> {
    match ahead {
        Some(ahead) if index.is_multiple_of(ahead) => index..index + ahead,
        _ => 0..0,
    }
}
