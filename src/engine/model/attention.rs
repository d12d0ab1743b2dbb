//! Attention: queries and keys get their positions, and each head of queries looks at the keys and values so far.
//!
//! Vaswani et al. 2017, arXiv 1706.03762; grouped queries: Ainslie et al. 2023, arXiv 2305.13245. A head of a token is one
//! sum per element over the positions in ascending order, whatever else is in the batch.

use super::config::{Config, Pairs, Scaling};
use super::crew::Crew;
use super::kv_cache::KvCache;
use super::multiply::Multiplier;
use super::rope::Frequencies;
use super::weights::Layer;
use crate::error::Result;
use crate::kernels::{Kernels, RowFormat, ShapeError};
use crate::sync::lock;
use std::sync::Mutex;

/// See the module.
#[derive(Debug)]
pub(super) struct Attention {
    config: Config,
    /// Of layers that see everything.
    global: Frequencies,
    /// Of layers that see a window.
    local: Frequencies,
    cos: Vec<f32>,
    sin: Vec<f32>,
    normed: Vec<f32>,
    values: Vec<f32>,
}

impl Attention {
    pub(super) fn new(config: &Config, factors: Option<&[f32]>) -> Attention {
        let pairs = config.rope_len / 2;
        Attention {
            global: Frequencies::new(config, config.rope_base, config.scaling, factors),
            local: Frequencies::new(config, config.local_rope_base, Scaling::None, factors),
            cos: vec![0.0; pairs],
            sin: vec![0.0; pairs],
            normed: vec![0.0; config.head_len],
            values: Vec::new(),
            config: config.clone(),
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
        for (position, qkv) in (from..).zip(qkv.chunks_exact_mut(column)) {
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
            let frequencies = if window.is_some() {
                &self.local
            } else {
                &self.global
            };
            frequencies.at(position, &mut self.cos, &mut self.sin);
            self.place(kernels, layer.query_norm.as_deref(), queries)?;
            self.place(kernels, layer.key_norm.as_deref(), keys)?;
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
            let left = Mutex::new((from..).zip(columns));
            let failed = Mutex::new(None);
            let (kv, values) = (&*kv, &self.values);
            let job = |multiplier: &Multiplier, thread: usize| {
                let mut scores = multiplier.scores(thread);
                loop {
                    let next = lock(&left).next();
                    let Some((position, (qkv, out))) = next else {
                        return;
                    };
                    let positions = seen(position)..position + 1;
                    let one = Head {
                        kernels,
                        format,
                        scale: self.config.attention_scale,
                        len,
                        keys: kv.keys(index, head, positions.clone()),
                        values: &values[(positions.start - first) * len..][..positions.len() * len],
                    };
                    let range = head * group..(head + 1) * group;
                    if let Err(error) = one.run(&qkv[range.clone()], &mut out[range], &mut scores) {
                        *lock(&failed) = Some(error);
                        return;
                    }
                }
            };
            if tokens > 1 {
                crew.run(&job)?;
            } else {
                job(crew.state(), 0);
            }
            if let Some(error) = lock(&failed).take() {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Gives heads their position, after their norm where there is one.
    fn place(
        &mut self,
        kernels: Kernels,
        norm: Option<&[f32]>,
        heads: &mut [f32],
    ) -> std::result::Result<(), ShapeError> {
        let config = &self.config;
        for head in heads.chunks_exact_mut(config.head_len) {
            if let Some(norm) = norm {
                kernels.rms_norm(head, norm, config.epsilon, &mut self.normed)?;
                head.copy_from_slice(&self.normed);
            }
            let rotated = &mut head[..config.rope_len];
            match config.pairs {
                Pairs::Interleaved => kernels.rope_interleaved(rotated, &self.cos, &self.sin)?,
                Pairs::Halves => kernels.rope_neox(rotated, &self.cos, &self.sin)?,
            }
        }
        Ok(())
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        4 * self.values.capacity() as u64
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
        scores: &mut Vec<f32>,
    ) -> std::result::Result<(), ShapeError> {
        scores.resize(self.values.len() / self.len, 0.0);
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
