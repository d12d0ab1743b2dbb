//! A model's tensors: which there must be, of what shape, and in which order a token needs them.

use super::config::{Architecture, Config};
use crate::engine::formats::gguf::{self, Gguf, Tensor};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, RowFormat};
use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

/// Tokens of a vocabulary at most.
const VOCABULARY_MAX: usize = 1 << 24;

/// A matrix that stays in its file.
#[derive(Debug, Clone)]
pub(super) struct Matrix {
    pub(super) tensor: Tensor,
    pub(super) format: RowFormat,
    pub(super) rows: usize,
    /// Elements of a row.
    pub(super) len: usize,
    pub(super) row_bytes: usize,
}

impl Matrix {
    /// Where rows lie in the field.
    pub(super) fn bytes_of(&self, rows: Range<usize>) -> Range<u64> {
        self.tensor.rows_at(rows.start as u64..rows.end as u64)
    }

    /// What of a page is rows: in a packed field a page can end with bytes that are none. `begun` is how much of a row that
    /// is longer than a page the pages before had.
    pub(super) fn rows_in<'p>(&self, page: &'p [u8], begun: &mut usize) -> &'p [u8] {
        if !self.tensor.is_packed() {
            return page;
        }
        let whole = page.len() - page.len() % self.row_bytes;
        let rows = match *begun == 0 && whole > 0 {
            true => whole,
            false => page.len().min(self.row_bytes - *begun),
        };
        *begun = (*begun + rows) % self.row_bytes;
        page.get(..rows).unwrap_or(page)
    }

    /// Where a segment that begins with row `start` and has about `wanted` rows ends: in a packed field with a page, or
    /// within the first.
    pub(super) fn segment_end(&self, start: usize, wanted: usize) -> usize {
        let wanted = (start + wanted).min(self.rows);
        if !self.tensor.is_packed() {
            return wanted;
        }
        let run = |row: usize| self.tensor.run(row as u64) as usize;
        let mut end = start + run(start);
        if end >= wanted {
            return wanted;
        }
        while end < wanted && end + run(end) <= wanted {
            end += run(end);
        }
        end
    }
}

/// Matrices of one input, which are multiplied together: what one's rows give follows the other's.
pub(super) type Group = Range<usize>;

/// The small tensors of a layer, which stay in memory, and its matrices by index.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    /// Queries, keys, values.
    pub(super) qkv: Group,
    pub(super) query_bias: Option<Vec<f32>>,
    pub(super) key_bias: Option<Vec<f32>>,
    pub(super) value_bias: Option<Vec<f32>>,
    pub(super) query_norm: Option<Vec<f32>>,
    pub(super) key_norm: Option<Vec<f32>>,
    pub(super) attention_output: Group,
    pub(super) attention_output_bias: Option<Vec<f32>>,
    pub(super) post_attention_norm: Option<Vec<f32>>,
    pub(super) feed_forward_norm: Vec<f32>,
    /// Gate and up.
    pub(super) gate_up: Group,
    pub(super) down: Group,
    pub(super) post_feed_forward_norm: Option<Vec<f32>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Weights {
    /// In the order in which a token needs them.
    pub(super) matrices: Vec<Matrix>,
    pub(super) embedding: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: Vec<f32>,
    /// Logits of the vocabulary. The embedding itself where the file has no other.
    pub(super) head: Group,
    /// Divisors of the rotation's angles.
    pub(super) rope_factors: Option<Vec<f32>>,
}

impl Weights {
    pub(super) fn read(model: &Gguf, path: &Path, config: &Config) -> Result<Weights> {
        let mut reader = Reader {
            model,
            path,
            matrices: Vec::new(),
            read: RefCell::default(),
        };
        let embedding = reader.matrix("token_embd.weight", None, config.width)?;
        if embedding.rows > VOCABULARY_MAX {
            let what = format!("a vocabulary of {} tokens", embedding.rows);
            return Err(reader.malformed(what));
        }
        let layers = (0..config.layers)
            .map(|layer| reader.layer(config, layer))
            .collect::<Result<_>>()?;
        let from = reader.matrices.len();
        let head = match model.tensor("output.weight")? {
            Some(_) => reader.matrix("output.weight", Some(embedding.rows), config.width)?,
            None => embedding.clone(),
        };
        reader.matrices.push(head);
        let output_norm = reader.vector("output_norm.weight", config.width)?;
        let rope_factors = reader.optional("rope_freqs.weight", config.rope_len / 2)?;
        reader.nothing_is_left_out()?;
        Ok(Weights {
            head: from..from + 1,
            embedding,
            layers,
            output_norm,
            rope_factors,
            matrices: reader.matrices,
        })
    }

    /// All groups in the order in which a token needs them.
    pub(super) fn groups(&self) -> Vec<Group> {
        let of_layers = self.layers.iter().flat_map(|layer| {
            [
                &layer.qkv,
                &layer.attention_output,
                &layer.gate_up,
                &layer.down,
            ]
        });
        of_layers.chain([&self.head]).cloned().collect()
    }

    /// Bytes of the small tensors, which stay in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        let optional = |v: &Option<Vec<f32>>| v.as_ref().map_or(0, Vec::len);
        let layers = self.layers.iter().map(|layer| {
            layer.attention_norm.len()
                + layer.feed_forward_norm.len()
                + [
                    &layer.query_bias,
                    &layer.key_bias,
                    &layer.value_bias,
                    &layer.query_norm,
                    &layer.key_norm,
                    &layer.attention_output_bias,
                    &layer.post_attention_norm,
                    &layer.post_feed_forward_norm,
                ]
                .map(optional)
                .iter()
                .sum::<usize>()
        });
        let floats = layers.sum::<usize>() + self.output_norm.len() + optional(&self.rope_factors);
        (floats * size_of::<f32>() + self.matrices.len() * size_of::<Matrix>()) as u64
    }
}

