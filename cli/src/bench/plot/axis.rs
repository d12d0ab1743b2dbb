//! From values to places on an axis, and the ticks that make an axis readable.

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

pub(super) struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<Tick>,
}

/// A mark with its text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) text: String,
}

impl Axis {
    /// Queue depths, in powers of two.
    pub(super) fn depths(values: impl Iterator<Item = f64>) -> Axis {
        let (from, to) = ends(values, 1.0, 2.0);
        let (from, to) = (from.log2().floor().exp2(), to.log2().ceil().exp2());
        let ticks = (0..=13)
            .map(|power| f64::from(1 << power))
            .filter(|at| (from..=to).contains(at))
            .map(|at| Tick {
                at,
                text: format!("{at}"),
            });
        Axis {
            scale: Scale::Logarithmic,
            from,
            to,
            ticks: ticks.collect(),
        }
    }

    /// Latencies, given in microseconds.
    pub(super) fn latency_us(values: impl Iterator<Item = f64>) -> Axis {
        let (from, to) = ends(values, 1.0, 10.0);
        let all: Vec<f64> = (-2..9)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
            .collect();
        let from = all.iter().copied().rfind(|&at| at <= from);
        let to = all.iter().copied().find(|&at| at >= to);
        let (from, to) = (from.unwrap_or(0.01), to.unwrap_or(1e9));
        let ticks = all.into_iter().filter(|at| (from..=to).contains(at));
        Axis {
            scale: Scale::Logarithmic,
            from,
            to,
            ticks: ticks
                .map(|at| Tick {
                    at,
                    text: latency_text(at),
                })
                .collect(),
        }
    }

    /// Zero and five or so round numbers above it.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Axis {
        let (_, most) = ends(values, 0.0, 1.0);
        let power = 10_f64.powf((most / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|digit| digit * power)
            .into_iter()
            .find(|step| step * 5.0 >= most)
            .unwrap_or(most);
        let steps = (most / step).ceil().clamp(1.0, 6.0) as u32;
        let ticks = (0..=steps).map(|n| step * f64::from(n)).map(|at| Tick {
            at,
            text: count_text(at),
        });
        Axis {
            scale: Scale::Linear,
            from: 0.0,
            to: step * f64::from(steps),
            ticks: ticks.collect(),
        }
    }

    /// Where a value lies: 0 at the one end, 1 at the other.
    pub(super) fn place(&self, value: f64) -> f64 {
        let of = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).ln(),
        };
        let (from, to) = (of(self.from), of(self.to));
        ((of(value) - from) / (to - from)).clamp(0.0, 1.0)
    }

    pub(super) fn ticks(&self) -> &[Tick] {
        &self.ticks
    }
}

/// The least and the largest of the values, apart from each other and where they must be.
fn ends(values: impl Iterator<Item = f64>, least: f64, apart: f64) -> (f64, f64) {
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let from = values.iter().copied().fold(f64::INFINITY, f64::min);
    let to = values.iter().copied().fold(0.0, f64::max);
    let from = if from.is_finite() { from } else { least };
    let from = from.max(if least > 0.0 { 0.01 } else { 0.0 });
    match to > from {
        true => (from, to),
        false => (from, (from * apart).max(apart)),
    }
}

fn latency_text(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}

fn count_text(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{} M", rounded(count / 1e6)),
        count if count >= 1e4 => format!("{} k", rounded(count / 1e3)),
        count => rounded(count),
    }
}

/// Without the noise of binary fractions.
fn rounded(value: f64) -> String {
    format!("{}", (value * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.text.as_str()).collect()
    }

    #[test]
    fn depths_lie_evenly_by_powers_of_two() {
        let axis = Axis::depths([1.0, 4.0, 16.0].into_iter());
        assert_eq!(texts(&axis), ["1", "2", "4", "8", "16"]);
        assert!((axis.place(4.0) - 0.5).abs() < 1e-9);
        let odd = Axis::depths([3.0, 24.0].into_iter());
        assert_eq!(texts(&odd), ["2", "4", "8", "16", "32"]);
    }

    #[test]
    fn latencies_span_their_decades_with_units() {
        let axis = Axis::latency_us([130.0, 1800.0].into_iter());
        assert_eq!(texts(&axis), ["100 µs", "200 µs", "500 µs", "1 ms", "2 ms"]);
        assert!(axis.place(130.0) > 0.0 && axis.place(1800.0) < 1.0);
    }

    #[test]
    fn counts_begin_at_zero_in_round_steps() {
        let axis = Axis::from_zero([87_000.0, 23_000.0].into_iter());
        assert_eq!(texts(&axis), ["0", "20 k", "40 k", "60 k", "80 k", "100 k"]);
        assert_eq!(axis.place(0.0), 0.0);
    }

    #[test]
    fn no_values_and_equal_values_still_give_an_axis() {
        for values in [vec![], vec![0.0], vec![7.0, 7.0], vec![f64::NAN, 1e300]] {
            for axis in [
                Axis::depths(values.iter().copied().map(|v: f64| v.clamp(1.0, 4096.0))),
                Axis::latency_us(values.iter().copied()),
                Axis::from_zero(values.iter().copied()),
            ] {
                assert!(!axis.ticks.is_empty() && axis.ticks.len() < 40);
                for value in [0.0, 1.0, 1e9] {
                    assert!((0.0..=1.0).contains(&axis.place(value)), "{values:?}");
                }
            }
        }
    }
}
