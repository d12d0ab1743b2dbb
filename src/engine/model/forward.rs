//! A pass through the model: the tokens of a batch in, logits out.
//!
//! Each token is a column. Columns never meet but in attention, where one looks at the keys and values of those before, so
//! what a token gives does not depend on which others are in its batch.

use super::attention::Attention;
use super::config::{Config, Gate};
use super::crew::Crew;
use super::kv_cache::KvCache;
use super::multiply::{COLUMNS, Multiplier, slice};
use super::weights::{Group, Weights};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// The arithmetic of a model.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) config: Config,
    pub(super) weights: Weights,
    pub(super) crew: Crew<Multiplier>,
    attention: Attention,
    buffers: Buffers,
}

/// One column a token, one after the other.
#[derive(Debug, Default)]
struct Buffers {
    /// The residual stream.
    x: Vec<f32>,
    /// What the last multiplication gave, and behind it what others gave.
    sums: Vec<f32>,
    /// What the next one takes.
    inner: Vec<f32>,
}

/// The tokens of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'t> {
    /// Of the vocabulary.
    pub(super) ids: &'t [u32],
    /// Position of the first. The cache has room for all.
    pub(super) from: usize,
    /// How many logits are wanted: those of the last so many. Where it is none, the head is not even read.
    pub(super) wanted: usize,
}

/// What ends a pass before its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop<'c> {
    pub(super) cancel: &'c AtomicBool,
    pub(super) deadline: Option<Instant>,
}

