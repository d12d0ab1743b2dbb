//! What one engine did in one round, and the meter that all in-process engines share.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::load::Load;
use crate::error::{Error, Result};
use crate::os;

/// Latency of a read from handing it over to having its bytes, as fio's `lat`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LatUs {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// One engine in one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    pub(crate) iops: f64,
    pub(crate) bw_bytes: f64,
    pub(crate) lat_us: LatUs,
    pub(crate) cpu_us_per_io: f64,
    pub(crate) backend: String,
    /// What was granted and what a reader of the row must know.
    pub(crate) flags: Vec<String>,
    /// Share of reads into registered buffers; `None` where there is no such thing.
    pub(crate) fixed_buffer_share: Option<f64>,
    pub(crate) iowq_threads: u32,
    /// Share of reads that no device served: left out of `iops` and `bw_bytes`.
    pub(crate) hit_share: f64,
}

/// Nanosecond latencies with three significant digits up to a minute.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    const MAX_NS: u64 = 60_000_000_000;

    /// # Errors
    /// None in practice: the bounds are constants that the histogram accepts.
    pub(crate) fn new() -> Result<Latencies> {
        Histogram::new_with_bounds(1, Self::MAX_NS, 3)
            .map(Latencies)
            .map_err(Error::message)
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(ns.clamp(1, Self::MAX_NS));
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn us(&self) -> LatUs {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        LatUs {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }

    fn add(&mut self, other: &Latencies) -> Result<()> {
        self.0.add(&other.0).map_err(Error::message)
    }
}

/// What all threads of an engine did together.
pub(crate) struct Measured {
    pub(crate) latencies: Latencies,
    elapsed: Duration,
    cpu: Duration,
}

impl Measured {
    /// Runs `threads` copies of `body`, each told its number, from a common start, and counts
    /// their time, CPU and latencies. Whatever each needs is made by `prepare`, before the start.
    ///
    /// # Errors
    /// The first error of any thread.
    pub(crate) fn run<P: Send>(
        threads: u32,
        prepare: impl Fn(u32) -> Result<P>,
        body: impl Fn(u32, P, &mut Latencies) -> Result<()> + Sync,
    ) -> Result<Measured> {
        let start_line = Barrier::new(threads as usize + 1);
        let prepared: Vec<P> = (0..threads).map(prepare).collect::<Result<_>>()?;
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .zip(prepared)
                .map(|(number, prepared)| {
                    let (start_line, body) = (&start_line, &body);
                    scope.spawn(move || {
                        let latencies = Latencies::new();
                        start_line.wait();
                        let mut latencies = latencies?;
                        body(number, prepared, &mut latencies).map(|()| latencies)
                    })
                })
                .collect();
            let cpu_before = os::cpu_time();
            start_line.wait();
            let start = Instant::now();
            let mut latencies = Latencies::new()?;
            for thread in running {
                let of_thread = thread
                    .join()
                    .map_err(|_| Error::message("a thread of the run died"))?;
                latencies.add(&of_thread?)?;
            }
            let cpu = os::cpu_time().saturating_sub(cpu_before);
            Ok(Measured {
                latencies,
                elapsed: start.elapsed(),
                cpu,
            })
        })
    }

    /// The row of a round in which `hit_share` of the reads were served without the device.
    pub(crate) fn round(&self, load: &Load, hit_share: f64) -> Round {
        let reads = self.latencies.len() as f64 * (1.0 - hit_share);
        let iops = reads / self.elapsed.as_secs_f64().max(1e-9);
        Round {
            iops,
            bw_bytes: iops * load.block_bytes as f64,
            lat_us: self.latencies.us(),
            cpu_us_per_io: self.cpu.as_secs_f64() * 1e6 / reads.max(1.0),
            hit_share,
            ..Round::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_all_threads_are_counted_and_an_error_of_one_is_told() {
        let measured = Measured::run(
            3,
            |n| Ok(n + 1),
            |_, reads, latencies| {
                (0..reads).for_each(|_| latencies.record(Duration::from_micros(50)));
                Ok(())
            },
        )
        .expect("runs");
        assert_eq!(measured.latencies.len(), 6);
        let p50 = measured.latencies.us().p50;
        assert!((49.9..50.2).contains(&p50), "{p50}");
        let failed = Measured::run(
            2,
            |_| Ok(()),
            |n, (), _| {
                if n == 1 {
                    Err(Error::message("no disk"))
                } else {
                    Ok(())
                }
            },
        );
        assert_eq!(
            failed.err().map(|e| e.to_string()).as_deref(),
            Some("no disk")
        );
    }
}
