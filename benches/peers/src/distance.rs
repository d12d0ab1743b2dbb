//! How far the logits of one program are from those of another.

/// Sums over positions.
#[derive(Debug, Default, Clone)]
pub struct Distance {
    positions: usize,
    divergence: f64,
    same: usize,
    flips: Vec<f64>,
    /// Of the tokens that followed, by the reference and by the other.
    losses: [f64; 2],
    followed: usize,
}

/// The logarithm of the sum of what `logits` are the logarithms of.
fn log_sum(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
    largest + sum.ln()
}

/// The likeliest token, the first of equals, and how far the next one is behind.
pub fn top(logits: &[f32]) -> (usize, f64) {
    let (mut best, mut next) = (0, f32::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate().skip(1) {
        if logit > logits[best] {
            next = logits[best];
            best = token;
        } else {
            next = next.max(logit);
        }
    }
    (best, f64::from(logits[best] - next))
}

impl Distance {
    /// A position's logits, and the token that follows where it counts.
    pub fn add(&mut self, reference: &[f32], other: &[f32], follows: Option<u32>) {
        let of = [log_sum(reference), log_sum(other)];
        let pairs = reference.iter().zip(other);
        // Kullback-Leibler divergence in nats: the sum of p (ln p - ln q).
        self.divergence += pairs
            .map(|(&p, &q)| {
                let (p, q) = (f64::from(p) - of[0], f64::from(q) - of[1]);
                p.exp() * (p - q)
            })
            .sum::<f64>();
        let (best, gap) = top(reference);
        match top(other).0 == best {
            true => self.same += 1,
            false => self.flips.push(gap),
        }
        if let Some(token) = follows {
            for (i, logits) in [reference, other].into_iter().enumerate() {
                self.losses[i] += of[i] - f64::from(logits[token as usize]);
            }
            self.followed += 1;
        }
        self.positions += 1;
    }

    pub const HEADER: [&'static str; 5] = [
        "mean KLD",
        "same top-1",
        "largest gap flipped",
        "perplexity",
        "to reference",
    ];

    pub fn columns(&self) -> [String; 5] {
        let of = |sum: f64| sum / self.positions as f64;
        let flipped = self.flips.iter().copied().fold(0.0, f64::max);
        let [reference, other] = self.losses.map(|l| (l / self.followed as f64).exp());
        [
            format!("{:.5}", of(self.divergence)),
            format!("{:.2} %", 100.0 * of(self.same as f64)),
            format!("{flipped:.2}"),
            format!("{other:.4}"),
            format!("{:+.2} %", 100.0 * (other / reference - 1.0)),
        ]
    }
}