struct Reader<'m> {
    model: &'m Gguf,
    path: &'m Path,
    matrices: Vec<Matrix>,
    /// Names of the tensors that are used.
    read: RefCell<HashSet<String>>,
}

impl Reader<'_> {
    fn malformed(&self, what: String) -> Error {
        gguf::malformed(self.path, 0, what)
    }

    /// A tensor that nobody reads would have changed the result.
    fn nothing_is_left_out(&self) -> Result<()> {
        let read = self.read.borrow();
        for tensor in self.model.tensors() {
            let tensor = tensor?;
            if !read.contains(tensor.name()) {
                return Err(Error::Unsupported {
                    path: self.path.to_path_buf(),
                    key: "a tensor",
                    found: tensor.name().to_owned(),
                    supported: "those of the dense architecture that the file names".into(),
                });
            }
        }
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<(Tensor, RowFormat)> {
        self.read.borrow_mut().insert(name.to_owned());
        let Some(tensor) = self.model.tensor(name)? else {
            return Err(self.malformed(format!("the tensor `{name}` is missing")));
        };
        match tensor.kind().row_format() {
            Some(format) => Ok((tensor, format)),
            None => Err(Error::Unsupported {
                path: self.path.to_path_buf(),
                key: "the type of a tensor",
                found: format!("{} of {name}", tensor.kind()),
                supported: RowFormat::ALL.map(RowFormat::name).join(", "),
            }),
        }
    }

    /// A matrix of rows of `len` elements, and of `rows` rows where that is known.
    fn matrix(&self, name: &str, rows: Option<usize>, len: usize) -> Result<Matrix> {
        let (tensor, format) = self.tensor(name)?;
        let found = tensor.rows();
        let &[columns, ..] = tensor.shape() else {
            return Err(self.malformed(format!("`{name}` has no shape")));
        };
        let fits = rows.is_none_or(|rows| rows as u64 == found);
        let row_bytes = format.row_bytes(len);
        match row_bytes {
            Some(row_bytes) if fits && columns == len as u64 && tensor.shape().len() <= 2 => {
                Ok(Matrix {
                    rows: found as usize,
                    tensor,
                    format,
                    len,
                    row_bytes,
                })
            }
            _ => Err(self.malformed(format!(
                "`{name}` is {:?}, not [{len}, {}]",
                tensor.shape(),
                rows.map_or("any".into(), |rows| rows.to_string()),
            ))),
        }
    }

    /// A small tensor, as floats.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let (tensor, format) = self.tensor(name)?;
        if tensor.shape() != [len as u64] {
            let what = format!("`{name}` is {:?}, not [{len}]", tensor.shape());
            return Err(self.malformed(what));
        }
        let mut floats = vec![0.0; len];
        let bytes = tensor.field().read(tensor.range())?.to_vec();
        Kernels::new().dequantize(format, &bytes, &mut floats)?;
        Ok(floats)
    }

    fn optional(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        match self.model.tensor(name)? {
            Some(_) => self.vector(name, len).map(Some),
            None => Ok(None),
        }
    }

    /// Adds matrices that share an input of `len` elements.
    fn group(&mut self, layer: usize, len: usize, members: &[(&str, usize)]) -> Result<Group> {
        let from = self.matrices.len();
        for &(name, rows) in members {
            let matrix = self.matrix(&format!("blk.{layer}.{name}.weight"), Some(rows), len)?;
            self.matrices.push(matrix);
        }
        Ok(from..self.matrices.len())
    }

    fn layer(&mut self, config: &Config, layer: usize) -> Result<Layer> {
        let (width, queries, keys) = (config.width, config.query_len(), config.kv_len());
        let ff = config.feed_forward;
        let name = |name: &str| format!("blk.{layer}.{name}");
        // Tensors that one of these architectures has and another has not are taken where they are; those without which
        // the result would be another must be there.
        let has_norms = matches!(
            config.architecture,
            Architecture::Qwen3 | Architecture::Gemma3
        );
        let gemma = config.architecture == Architecture::Gemma3;
        let norm = |reader: &Self, short: &str, len, required: bool| {
            let full = name(short);
            match required {
                true => reader.vector(&full, len).map(Some),
                false => reader.optional(&full, len),
            }
        };
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm.weight"), width)?,
            qkv: self.group(
                layer,
                width,
                &[("attn_q", queries), ("attn_k", keys), ("attn_v", keys)],
            )?,
            query_bias: norm(
                self,
                "attn_q.bias",
                queries,
                config.architecture == Architecture::Qwen2,
            )?,
            key_bias: norm(
                self,
                "attn_k.bias",
                keys,
                config.architecture == Architecture::Qwen2,
            )?,
            value_bias: norm(
                self,
                "attn_v.bias",
                keys,
                config.architecture == Architecture::Qwen2,
            )?,
            query_norm: norm(self, "attn_q_norm.weight", config.head_len, has_norms)?,
            key_norm: norm(self, "attn_k_norm.weight", config.head_len, has_norms)?,
            attention_output: self.group(layer, queries, &[("attn_output", width)])?,
            attention_output_bias: norm(self, "attn_output.bias", width, false)?,
            post_attention_norm: norm(self, "post_attention_norm.weight", width, gemma)?,
            feed_forward_norm: self.vector(&name("ffn_norm.weight"), width)?,
            gate_up: self.group(layer, width, &[("ffn_gate", ff), ("ffn_up", ff)])?,
            down: self.group(layer, ff, &[("ffn_down", width)])?,
            post_feed_forward_norm: norm(self, "post_ffw_norm.weight", width, gemma)?,
        })
    }
}
