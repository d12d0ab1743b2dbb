"""Tiny random GGUF files of each architecture, for tests of what the real models at hand lack.

Shapes are small but nothing is square by accident: grouped queries, and in qwen3 and gemma3 heads whose sizes do
not add up to the width. Values are scaled so that attention is uneven and logits stay within 30.
"""

import gguf
import numpy as np

from . import Refused
from .tokenizers import byte_level_tokenizer, sentence_piece_tokenizer

VOCABULARY = 320
CONTEXT = 8192
HEADS, KV_HEADS = 4, 2
SLIDING_WINDOW = 8

# Types gguf.quants can only read get random blocks. Where a block keeps its scale and its minimum (float16, offsets
# in bytes; ggml/src/ggml-common.h), and how large the minimum is beside the scale for values with mean 0.
RANDOM_BLOCKS = {
    "Q2_K": (80, 82, 1.5),
    "Q3_K": (108, None, 0.0),
    "Q4_K": (0, 2, 7.5),
    "Q5_K": (0, 2, 15.5),
    "Q6_K": (208, None, 0.0),
    "IQ4_NL": (0, None, 0.0),
    "IQ4_XS": (0, None, 0.0),
}
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", *RANDOM_BLOCKS]


def write(options):
    """Writes options.out; see `reference.py make-model --help`."""
    if options.type not in TYPES:
        raise Refused(f"unknown type {options.type}, expected one of {', '.join(TYPES)}")
    if options.rope_freqs and options.arch != "llama":
        raise Refused("rope_freqs.weight has no use outside of llama")
    layers = options.layers or (7 if options.arch == "gemma3" else 2)
    if layers < 1 or options.seed < 0:
        raise Refused("--layers must be at least 1 and --seed at least 0")
    TinyModel(options, layers).write()


class TinyModel:
    def __init__(self, options, layers):
        self.options = options
        self.arch = options.arch
        self.layers = layers
        self.kind = gguf.GGMLQuantizationType[options.type]
        self.block_values, self.block_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        self.random = np.random.default_rng(options.seed)
        self.width = max(64, self.block_values)
        self.head_norms = self.arch in ("qwen3", "gemma3")
        self.head_size = self.width // (2 if self.head_norms else HEADS)
        self.feed_forward = 2 * self.width
        self.tied = self.head_norms if options.tied is None else options.tied
        self.writer = gguf.GGUFWriter(options.out, self.arch)

    def write(self):
        self.metadata()
        self.tensors()
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()

    def metadata(self):
        writer = self.writer
        writer.add_name(f"tiny random {self.arch}")
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(self.width)
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_freq_base(1e6 if self.arch == "gemma3" else 10000.0)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32 if self.options.type == "F32" else gguf.LlamaFileType.GUESSED)
        if self.head_norms:
            writer.add_key_length(self.head_size)
            writer.add_value_length(self.head_size)
        else:
            writer.add_rope_dimension_count(self.head_size)
        if self.arch == "gemma3":
            writer.add_sliding_window(SLIDING_WINDOW)
        if self.options.rope_scaling != "none":
            writer.add_rope_scaling_type(gguf.RopeScalingType(self.options.rope_scaling))
            writer.add_rope_scaling_factor(8.0)
            writer.add_rope_scaling_orig_ctx_len(CONTEXT // 8)
        tokenizer = sentence_piece_tokenizer if self.arch == "gemma3" else byte_level_tokenizer
        tokenizer(writer, self.arch, VOCABULARY)

    def tensors(self):
        self.matrix("token_embd", VOCABULARY, self.width, 1.5 if self.tied else 4.0)
        # Where embeddings are tied, a token would predict itself unless the last norm turns half of the signs.
        signs = self.random.choice([-1.0, 1.0], self.width) if self.tied else 1.0
        self.norm("output_norm", self.width, signs)
        if not self.tied:
            self.matrix("output", VOCABULARY, self.width, 2.0)
        if self.options.rope_freqs:
            # Llama 3.1's grow from 1 to 8 over the dimensions.
            factors = np.linspace(1.0, 8.0, self.head_size // 2, dtype=np.float32)
            self.writer.add_tensor("rope_freqs.weight", factors)
        for layer in range(self.layers):
            self.layer(f"blk.{layer}.")

    def layer(self, prefix):
        queries, keys = HEADS * self.head_size, KV_HEADS * self.head_size
        self.norm(prefix + "attn_norm", self.width)
        self.matrix(prefix + "attn_q", queries, self.width, 1.5)
        self.matrix(prefix + "attn_k", keys, self.width, 1.5)
        self.matrix(prefix + "attn_v", keys, self.width, 1.0)
        self.matrix(prefix + "attn_output", self.width, queries, 1.0)
        if self.arch == "qwen2":
            for name, size in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
                self.vector(f"{prefix}{name}.bias", self.random.normal(0.0, 0.5, size))
        if self.head_norms:
            self.norm(prefix + "attn_q_norm", self.head_size)
            self.norm(prefix + "attn_k_norm", self.head_size)
        if self.arch == "gemma3":
            self.norm(prefix + "post_attention_norm", self.width)
            self.norm(prefix + "post_ffw_norm", self.width)
        self.norm(prefix + "ffn_norm", self.width)
        self.matrix(prefix + "ffn_gate", self.feed_forward, self.width, 1.0)
        self.matrix(prefix + "ffn_up", self.feed_forward, self.width, 1.0)
        self.matrix(prefix + "ffn_down", self.width, self.feed_forward, 1.5)

    def vector(self, name, values):
        self.writer.add_tensor(name, values.astype(np.float32))

    def norm(self, name, size, signs=1.0):
        self.vector(f"{name}.weight", self.random.uniform(0.5, 1.5, size) * signs)

    def matrix(self, name, rows, columns, gain):
        """[rows, columns] with a root mean square of gain / sqrt(columns), which makes outputs about gain."""
        size = gain / columns**0.5
        if self.options.type in RANDOM_BLOCKS:
            data = self.random_blocks(rows, columns, size)
        else:
            data = gguf.quants.quantize(self.random.normal(0.0, size, (rows, columns)).astype(np.float32), self.kind)
        self.writer.add_tensor(f"{name}.weight", data, raw_dtype=self.kind)

    def random_blocks(self, rows, columns, size):
        """Blocks of random bits, whose scales are then set so that the values have the wanted size."""
        at, at_minimum, share = RANDOM_BLOCKS[self.options.type]
        count = rows * columns // self.block_values
        blocks = np.frombuffer(self.random.bytes(count * self.block_bytes), np.uint8).reshape(count, -1).copy()
        uneven = self.random.uniform(0.5, 1.5, (count, 1))

        def set_scales(scale):
            blocks[:, at : at + 2] = (uneven * scale).astype("<f2").view(np.uint8)
            if at_minimum is not None:
                blocks[:, at_minimum : at_minimum + 2] = (uneven * scale * share).astype("<f2").view(np.uint8)

        set_scales(1.0)
        now = gguf.quants.dequantize(blocks, self.kind).astype(np.float64)
        set_scales(size / np.sqrt(np.mean(now * now)))
        return blocks.reshape(rows, -1)
