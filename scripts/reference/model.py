"""The forward pass: dequantized weights, everything else in float64.

One decoder serves the four architectures, which differ in the optional tensors and in constants: Llama (Touvron
et al. 2023), Qwen2 (2024: biases on query, key and value), Qwen3 (2025: RMS norm on each query and key head) and
Gemma 3 (2025: that, norms after both halves of a layer, and sliding windows).
"""

import math

import gguf
import numpy as np

from . import Refused
from .config import read_config
from .rope import Rope

# Weights that are float64 at one time, and positions that go through the layers together.
VALUES_AT_ONCE = 1 << 24
POSITIONS_AT_ONCE = 512
# Positions whose logits are held at one time: 64 × 262144 × 8 bytes is 128 MiB.
LOGITS_AT_ONCE = 64


class Model:
    """Weights stay float32, which is exact for what gguf.quants gives, and become float64 for each product."""

    def __init__(self, path):
        try:
            reader = gguf.GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise Refused(f"cannot read {path}: {error}") from error
        self.config = read_config(reader.fields)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.weights = {}
        self.used = set()
        self.embeddings = self.tensor("token_embd.weight")
        self.vocabulary = int(self.embeddings.shape[1])
        self.layers = [Layer(self, index) for index in range(self.config.layers)]
        self.output_norm = self.weight("output_norm.weight").astype(np.float64)
        # Tied embeddings: a file without output.weight uses token_embd.weight.
        self.head = "output" if "output.weight" in self.tensors else "token_embd"
        self.tensor(f"{self.head}.weight")
        if unused := sorted(set(self.tensors) - self.used):
            raise Refused(f"tensor {unused[0]} has no use in architecture {self.config.architecture}")

    def tensor(self, name):
        if name not in self.tensors:
            raise Refused(f"tensor {name} is missing")
        self.used.add(name)
        return self.tensors[name]

    def weight(self, name):
        """The float32 values of a tensor, rows first; kept."""
        if name not in self.weights:
            self.weights[name] = dequantize(self.tensor(name))
        return self.weights[name]

    def optional(self, name):
        """The float64 values of a tensor, or None where the file has none."""
        return self.weight(name).astype(np.float64) if name in self.tensors else None

    def linear(self, name, inputs):
        """inputs · weightᵀ + bias, where there is a bias."""
        weight = self.weight(f"{name}.weight")
        if weight.shape[1] != inputs.shape[-1]:
            raise Refused(f"tensor {name}.weight has rows of {weight.shape[1]}, expected {inputs.shape[-1]}")
        outputs = np.empty((*inputs.shape[:-1], weight.shape[0]))
        step = max(1, VALUES_AT_ONCE // weight.shape[1])
        for first in range(0, weight.shape[0], step):
            rows = weight[first : first + step].astype(np.float64)
            np.matmul(inputs, rows.T, out=outputs[..., first : first + step])
        bias = self.optional(f"{name}.bias")
        return outputs if bias is None else outputs + bias

    def embed(self, tokens):
        rows = self.embeddings.data[np.asarray(tokens)]
        values = dequantize_rows(rows, self.embeddings).astype(np.float64)
        return values * self.config.embedding_scale

    def check(self, tokens):
        for token in tokens:
            if not 0 <= token < self.vocabulary:
                raise Refused(f"token {token} is not in the vocabulary of {self.vocabulary}")

    def logits(self, hidden):
        """Logits of normed hidden states; mind that each takes 8 bytes for each word of the vocabulary."""
        logits = self.linear(self.head, hidden)
        if cap := self.config.logit_softcap:
            logits = cap * np.tanh(logits / cap)
        return logits

    def logits_in_groups(self, hidden):
        """Yields (index of the first, logits) for LOGITS_AT_ONCE hidden states at a time."""
        for first in range(0, len(hidden), LOGITS_AT_ONCE):
            yield first, self.logits(hidden[first : first + LOGITS_AT_ONCE])

    def hidden(self, tokens):
        """Normed hidden states of all tokens of a sequence of its own."""
        return Sequence(self).extend(tokens)


class Sequence:
    """One text as it grows, with the keys and values of all its positions."""

    def __init__(self, model):
        self.model = model
        self.length = 0
        self.caches = [(None, None) for _ in model.layers]

    def extend(self, tokens):
        """Adds tokens; their hidden states after the last norm, what the head takes: [tokens, width]."""
        self.model.check(tokens)
        pieces = [tokens[first : first + POSITIONS_AT_ONCE] for first in range(0, len(tokens), POSITIONS_AT_ONCE)]
        return np.concatenate([self._extend(piece) for piece in pieces])

    def _extend(self, tokens):
        positions = np.arange(self.length, self.length + len(tokens))
        states = self.model.embed(tokens)
        for index, layer in enumerate(self.model.layers):
            states, self.caches[index] = layer.forward(states, positions, self.caches[index])
        self.length += len(tokens)
        return rms_norm(states, self.model.output_norm, self.model.config.epsilon)


class Layer:
    def __init__(self, model, index):
        config = model.config
        self.model = model
        self.prefix = f"blk.{index}."
        norm = lambda name: model.optional(f"{self.prefix}{name}.weight")
        self.attention_norm = model.weight(f"{self.prefix}attn_norm.weight").astype(np.float64)
        self.feed_forward_norm = model.weight(f"{self.prefix}ffn_norm.weight").astype(np.float64)
        self.query_norm, self.key_norm = norm("attn_q_norm"), norm("attn_k_norm")
        self.after_attention, self.after_feed_forward = norm("post_attention_norm"), norm("post_ffw_norm")
        self.require(config.architecture in ("qwen3", "gemma3"), "attn_q_norm", self.query_norm)
        self.require(config.architecture in ("qwen3", "gemma3"), "attn_k_norm", self.key_norm)
        self.require(config.architecture == "gemma3", "post_attention_norm", self.after_attention)
        self.require(config.architecture == "gemma3", "post_ffw_norm", self.after_feed_forward)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            model.tensor(f"{self.prefix}{name}.weight")
            if f"{self.prefix}{name}.bias" in model.tensors:
                model.tensor(f"{self.prefix}{name}.bias")
        self.window = config.sliding_window if config.sliding_layers[index] else 0
        factors = model.optional("rope_freqs.weight") if config.architecture == "llama" else None
        if self.window:
            # Gemma 3 stretches the angles of global layers only: report, section 2, "Long context"; HF
            # Gemma3TextModel builds the local ones with rope_scaling default.
            self.rope = Rope(config.rope_dimensions, config.rope_base_local, config.rope_interleaved)
        else:
            scaling = config.rope_scaling
            self.rope = Rope(config.rope_dimensions, config.rope_base, config.rope_interleaved, scaling, factors)

    def require(self, expected, name, tensor):
        if expected != (tensor is not None):
            state = "is missing" if expected else f"has no use in architecture {self.model.config.architecture}"
            raise Refused(f"tensor {self.prefix}{name}.weight {state}")

    def forward(self, states, positions, cache):
        """States after this layer, and its keys and values including those of the new positions."""
        epsilon = self.model.config.epsilon
        mixed, cache = self.attend(rms_norm(states, self.attention_norm, epsilon), positions, cache)
        if self.after_attention is not None:
            mixed = rms_norm(mixed, self.after_attention, epsilon)
        states = states + mixed
        fed = self.feed_forward(rms_norm(states, self.feed_forward_norm, epsilon))
        if self.after_feed_forward is not None:
            fed = rms_norm(fed, self.after_feed_forward, epsilon)
        return states + fed, cache

    def attend(self, states, positions, cache):
        """Grouped-query attention (Ainslie et al. 2023): query head h looks at key head h // (heads / kv_heads)."""
        config = self.model.config
        count = len(states)
        project = lambda name: self.model.linear(self.prefix + name, states)
        queries = project("attn_q").reshape(count, config.heads, config.key_length)
        keys = project("attn_k").reshape(count, config.kv_heads, config.key_length)
        values = project("attn_v").reshape(count, config.kv_heads, config.value_length)
        if self.query_norm is not None:
            # Over each head, before the rotation: HF Qwen3Attention and Gemma3Attention.
            queries = rms_norm(queries, self.query_norm, config.epsilon)
            keys = rms_norm(keys, self.key_norm, config.epsilon)
        queries, keys = self.rope.turn(queries, positions), self.rope.turn(keys, positions)
        if cache[0] is not None:
            keys, values = np.concatenate([cache[0], keys]), np.concatenate([cache[1], values])
        distance = positions[:, None] - np.arange(len(keys))[None, :]
        hidden = distance < 0
        if self.window:
            # A position sees itself and the window - 1 before it: HF masking_utils.sliding_window_overlay.
            hidden |= distance >= self.window
        mixed = np.empty((count, config.heads, config.value_length))
        group = config.heads // config.kv_heads
        for head in range(config.heads):
            scores = queries[:, head] @ keys[:, head // group].T * config.query_scale
            scores[hidden] = -np.inf
            mixed[:, head] = softmax(scores) @ values[:, head // group]
        return self.model.linear(f"{self.prefix}attn_output", mixed.reshape(count, -1)), (keys, values)

    def feed_forward(self, states):
        """Gated linear unit: Shazeer 2020, "GLU variants improve Transformer"."""
        gate = self.model.linear(f"{self.prefix}ffn_gate", states)
        gate = gelu_tanh(gate) if self.model.config.gelu else silu(gate)
        return self.model.linear(f"{self.prefix}ffn_down", gate * self.model.linear(f"{self.prefix}ffn_up", states))


def dequantize(tensor):
    return dequantize_rows(tensor.data, tensor)


def dequantize_rows(data, tensor):
    try:
        return gguf.quants.dequantize(data, tensor.tensor_type)
    except NotImplementedError as error:
        raise Refused(f"tensor {tensor.name}: {error}") from error


def rms_norm(values, weight, epsilon):
    """Zhang and Sennrich 2019. GGUF's norm weights of Gemma already include the 1 that Gemma's code adds."""
    return values / np.sqrt(np.mean(values * values, axis=-1, keepdims=True) + epsilon) * weight


def softmax(scores):
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def silu(values):
    """x · sigmoid(x) (Elfwing et al. 2017), without overflow."""
    return values * 0.5 * (1.0 + np.tanh(0.5 * values))


def gelu_tanh(values):
    """The tanh form of Hendrycks and Gimpel 2016, PyTorch's approximate="tanh", HF's gelu_pytorch_tanh."""
    return 0.5 * values * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (values + 0.044715 * values**3)))
