//! The rival without a queue: `O_DIRECT` `pread`, one thread for each read in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::load::Load;
use super::order::Order;
use super::round::{Latencies, Measured, Round};
use crate::content::read_full;
use crate::direct::{self, Buffer};
use crate::error::{Context, Error, Result};
use crate::interrupt;

/// More threads than this only measure the scheduler.
const THREADS_MAX: u32 = 64;

pub(crate) fn round(load: &Load) -> Result<Round> {
    let (file, direct) = direct::open(&load.path).at("cannot open", &load.path)?;
    let wanted = load.iodepth.saturating_mul(load.numjobs);
    // At least one for each job; otherwise the reads in flight are capped.
    let threads = wanted.min(THREADS_MAX.max(load.numjobs));
    let block = usize::try_from(load.block_bytes).map_err(Error::message)?;
    let orders: Vec<Order> = (0..load.numjobs).map(|job| Order::new(load, job)).collect();
    // The threads of a job share its order of reads, so each block is read as often as by fio.
    let next: Vec<AtomicU64> = orders.iter().map(|_| AtomicU64::new(0)).collect();

    let read = |thread: u32, mut buffer: Buffer, latencies: &mut Latencies| -> Result<()> {
        let job = thread as usize % orders.len();
        let (order, next) = (&orders[job], &next[job]);
        let start = Instant::now();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if !load.goes_on(index, start.elapsed()) || interrupt::requested() {
                return Ok(());
            }
            super::wait_until_due(load, start, index);
            let begin = Instant::now();
            let n = read_full(&file, buffer.bytes(), order.offset(index))
                .at("cannot read", &load.path)?;
            latencies.record(begin.elapsed());
            if n < block {
                return Err(Error::message(format!(
                    "{} became shorter",
                    load.path.display()
                )));
            }
        }
    };
    let measured = Measured::run(threads, |_| Ok(Buffer::new(block)), read)?;
    interrupt::check()?;
    let mut flags = vec![format!("threads={threads}")];
    if threads < wanted {
        flags.push(format!("capped: {wanted} in flight were asked for"));
    }
    flags.push(if direct {
        "O_DIRECT".into()
    } else {
        "buffered: no O_DIRECT here".into()
    });
    Ok(Round {
        backend: "pread".into(),
        flags,
        ..measured.round(load, 0.0)
    })
}
