//! Attention: queries and keys get their positions, and each head of queries looks at the keys and values so far.
//!
//! Vaswani et al. 2017, arXiv 1706.03762; grouped queries: Ainslie et al. 2023, arXiv 2305.13245. A head of a token is one
//! sum per element over the positions in ascending order, whatever else is in the batch.

use super::config::{Config, Pairs, Scaling};
use super::crew::Crew;
use super::kv_cache::KvCache;
use super::multiply::{Multiplier, slice};
use super::rope::Frequencies;
use super::weights::Layer;
use crate::error::Result;
use crate::kernels::{Kernels, RowFormat, ShapeError};
use std::ops::Range;

/// See the module.
#[derive(Debug)]
pub(super) struct Attention {
    config: Config,
    /// Of layers that see everything.
    global: Positions,
    /// Of layers that see a window.
    local: Positions,
    values: Vec<f32>,
}

/// The cosines and sines of the positions of a batch.
#[derive(Debug)]
struct Positions {
    frequencies: Frequencies,
    /// Half as many for each position as elements are rotated.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Positions {
    fn new(frequencies: Frequencies) -> Positions {
        Positions {
            frequencies,
            cos: Vec::new(),
            sin: Vec::new(),
        }
    }

    fn begin(&mut self, positions: Range<usize>, pairs: usize) {
        self.cos.resize(positions.len() * pairs, 0.0);
        self.sin.resize(positions.len() * pairs, 0.0);
        // Of no pairs none are written.
        let pairs = pairs.max(1);
        let cos = self.cos.chunks_exact_mut(pairs);
        for (position, (cos, sin)) in positions.zip(cos.zip(self.sin.chunks_exact_mut(pairs))) {
            self.frequencies.at(position, cos, sin);
        }
    }
}

impl Attention {
    pub(super) fn new(config: &Config, factors: Option<&[f32]>) -> Attention {
        let global = Frequencies::new(config, config.rope_base, config.scaling, factors);
        let local = Frequencies::new(config, config.local_rope_base, Scaling::None, factors);
        Attention {
            global: Positions::new(global),
            local: Positions::new(local),
            values: Vec::new(),
            config: config.clone(),
        }
    }

    /// The positions of the batch that comes.
    pub(super) fn begin(&mut self, positions: Range<usize>) {
        let pairs = self.config.rope_len / 2;
        self.global.begin(positions.clone(), pairs);
        if (0..self.config.layers).any(|layer| self.config.window(layer).is_some()) {
            self.local.begin(positions, pairs);
        }
    }

