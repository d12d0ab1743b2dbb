//! Rounds become rows: medians, their spread, and ratios taken within each round.

use serde::Serialize;

use super::load::Load;
use super::round::{Checked, LatUs, Round};

/// One engine over all rounds, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) engine: &'static str,
    /// The section's name.
    pub(crate) job: String,
    /// With what stands behind the colon.
    pub(crate) rw: String,
    /// The smallest block, and the largest.
    pub(crate) bs: u64,
    pub(crate) bs_max: u64,
    /// The sizes in words.
    pub(crate) block_sizes: String,
    pub(crate) iodepth: u32,
    pub(crate) numjobs: u32,
    pub(crate) iops: f64,
    pub(crate) bw_bytes: f64,
    pub(crate) lat_us: LatUs,
    pub(crate) cpu_us_per_io: f64,
    pub(crate) backend: String,
    pub(crate) flags: Vec<String>,
    pub(crate) fixed_buffer_share: Option<f64>,
    pub(crate) iowq_threads: u32,
    pub(crate) hit_share: f64,
    /// Of the last round; absent where no file has checksums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checked: Option<Checked>,
    pub(crate) rounds: usize,
    /// How far the rounds lie apart.
    pub(crate) spread: Spreads,
    /// Against fio in the same round; absent where fio did not run.
    pub(crate) ratio_to_fio: Option<Ratios>,
    /// Against fio with huge-page buffers in the same round.
    pub(crate) ratio_to_fio_hugepages: Option<Ratios>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Spreads {
    pub(crate) iops: Spread,
    pub(crate) lat_p50_us: Spread,
    pub(crate) lat_p99_us: Spread,
    pub(crate) cpu_us_per_io: Spread,
}

#[derive(Debug, Serialize)]
pub(crate) struct Ratios {
    pub(crate) iops: Spread,
    pub(crate) lat_p50: Spread,
    pub(crate) lat_p99: Spread,
    pub(crate) cpu_us_per_io: Spread,
}

/// Of one quantity over all rounds; `mad` is the median absolute deviation from the median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) mad: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        let median = median(&mut values);
        let mut deviations: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
        // `median` sorted the values.
        Spread {
            median,
            min: values.first().copied().unwrap_or(0.0),
            max: values.last().copied().unwrap_or(0.0),
            mad: self::median(&mut deviations),
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => 0.0,
        _ if values.len() % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// All rounds of one engine.
pub(crate) struct Series<'a> {
    pub(crate) engine: &'static str,
    pub(crate) rounds: &'a [Round],
}

impl Series<'_> {
    /// The row of this engine, beside the rounds of fio with either kind of buffers.
    pub(crate) fn row(&self, load: &Load, fio: &[Round], fio_hugepages: &[Round]) -> Row {
        let spread = |value: fn(&Round) -> f64| Spread::of(self.rounds.iter().map(value));
        let spreads = Spreads {
            iops: spread(|r| r.iops),
            lat_p50_us: spread(|r| r.lat_us.p50),
            lat_p99_us: spread(|r| r.lat_us.p99),
            cpu_us_per_io: spread(|r| r.cpu_us_per_io),
        };
        let last = self.rounds.last().cloned().unwrap_or_default();
        Row {
            engine: self.engine,
            job: load.name.clone(),
            rw: load.rw_text(),
            bs: load.sizes.min(),
            bs_max: load.sizes.max(),
            block_sizes: load.sizes.to_string(),
            iodepth: load.iodepth,
            numjobs: load.numjobs,
            iops: spreads.iops.median,
            bw_bytes: spread(|r| r.bw_bytes).median,
            lat_us: LatUs {
                p50: spreads.lat_p50_us.median,
                p99: spreads.lat_p99_us.median,
                p999: spread(|r| r.lat_us.p999).median,
            },
            cpu_us_per_io: spreads.cpu_us_per_io.median,
            fixed_buffer_share: last
                .fixed_buffer_share
                .map(|_| spread(|r| r.fixed_buffer_share.unwrap_or(0.0)).min),
            iowq_threads: self
                .rounds
                .iter()
                .map(|r| r.iowq_threads)
                .max()
                .unwrap_or(0),
            hit_share: spread(|r| r.hit_share).median,
            rounds: self.rounds.len(),
            checked: last.checked,
            backend: last.backend,
            flags: last.flags,
            spread: spreads,
            ratio_to_fio: self.ratios(fio),
            ratio_to_fio_hugepages: self.ratios(fio_hugepages),
        }
    }

    fn ratios(&self, base: &[Round]) -> Option<Ratios> {
        if base.len() != self.rounds.len() || base.is_empty() {
            return None;
        }
        let ratio = |value: fn(&Round) -> f64| {
            let pairs = self.rounds.iter().zip(base);
            Spread::of(pairs.map(|(ours, base)| value(ours) / value(base).max(f64::MIN_POSITIVE)))
        };
        Some(Ratios {
            iops: ratio(|r| r.iops),
            lat_p50: ratio(|r| r.lat_us.p50),
            lat_p99: ratio(|r| r.lat_us.p99),
            cpu_us_per_io: ratio(|r| r.cpu_us_per_io),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::tests::load;

    fn rounds(iops: &[f64]) -> Vec<Round> {
        iops.iter()
            .map(|&iops| Round {
                iops,
                ..Round::default()
            })
            .collect()
    }

    #[test]
    fn ratios_are_paired_within_a_round() {
        let load = load("[j]", &[4096]).expect("fits");
        let ours = rounds(&[100.0, 220.0, 330.0]);
        let fio = rounds(&[100.0, 200.0, 300.0]);
        let row = Series {
            engine: "ringfield",
            rounds: &ours,
        }
        .row(&load, &fio, &[]);
        assert_eq!((row.iops, row.rounds), (220.0, 3));
        assert_eq!((row.spread.iops.min, row.spread.iops.max), (100.0, 330.0));
        assert_eq!(row.spread.iops.mad, 110.0);
        let ratio = row.ratio_to_fio.expect("fio ran").iops;
        assert!((ratio.median - 1.1).abs() < 1e-9 && ratio.min == 1.0);
        assert!(row.ratio_to_fio_hugepages.is_none());
    }

    #[test]
    fn an_even_number_of_values_has_a_median_between() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }
}
