"""The shape and the constants of a model, from a GGUF file's metadata.

Where a file omits a constant, its value comes from the model's original configuration; the source stands
beside it. `%s` in the comments is the architecture, e.g. `llama.attention.head_count`. Key names are those of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import dataclasses

from . import Refused

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")


@dataclasses.dataclass
class RopeScaling:
    """How rotary angles are stretched beyond the trained context; see rope.py."""

    kind: str  # "none", "linear" or "yarn"
    factor: float
    original_context: int
    attention_factor: float
    extrapolation: float
    beta_fast: float
    beta_slow: float


@dataclasses.dataclass
class Config:
    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    epsilon: float
    query_scale: float
    embedding_scale: float
    logit_softcap: float  # 0: none
    rope_dimensions: int
    rope_base: float
    rope_interleaved: bool
    rope_scaling: RopeScaling
    rope_base_local: float
    sliding_window: int  # 0: every layer sees everything
    sliding_layers: list[bool]
    adds_bos: bool
    bos: int | None

    @property
    def gelu(self):
        """Gemma gates with GELU (tanh form), the others with SiLU: `hidden_act` of the Hugging Face configs."""
        return self.architecture == "gemma3"


class Metadata:
    """Typed access to the keys of one architecture."""

    def __init__(self, fields):
        self.fields = fields
        self.architecture = self.text("general.architecture")
        if self.architecture not in ARCHITECTURES:
            raise Refused(f"architecture {self.architecture!r} is not one of {', '.join(ARCHITECTURES)}")

    def text(self, key, default=None):
        value = self.raw(key, default)
        if not isinstance(value, str):
            raise Refused(f"metadata key {key} is not a string")
        return value

    def raw(self, key, default=None):
        field = self.fields.get(key)
        return default if field is None else field.contents()

    def number(self, key, default=None):
        """The number at `%s.key`. Some converters write one for each layer; they must agree here."""
        name = f"{self.architecture}.{key}"
        value = self.raw(name, default)
        if value is None:
            raise Refused(f"metadata key {name} is missing")
        if isinstance(value, list) and value and all(v == value[0] for v in value):
            value = value[0]
        if isinstance(value, (bool, str, list)):
            raise Refused(f"metadata key {name} is not a single number")
        return value


def read_config(fields):
    """Config from GGUFReader.fields."""
    meta = Metadata(fields)
    architecture = meta.architecture
    if meta.raw("split.count", 1) > 1:
        raise Refused("the model is split into several files; only single files are read")
    if meta.number("expert_count", 0) > 0:
        raise Refused("mixtures of experts are not supported")
    layers = meta.number("block_count")
    width = meta.number("embedding_length")
    heads = meta.number("attention.head_count")
    kv_heads = meta.number("attention.head_count_kv", heads)
    if min(layers, width, heads, kv_heads) < 1 or heads % kv_heads != 0:
        raise Refused(f"{layers} layers of width {width} with {heads} heads on {kv_heads} key heads make no sense")
    key_length = meta.number("attention.key_length", width // heads)
    gemma = architecture == "gemma3"
    window = meta.number("attention.sliding_window", 0) if gemma else 0
    return Config(
        architecture=architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        key_length=key_length,
        value_length=meta.number("attention.value_length", width // heads),
        epsilon=meta.number("attention.layer_norm_rms_epsilon"),
        query_scale=query_scale(meta, layers, width, heads, key_length),
        # Gemma multiplies embeddings with sqrt(width): gemma_pytorch, GemmaModel.forward ("normalizer").
        # Hugging Face rounds the factor to the weights' type (bfloat16); here it is exact, as in llama.cpp.
        embedding_scale=width**0.5 if gemma else 1.0,
        # null in every released Gemma 3 config, unlike Gemma 2's 30.
        logit_softcap=meta.number("final_logit_softcapping", 0.0),
        rope_dimensions=meta.number("rope.dimension_count", key_length),
        rope_base=meta.number("rope.freq_base", default_rope_base(architecture)),
        # convert_hf_to_gguf permutes the query and key rows of Llama so that pairs stand side by side
        # (LlamaModel.permute); the other architectures keep Hugging Face's halves ("NeoX").
        rope_interleaved=architecture == "llama",
        rope_scaling=rope_scaling(meta),
        # HF Gemma3TextConfig.rope_local_base_freq: 10000.
        rope_base_local=meta.number("rope.freq_base_swa", 10000.0),
        sliding_window=window,
        sliding_layers=sliding_layers(meta, layers) if window else [False] * layers,
        adds_bos=adds_bos(meta),
        bos=bos(meta),
    )


def query_scale(meta, layers, width, heads, key_length):
    """What query times key is multiplied with: 1 / sqrt(head size) (Vaswani et al. 2017, section 3.2.1).

    Gemma 3 27B alone (62 layers) has query_pre_attn_scalar = 168 = width / heads in its HF config, with a head
    size of 128; GGUF has no key for it and llama.cpp too goes by the number of layers. `attention.scale` is meant for
    other architectures, and llama.cpp would ignore it here.
    """
    if meta.architecture == "gemma3" and layers == 62:
        scale = (width // heads) ** -0.5
    else:
        scale = key_length**-0.5
    return meta.number("attention.scale", 0.0) or scale


def default_rope_base(architecture):
    """gguf.md: 10000, as in Su et al. 2021; HF Gemma3TextConfig.rope_theta: 1e6 for global layers.

    Every converter writes the key; llama.cpp would take 10000 for Gemma too.
    """
    return 1e6 if architecture == "gemma3" else 10000.0


def rope_scaling(meta):
    """RopeScaling from `%s.rope.scaling.*`.

    A factor without a type is linear, and so is the older key `rope.scale_linear`: gguf.md. YaRN's beta_fast = 32
    and beta_slow = 1 are those of Peng et al. 2023, section 3.4, for Llama and of HF's rope utilities.
    """
    factor = meta.number("rope.scaling.factor", meta.number("rope.scale_linear", 0.0)) or 1.0
    kind = meta.text(f"{meta.architecture}.rope.scaling.type", "linear")
    if kind not in ("none", "linear", "yarn"):
        raise Refused(f"RoPE scaling {kind!r} is not supported")
    # These replace YaRN's temperature in Hugging Face; no file of these architectures is known to have them.
    for key, neutral in (("yarn_log_multiplier", 0.0), ("yarn_attn_factor", 1.0)):
        if meta.number(f"rope.scaling.{key}", neutral) != neutral:
            raise Refused(f"rope.scaling.{key} is not supported")
    return RopeScaling(
        kind=kind,
        factor=factor,
        original_context=meta.number("rope.scaling.original_context_length", 0) or meta.number("context_length"),
        attention_factor=meta.number("rope.scaling.attn_factor", 1.0),
        extrapolation=meta.number("rope.scaling.yarn_ext_factor", 1.0),
        beta_fast=meta.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=meta.number("rope.scaling.yarn_beta_slow", 1.0),
    )


def sliding_layers(meta, layers):
    """Which layers look back over a window only: all but each 6th.

    Gemma 3 report (2025), section 2: five local layers for one global; HF Gemma3TextConfig:
    sliding_window_pattern = 6, layer i is global where (i + 1) % 6 == 0.
    """
    pattern = meta.raw(f"{meta.architecture}.attention.sliding_window_pattern", 6)
    if isinstance(pattern, list):
        if len(pattern) != layers:
            raise Refused(f"sliding_window_pattern has {len(pattern)} values for {layers} layers")
        return [bool(slides) for slides in pattern]
    if pattern < 1:
        raise Refused(f"sliding_window_pattern is {pattern}, expected at least 1")
    return [(layer + 1) % pattern != 0 for layer in range(layers)]


# Pre-tokenizers that go with BOS although byte-level BPE alone does not: llama.cpp, src/llama-vocab.cpp.
PRE_TOKENIZERS_WITH_BOS = (
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken chameleon".split()
)


def adds_bos(meta):
    """Whether text starts with BOS: the key, or llama.cpp's defaults (src/llama-vocab.cpp, llama_vocab::impl::load)."""
    kind = meta.text("tokenizer.ggml.model", "none")
    pre = meta.text("tokenizer.ggml.pre", "default")
    default = kind in ("llama", "bert") or (kind == "gpt2" and pre in PRE_TOKENIZERS_WITH_BOS)
    return bool(meta.raw("tokenizer.ggml.add_bos_token", default))


def bos(meta):
    """The id of BOS, by the same function where the file names none."""
    default = {"llama": 1, "gpt2": 11}.get(meta.text("tokenizer.ggml.model", "none"))
    return meta.raw("tokenizer.ggml.bos_token_id", default)