    /// Takes the columns of queries, keys and values of the tokens from a position on, and gives each token's heads, one
    /// after the other. The tokens of a batch are shared out among all threads.
    pub(super) fn run(
        &mut self,
        crew: &Crew<Multiplier>,
        layer: &Layer,
        (kv, index, from): (&mut KvCache, usize, usize),
        qkv: &mut [f32],
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let kernels = crew.state().kernels;
        let (query_len, kv_len) = (self.config.query_len(), self.config.kv_len());
        let column = query_len + 2 * kv_len;
        let window = self.config.window(index);
        let positions = match window {
            Some(_) => &self.local,
            None => &self.global,
        };
        let pairs = self.config.rope_len / 2;
        let config = &self.config;
        let pieces = qkv.chunks_exact_mut(column).enumerate();
        crew.share(pieces, |state, thread, (number, qkv)| {
            let (queries, rest) = qkv.split_at_mut(query_len);
            let (keys, values) = rest.split_at_mut(kv_len);
            for (bias, x) in [
                (&layer.query_bias, &mut *queries),
                (&layer.key_bias, keys),
                (&layer.value_bias, values),
            ] {
                if let Some(bias) = bias {
                    kernels.add(bias, x)?;
                }
            }
            let place = Place {
                kernels,
                config,
                cos: &positions.cos[number * pairs..][..pairs],
                sin: &positions.sin[number * pairs..][..pairs],
            };
            let mut room = state.room(thread);
            let normed = slice(&mut room, config.head_len);
            place.heads(layer.query_norm.as_deref(), queries, normed)?;
            place.heads(layer.key_norm.as_deref(), keys, normed)
        })?;
        for (position, qkv) in (from..).zip(qkv.chunks_exact(column)) {
            let (keys, values) = qkv[query_len..].split_at(kv_len);
            kv.put(index, position, keys, values);
        }
        let tokens = qkv.len() / column;
        out.resize(tokens * query_len, 0.0);
        let len = self.config.head_len;
        // Heads of queries that look at one head of keys and values.
        let group = self.config.heads / self.config.kv_heads * len;
        let seen =
            |position: usize| window.map_or(0, |window| (position + 1).saturating_sub(window));
        let (first, end) = (seen(from), from + tokens);
        let format = kv.format().row_format();
        for head in 0..self.config.kv_heads {
            self.values.resize((end - first) * len, 0.0);
            kernels.dequantize(format, kv.values(index, head, first..end), &mut self.values)?;
            let columns = qkv
                .chunks_exact(column)
                .zip(out.chunks_exact_mut(query_len));
            let (kv, values) = (&*kv, &self.values);
            let pieces = (from..end).zip(columns);
            crew.share(pieces, |state, thread, (position, (qkv, out))| {
                let positions = seen(position)..position + 1;
                let one = Head {
                    kernels,
                    format,
                    scale: config.attention_scale,
                    len,
                    keys: kv.keys(index, head, positions.clone()),
                    values: &values[(positions.start - first) * len..][..positions.len() * len],
                };
                let range = head * group..(head + 1) * group;
                let mut room = state.room(thread);
                let scores = slice(&mut room, positions.len());
                one.run(&qkv[range.clone()], &mut out[range], scores)
            })?;
        }
        Ok(())
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let positions = [&self.global, &self.local].map(|p| p.cos.capacity() + p.sin.capacity());
        4 * (self.values.capacity() + positions.iter().sum::<usize>()) as u64
    }
}

/// The position of a token.
struct Place<'p> {
    kernels: Kernels,
    config: &'p Config,
    cos: &'p [f32],
    sin: &'p [f32],
}

impl Place<'_> {
    /// Gives heads their position, after their norm where there is one.
    fn heads(
        &self,
        norm: Option<&[f32]>,
        heads: &mut [f32],
        normed: &mut [f32],
    ) -> std::result::Result<(), ShapeError> {
        let config = self.config;
        for head in heads.chunks_exact_mut(config.head_len) {
            if let Some(norm) = norm {
                self.kernels.rms_norm(head, norm, config.epsilon, normed)?;
                head.copy_from_slice(normed);
            }
            let rotated = &mut head[..config.rope_len];
            match config.pairs {
                Pairs::Interleaved => self.kernels.rope_interleaved(rotated, self.cos, self.sin)?,
                Pairs::Halves => self.kernels.rope_neox(rotated, self.cos, self.sin)?,
            }
        }
        Ok(())
    }
}

/// What the queries of a token look at in one head of keys and values.
struct Head<'k> {
    kernels: Kernels,
    /// Of the keys.
    format: RowFormat,
    scale: f32,
    /// Elements of a key, and of a value.
    len: usize,
    keys: &'k [u8],
    values: &'k [f32],
}

impl Head<'_> {
    fn run(
        &self,
        queries: &[f32],
        out: &mut [f32],
        scores: &mut [f32],
    ) -> std::result::Result<(), ShapeError> {
        let queries = queries.chunks_exact(self.len);
        for (query, out) in queries.zip(out.chunks_exact_mut(self.len)) {
            self.kernels.matvec(self.format, self.keys, query, scores)?;
            self.kernels.scale(self.scale, scores);
            self.kernels.softmax(scores);
            self.kernels.weighted_sum(scores, self.values, out)?;
        }
        Ok(())
    }
}