impl Stop<'_> {
    fn check(&self) -> Result<()> {
        let late = self.deadline.is_some_and(|at| Instant::now() >= at);
        if late || self.cancel.load(Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}

impl Forward {
    pub(super) fn new(config: Config, weights: Weights, crew: Crew<Multiplier>) -> Forward {
        Forward {
            attention: Attention::new(&config, weights.rope_factors.as_deref()),
            buffers: Buffers::default(),
            config,
            weights,
            crew,
        }
    }

    fn kernels(&self) -> Kernels {
        self.crew.state().kernels
    }

    /// Runs a batch, and puts the logits that are wanted in `logits`, token by token.
    ///
    /// `stop` ends it between two layers with [`Error::Cancelled`]; then, as after any error, the cache is as before up to
    /// `from`.
    pub(super) fn run(
        &mut self,
        kv: &mut KvCache,
        tokens: Tokens<'_>,
        logits: &mut Vec<f32>,
        stop: Stop<'_>,
    ) -> Result<()> {
        let mut buffers = std::mem::take(&mut self.buffers);
        let stream = &self.crew.state().stream;
        let begun = match tokens.wanted {
            0 => stream.begin(stream.segments.of_group(&self.weights.head).start),
            _ => stream.begin(stream.segments.all.len()),
        };
        let result = begun.and_then(|()| self.pass(kv, tokens, logits, stop, &mut buffers));
        if tokens.wanted > 1 {
            // A vocabulary for each token of a batch is too much to keep.
            buffers.sums = Vec::new();
            self.crew.state().forget_sums();
        }
        self.buffers = buffers;
        let stream = &self.crew.state().stream;
        match result {
            Ok(()) => stream.end(),
            Err(_) => stream.abandon(),
        }
        result
    }

    fn pass(
        &mut self,
        kv: &mut KvCache,
        tokens: Tokens<'_>,
        logits: &mut Vec<f32>,
        stop: Stop<'_>,
        buffers: &mut Buffers,
    ) -> Result<()> {
        self.embed(tokens.ids, &mut buffers.x)?;
        self.attention
            .begin(tokens.from..tokens.from + tokens.ids.len());
        for index in 0..self.config.layers {
            stop.check()?;
            let layer = &self.weights.layers[index];
            let count = self.multiply_normed(&layer.qkv, &layer.attention_norm, buffers)?;
            self.attention.run(
                &self.crew,
                layer,
                (kv, index, tokens.from),
                &mut buffers.sums[..count],
                &mut buffers.inner,
            )?;
            let bias = layer.attention_output_bias.as_deref();
            let norm = layer.post_attention_norm.as_deref();
            self.add_product(&layer.attention_output, bias, norm, buffers)?;

            let count = self.multiply_normed(&layer.gate_up, &layer.feed_forward_norm, buffers)?;
            self.activate(count, buffers)?;
            let norm = layer.post_feed_forward_norm.as_deref();
            self.add_product(&layer.down, None, norm, buffers)?;
        }
        if tokens.wanted == 0 {
            logits.clear();
            return Ok(());
        }
        let skipped = (tokens.ids.len() - tokens.wanted) * self.config.width;
        buffers.x.drain(..skipped);
        let count = self.multiply_normed(&self.weights.head, &self.weights.output_norm, buffers)?;
        logits.clear();
        logits.extend_from_slice(&buffers.sums[..count]);
        Ok(())
    }

    /// Rows of the embedding.
    fn embed(&self, tokens: &[u32], x: &mut Vec<f32>) -> Result<()> {
        let (width, kernels) = (self.config.width, self.kernels());
        let embedding = &self.weights.embedding;
        x.resize(tokens.len() * width, 0.0);
        for (&token, x) in tokens.iter().zip(x.chunks_exact_mut(width)) {
            let row = token as usize;
            let view = embedding
                .tensor
                .field()
                .read(embedding.bytes_of(row..row + 1))?;
            match view.as_slice() {
                Some(bytes) => kernels.dequantize(embedding.format, bytes, x)?,
                None => kernels.dequantize(embedding.format, &view.to_vec(), x)?,
            }
            if self.config.scaled_embedding {
                kernels.scale((width as f32).sqrt(), x);
            }
        }
        Ok(())
    }

    /// Multiplies a group by the norms of the residual stream's columns. Returns how many sums there are.
    fn multiply_normed(&self, group: &Group, norm: &[f32], buffers: &mut Buffers) -> Result<usize> {
        let (width, kernels) = (self.config.width, self.kernels());
        let Buffers { x, sums, .. } = buffers;
        let fill = |first: usize, input: &mut [f32]| {
            let x = x[first * width..].chunks_exact(width);
            for (x, normed) in x.zip(input.chunks_exact_mut(width)) {
                kernels.rms_norm(x, norm, self.config.epsilon, normed)?;
            }
            Ok(())
        };
        self.crew
            .multiply(group, (x.len() / width, width), fill, sums)
    }

    /// Multiplies a group by the inner columns, and adds what comes out, by way of a bias and a norm where there are such,
    /// to the residual stream.
    fn add_product(
        &self,
        group: &Group,
        bias: Option<&[f32]>,
        norm: Option<&[f32]>,
        buffers: &mut Buffers,
    ) -> Result<()> {
        let (width, kernels) = (self.config.width, self.kernels());
        let Buffers { x, sums, inner } = buffers;
        let columns = x.len() / width;
        let len = inner.len() / columns;
        let fill = |first: usize, input: &mut [f32]| {
            input.copy_from_slice(&inner[first * len..][..input.len()]);
            Ok(())
        };
        let count = self.crew.multiply(group, (columns, len), fill, sums)?;
        let pieces = sums[..count]
            .chunks_mut(COLUMNS * width)
            .zip(x.chunks_mut(COLUMNS * width));
        self.crew.share(pieces, |state, thread, (products, x)| {
            let mut room = state.room(thread);
            let normed = slice(&mut room, width);
            for (product, x) in products
                .chunks_exact_mut(width)
                .zip(x.chunks_exact_mut(width))
            {
                if let Some(bias) = bias {
                    kernels.add(bias, product)?;
                }
                match norm {
                    Some(norm) => {
                        kernels.rms_norm(product, norm, self.config.epsilon, normed)?;
                        kernels.add(normed, x)?;
                    }
                    None => kernels.add(product, x)?,
                }
            }
            Ok(())
        })
    }

    /// The gate of each column of the `count` sums, activated, times its up: into the inner columns.
    fn activate(&self, count: usize, buffers: &mut Buffers) -> Result<()> {
        let (len, kernels) = (self.config.feed_forward, self.kernels());
        let Buffers { sums, inner, .. } = buffers;
        inner.resize(count / 2, 0.0);
        let pieces = sums[..count]
            .chunks_exact_mut(2 * len)
            .zip(inner.chunks_exact_mut(len));
        self.crew.share(pieces, |_, _, (column, inner)| {
            let (gate, up) = column.split_at_mut(len);
            match self.config.gate {
                Gate::Silu => kernels.silu_mul(gate, up)?,
                Gate::GeluTanh => kernels.gelu_tanh_mul(gate, up)?,
            }
            inner.copy_from_slice(gate);
            Ok(())
        })
    }

    /// Bytes of the buffers.
    pub(super) fn memory_bytes(&self) -> u64 {
        let Buffers { x, sums, inner } = &self.buffers;
        let floats = x.capacity() + sums.capacity() + inner.capacity();
        4 * floats as u64 + self.attention.memory_bytes()
    }
}
