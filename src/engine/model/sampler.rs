//! Which token comes next, given the logits.

/// How a token is chosen. The filters apply in this order: repeat penalty, top-k, top-p, min-p, temperature.
///
/// ```
/// let sampling = ringfield::Sampling::new().temperature(0.8).top_p(0.95).seed(7);
/// # let _ = sampling;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    repeat_last: usize,
    seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling::new()
    }
}

impl Sampling {
    /// Always the likeliest token; of equals the one with the lowest number.
    pub fn new() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last: 64,
            seed: 0,
        }
    }

    /// Divides the logits: above 1 flatter, below 1 sharper. 0, the default, takes the likeliest token.
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Sampling {
        self.temperature = temperature.max(0.0);
        self
    }

    /// Only the `k` likeliest tokens. Default 0: all.
    #[must_use]
    pub fn top_k(mut self, k: usize) -> Sampling {
        self.top_k = k;
        self
    }

    /// Only the likeliest tokens that together have the probability `p` (Holtzman et al. 2019, arXiv 1904.09751).
    /// Default 1: all.
    #[must_use]
    pub fn top_p(mut self, p: f32) -> Sampling {
        self.top_p = p;
        self
    }

    /// Only tokens that are at least `p` times as likely as the likeliest (Nguyen et al. 2024, arXiv 2407.01082).
    /// Default 0: all.
    #[must_use]
    pub fn min_p(mut self, p: f32) -> Sampling {
        self.min_p = p;
        self
    }

    /// Divides positive logits of the last `last` tokens by `penalty`, and multiplies negative ones (Keskar et al. 2019,
    /// arXiv 1909.05858). Default 1: none.
    #[must_use]
    pub fn repeat_penalty(mut self, penalty: f32, last: usize) -> Sampling {
        self.repeat_penalty = if penalty > 0.0 && penalty.is_finite() {
            penalty
        } else {
            1.0
        };
        self.repeat_last = last;
        self
    }

    /// Where the random numbers start: the same seed gives the same text. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Sampling {
        self.seed = seed;
        self
    }
}

/// Chooses tokens.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    random: u64,
    /// Logit and token, of those that are left.
    left: Vec<(f32, u32)>,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Sampler {
        Sampler {
            random: sampling.seed,
            sampling,
            left: Vec::new(),
        }
    }

    /// The next token after `before`. A logit that is no number counts as impossible; `None` where none is possible.
    pub(super) fn choose(&mut self, logits: &[f32], before: &[u32]) -> Option<u32> {
        self.left.clear();
        let all = logits.iter().zip(0..);
        self.left.extend(
            all.filter(|(logit, _)| !logit.is_nan())
                .map(|(&logit, token)| (logit, token)),
        );
        if self.sampling.repeat_penalty != 1.0 {
            self.punish(before);
        }
        let sampling = &self.sampling;
        let likelier = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if sampling.temperature == 0.0 {
            return self
                .left
                .iter()
                .copied()
                .min_by(likelier)
                .map(|(_, token)| token);
        }
        if sampling.top_k > 0 && sampling.top_k < self.left.len() {
            self.left.select_nth_unstable_by(sampling.top_k, likelier);
            self.left.truncate(sampling.top_k);
        }
        self.left.sort_unstable_by(likelier);
        let &(most, likeliest) = self.left.first()?;
        if most.is_infinite() {
            return Some(likeliest);
        }
        let weight = |logit: f32| f64::from(logit - most).exp();
        if sampling.top_p < 1.0 {
            let total: f64 = self.left.iter().map(|&(logit, _)| weight(logit)).sum();
            let mut sum = 0.0;
            let reached = self.left.iter().position(|&(logit, _)| {
                sum += weight(logit);
                sum >= f64::from(sampling.top_p) * total
            });
            self.left
                .truncate(reached.map_or(self.left.len(), |at| at + 1));
        }
        if sampling.min_p > 0.0 {
            let enough = |&(logit, _): &(f32, u32)| weight(logit) >= f64::from(sampling.min_p);
            let kept = self.left.partition_point(enough);
            self.left.truncate(kept.max(1));
        }
        let temperature = f64::from(sampling.temperature);
        let weight = |logit: f32| (f64::from(logit - most) / temperature).exp();
        let total: f64 = self.left.iter().map(|&(logit, _)| weight(logit)).sum();
        let mut at = self.fraction() * total;
        let chosen = self.left.iter().find(|&&(logit, _)| {
            at -= weight(logit);
            at < 0.0
        });
        chosen.or(self.left.last()).map(|&(_, token)| token)
    }

    /// Makes what was said lately less likely. The tokens that are left are in ascending order still.
    fn punish(&mut self, before: &[u32]) {
        let from = before.len().saturating_sub(self.sampling.repeat_last);
        let mut recent = before[from..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        let penalty = self.sampling.repeat_penalty;
        for token in recent {
            let Ok(at) = self.left.binary_search_by_key(&token, |&(_, token)| token) else {
                continue;
            };
            let logit = &mut self.left[at].0;
            if *logit > 0.0 {
                *logit /= penalty;
            } else {
                *logit *= penalty;
            }
        }
    }

    /// 0 to 1, without 1. SplitMix64 (Steele, Lea, Flood 2014).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{Sampler, Sampling};

    #[test]
    fn what_was_said_lately_is_less_likely_once_however_often_it_was_said() {
        let logits = [f32::NAN, 4.0, 3.0, -1.0, -1.5];
        let choose = |penalty: f32, last: usize, before: &[u32]| {
            let sampling = Sampling::new().repeat_penalty(penalty, last);
            Sampler::new(sampling).choose(&logits, before)
        };
        assert_eq!(choose(1.0, 64, &[1, 1]), Some(1));
        // 4 / 1.3 is more than 3, and 4 / 1.3 / 1.3 is not.
        assert_eq!(choose(1.3, 64, &[1, 1, 0, 99]), Some(1));
        assert_eq!(choose(1.5, 64, &[1, 0]), Some(2));
        // Too long ago.
        assert_eq!(choose(1.5, 2, &[1, 0, 0]), Some(1));
        assert_eq!(choose(1.5, 0, &[1]), Some(1));
        // One below zero gets lower still.
        let below = [-1.0, -1.5];
        let sampling = Sampling::new().repeat_penalty(2.0, 1);
        assert_eq!(Sampler::new(sampling).choose(&below, &[0]), Some(1));
    }
}
