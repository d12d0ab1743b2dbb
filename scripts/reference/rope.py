"""Rotary position embedding (Su et al. 2021, RoFormer, section 3.2.2) and how it is stretched."""

import math

import numpy as np


class Rope:
    """Turns queries and keys by their positions.

    `factors` is the tensor rope_freqs.weight (Llama 3.1's scaling, which convert_hf_to_gguf computes once): each
    frequency is divided by its factor.
    """

    def __init__(self, dimensions, base, interleaved, scaling=None, factors=None):
        self.dimensions = dimensions
        self.interleaved = interleaved
        frequencies = base ** (-np.arange(0, dimensions, 2, dtype=np.float64) / dimensions)
        if factors is not None:
            frequencies = frequencies / factors
        self.magnitude = scaling.attention_factor if scaling else 1.0
        if scaling is None or scaling.kind == "none":
            self.frequencies = frequencies
        elif scaling.kind == "linear":
            # Chen et al. 2023, "Extending context window … via position interpolation": positions are divided.
            self.frequencies = frequencies / scaling.factor
        else:
            self.frequencies = yarn_frequencies(frequencies, dimensions, base, scaling)
            self.magnitude *= yarn_temperature(scaling)

    def turn(self, vectors, positions):
        """`vectors`: [positions, heads, size]; the dimensions beyond `dimensions` stay as they are."""
        angles = np.asarray(positions, dtype=np.float64)[:, None, None] * self.frequencies
        cosine, sine = np.cos(angles) * self.magnitude, np.sin(angles) * self.magnitude
        n = self.dimensions
        if self.interleaved:
            first, second = slice(0, n, 2), slice(1, n, 2)
        else:
            first, second = slice(0, n // 2), slice(n // 2, n)
        a, b = vectors[..., first], vectors[..., second]
        turned = vectors.copy()
        turned[..., first] = a * cosine - b * sine
        turned[..., second] = a * sine + b * cosine
        return turned


def yarn_frequencies(frequencies, dimensions, base, scaling):
    """"NTK by parts", Peng et al. 2023 (YaRN), section 3.2: fast dimensions stay, slow ones are interpolated.

    The ramp runs over the index of the pair, from floor to ceil of where a pair turns beta_fast and beta_slow
    times over the original context: HF modeling_rope_utils._compute_yarn_parameters, ggml's rope_yarn_corr_dims.
    """

    def pair_turning(times):
        return dimensions * math.log(scaling.original_context / (times * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_turning(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_turning(scaling.beta_slow)), dimensions - 1)
    ramp = np.clip((np.arange(len(frequencies)) - low) / max(high - low, 0.001), 0.0, 1.0)
    kept = (1.0 - ramp) * scaling.extrapolation
    return frequencies / scaling.factor * (1.0 - kept) + frequencies * kept


def yarn_temperature(scaling):
    """YaRN's attention temperature, on cosine and sine: 0.1 ln(factor) + 1 (Peng et al. 2023, section 3.3).

    None where nothing is extrapolated, as in ggml's rope_yarn.
    """
    if scaling.extrapolation == 0.0 or scaling.factor <= 1.0:
        return 1.0
    return 0.1 * math.log(scaling.factor) + 1.0
