//! Rotary positions: the angles of each position, in 64 bits, and their cosines and sines.
//!
//! Su et al. 2021, arXiv 2104.09864: pair `i` of `n / 2` at position `p` is turned by `p * base^(-2i / n)`.

use super::config::{Config, Scaling};

/// Full turns within the trained context above which a frequency is left as it is, and below which it is interpolated:
/// alpha and beta of YaRN, section 3.2 and appendix for Llama.
const YARN_BETA_FAST: f64 = 32.0;
const YARN_BETA_SLOW: f64 = 1.0;

/// Angles per position of one kind of layer.
#[derive(Debug, Clone)]
pub(super) struct Frequencies {
    angles: Vec<f64>,
    /// Factor of cosines and sines: YaRN's temperature.
    magnitude: f64,
}

impl Frequencies {
    /// `factors` divide the angles, one for each pair (the tensor `rope_freqs.weight`).
    pub(super) fn new(
        config: &Config,
        base: f64,
        scaling: Scaling,
        factors: Option<&[f32]>,
    ) -> Frequencies {
        let n = config.rope_len as f64;
        let pairs = config.rope_len / 2;
        let raw = (0..pairs).map(|i| base.powf(-2.0 * i as f64 / n));
        let factor = |i: usize| {
            factors
                .and_then(|f| f.get(i))
                .map_or(1.0, |&f| f64::from(f))
        };
        let raw = raw.enumerate().map(|(i, angle)| angle / factor(i));
        match scaling {
            Scaling::None => Frequencies {
                angles: raw.collect(),
                magnitude: 1.0,
            },
            Scaling::Linear(factor) => Frequencies {
                angles: raw.map(|angle| angle / factor).collect(),
                magnitude: 1.0,
            },
            Scaling::Yarn {
                factor,
                trained_context,
                attention_factor,
            } => {
                // The pair that makes `turns` turns within the trained context.
                let pair_of = |turns: f64| {
                    n * (trained_context / (turns * std::f64::consts::TAU)).ln() / (2.0 * base.ln())
                };
                let low = pair_of(YARN_BETA_FAST).floor().max(0.0);
                let high = pair_of(YARN_BETA_SLOW).ceil().min(n - 1.0);
                let kept = |i: usize| {
                    let ramp = (i as f64 - low) / (high - low).max(0.001);
                    1.0 - ramp.clamp(0.0, 1.0)
                };
                Frequencies {
                    angles: raw
                        .enumerate()
                        .map(|(i, angle)| angle / factor * (1.0 - kept(i)) + angle * kept(i))
                        .collect(),
                    magnitude: attention_factor * (1.0 + 0.1 * factor.ln()),
                }
            }
        }
    }

    /// Writes the cosines and sines of a position, half as many each as elements are rotated.
    pub(super) fn at(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((&angle, cos), sin) in self.angles.iter().zip(cos).zip(sin) {
            let (s, c) = (position as f64 * angle).sin_cos();
            *cos = (c * self.magnitude) as f32;
            *sin = (s * self.magnitude) as f32;
        }
    }
}
