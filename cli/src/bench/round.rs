//! What one engine did in one round, and the meter that all in-process engines share.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

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
    /// What was compared with checksums; `None` where there are none.
    pub(crate) checked: Option<Checked>,
}

/// Pages of packed fields that were compared with their checksums.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) pages: u64,
    /// How fast, in one thread: the bytes of a page over the median time for one.
    pub(crate) gb_per_s: f64,
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

/// What host threads of one section read.
pub(crate) struct Tally {
    latencies: Latencies,
    bytes: u64,
    elapsed: Duration,
}

impl Tally {
    pub(crate) fn new() -> Result<Tally> {
        Ok(Tally {
            latencies: Latencies::new()?,
            bytes: 0,
            elapsed: Duration::ZERO,
        })
    }

    pub(crate) fn record(&mut self, latency: Duration, bytes: u64) {
        self.latencies.record(latency);
        self.bytes += bytes;
    }

    /// Threads of a section run at the same time, so the longest counts.
    fn add(&mut self, other: &Tally) -> Result<()> {
        self.bytes += other.bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latencies.add(&other.latencies)
    }
}

/// A host thread: its section among those that run together, and its number in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostThread {
    pub(crate) section: usize,
    pub(crate) number: u32,
}

/// What all threads of an engine did together, section by section.
pub(crate) struct Measured {
    sections: Vec<Tally>,
    cpu: Duration,
}

impl Measured {
    /// Runs `body` on so many `threads` of each section from a common start, and counts their
    /// time, CPU and latencies. Whatever each needs is made by `prepare`, before the start.
    ///
    /// # Errors
    /// The first error of any thread.
    pub(crate) fn run<P: Send>(
        threads: &[u32],
        prepare: impl Fn(HostThread) -> Result<P>,
        body: impl Fn(HostThread, P, &mut Tally) -> Result<()> + Sync,
    ) -> Result<Measured> {
        let mut prepared = Vec::new();
        for (section, &threads) in threads.iter().enumerate() {
            for number in 0..threads {
                let thread = HostThread { section, number };
                prepared.push((thread, prepare(thread)?));
            }
        }
        let start_line = Barrier::new(prepared.len() + 1);
        let mut sections: Vec<Tally> = threads
            .iter()
            .map(|_| Tally::new())
            .collect::<Result<_>>()?;
        thread::scope(|scope| {
            let running: Vec<_> = prepared
                .into_iter()
                .map(|(host_thread, prepared)| {
                    let (start_line, body) = (&start_line, &body);
                    let running = scope.spawn(move || {
                        let tally = Tally::new();
                        start_line.wait();
                        let start = Instant::now();
                        let mut tally = tally?;
                        body(host_thread, prepared, &mut tally)?;
                        tally.elapsed = start.elapsed();
                        Ok::<_, Error>(tally)
                    });
                    (host_thread.section, running)
                })
                .collect();
            let cpu_before = os::cpu_time();
            start_line.wait();
            for (section, thread) in running {
                let of_thread = thread
                    .join()
                    .map_err(|_| Error::message("a thread of the run died"))??;
                if let Some(tally) = sections.get_mut(section) {
                    tally.add(&of_thread)?;
                }
            }
            let cpu = os::cpu_time().saturating_sub(cpu_before);
            Ok(Measured { sections, cpu })
        })
    }

    /// The row of each section in a round in which `hit_share` of the reads were served without
    /// the device. CPU time cannot be told apart by section: each row has that of all together.
    pub(crate) fn rounds(&self, hit_share: f64) -> Vec<Round> {
        let reads = |tally: &Tally| tally.latencies.len() as f64 * (1.0 - hit_share);
        let all_reads: f64 = self.sections.iter().map(reads).sum();
        let round = |tally: &Tally| {
            let seconds = tally.elapsed.as_secs_f64().max(1e-9);
            Round {
                iops: reads(tally) / seconds,
                bw_bytes: tally.bytes as f64 * (1.0 - hit_share) / seconds,
                lat_us: tally.latencies.us(),
                cpu_us_per_io: self.cpu.as_secs_f64() * 1e6 / all_reads.max(1.0),
                hit_share,
                ..Round::default()
            }
        };
        self.sections.iter().map(round).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_section_has_the_reads_of_its_own_threads() {
        let measured = Measured::run(
            &[3, 1],
            |thread| Ok(thread.number + 1),
            |thread, reads, tally| {
                let us = 50 * (1 + thread.section as u64);
                (0..reads).for_each(|_| tally.record(Duration::from_micros(us), 512));
                Ok(())
            },
        )
        .expect("runs");
        let reads: Vec<_> = measured
            .sections
            .iter()
            .map(|t| t.latencies.len())
            .collect();
        assert_eq!(reads, [6, 1]);
        let rounds = measured.rounds(0.0);
        for (round, us) in rounds.iter().zip([50.0, 100.0]) {
            assert!((round.lat_us.p50 - us).abs() < 0.2, "{round:?}");
            assert!((round.bw_bytes / round.iops - 512.0).abs() < 1e-6);
        }
        assert_eq!(rounds[0].cpu_us_per_io, rounds[1].cpu_us_per_io);
    }

    #[test]
    fn an_error_of_one_thread_is_told() {
        let failed = Measured::run(
            &[1, 1],
            |_| Ok(()),
            |thread, (), _| match thread.section {
                1 => Err(Error::message("no disk")),
                _ => Ok(()),
            },
        );
        assert_eq!(
            failed.err().map(|e| e.to_string()).as_deref(),
            Some("no disk")
        );
    }
}
