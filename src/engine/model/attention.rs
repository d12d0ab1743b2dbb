//! Attention: queries and keys get their positions, and each head of queries looks at the keys and values so far.
//!
//! Vaswani et al. 2017, arXiv 1706.03762; grouped queries: Ainslie et al. 2023, arXiv 2305.13245. A head of a token is one
//! sum per element over the positions in ascending order, whatever else is in the batch.

use super::config::{Config, Pairs, Scaling};
use super::kv_cache::KvCache;
use super::rope::Frequencies;
use super::weights::Layer;
use crate::kernels::{Kernels, ShapeError};
use std::ops::Range;

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
    scores: Vec<f32>,
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
            scores: Vec::new(),
            values: Vec::new(),
            config: config.clone(),
        }
    }

    /// Takes the columns of queries, keys and values of the tokens from a position on, and gives each token's heads, one
    /// after the other.
    pub(super) fn run(
        &mut self,
        kernels: Kernels,
        layer: &Layer,
        (kv, index, from): (&mut KvCache, usize, usize),
        qkv: &mut [f32],
        out: &mut Vec<f32>,
    ) -> Result<(), ShapeError> {
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
        let heads = self.config.heads / self.config.kv_heads;
        for ((position, qkv), out) in (from..)
            .zip(qkv.chunks_exact(column))
            .zip(out.chunks_exact_mut(query_len))
        {
            let seen = window.map_or(0, |window| (position + 1).saturating_sub(window));
            let queries = qkv[..query_len].chunks_exact(self.config.head_len);
            let out = out.chunks_exact_mut(self.config.head_len);
            for (head, (query, out)) in queries.zip(out).enumerate() {
                let place = (index, head / heads, seen..position + 1);
                self.head(kernels, kv, place, query, out)?;
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
    ) -> Result<(), ShapeError> {
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

    /// One head of queries: the softmax of its scores weighs the values.
    fn head(
        &mut self,
        kernels: Kernels,
        kv: &KvCache,
        (layer, head, positions): (usize, usize, Range<usize>),
        query: &[f32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let format = kv.format().row_format();
        let len = query.len();
        self.scores.resize(positions.len(), 0.0);
        kernels.matvec(
            format,
            kv.keys(layer, head, positions.clone()),
            query,
            &mut self.scores,
        )?;
        kernels.scale(self.config.attention_scale, &mut self.scores);
        kernels.softmax(&mut self.scores);
        self.values.resize(positions.len() * len, 0.0);
        kernels.dequantize(format, kv.values(layer, head, positions), &mut self.values)?;
        out.fill(0.0);
        for (&score, value) in self.scores.iter().zip(self.values.chunks_exact(len)) {
            kernels.axpy(score, value, out)?;
        }
        Ok(())
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        4 * (self.scores.capacity() + self.values.capacity()) as u64
    }
}
