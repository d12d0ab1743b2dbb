//! Attention: queries and keys get their positions, and each head of queries looks at the keys and values so far.
//!
//! Vaswani et al. 2017, arXiv 1706.03762; grouped queries: Ainslie et al. 2023, arXiv 2305.13245. A head of a token is one
//! sum per element over the positions in ascending order, whatever else is in the batch.

use super::config::{Config, Pairs, Scaling};
use super::kv_cache::KvCache;
use super::rope::Frequencies;
use super::weights::Layer;
use crate::kernels::{Kernels, ShapeError};

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
            for (position, (qkv, out)) in (from..).zip(columns) {
                let positions = seen(position)..position + 1;
                let keys = kv.keys(index, head, positions.clone());
                let values =
                    &self.values[(positions.start - first) * len..(positions.end - first) * len];
                let queries = qkv[head * group..(head + 1) * group].chunks_exact(len);
                let out = out[head * group..(head + 1) * group].chunks_exact_mut(len);
                self.scores.resize(positions.len(), 0.0);
                for (query, out) in queries.zip(out) {
                    kernels.matvec(format, keys, query, &mut self.scores)?;
                    kernels.scale(self.config.attention_scale, &mut self.scores);
                    kernels.softmax(&mut self.scores);
                    kernels.weighted_sum(&self.scores, values, out)?;
                }
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

    pub(super) fn memory_bytes(&self) -> u64 {
        4 * (self.scores.capacity() + self.values.capacity()) as u64
    }
}
