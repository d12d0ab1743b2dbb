#!/usr/bin/env python3
"""What quantized blocks are worth, by an implementation that is not ours.

    dequantize-reference.py           one line `TYPE SHA256` a type: the constants of tests/kernels/formats.rs
    dequantize-reference.py MODEL…    one line `NAME SHA256` a tensor, in the file's order

The values are those of gguf.quants.dequantize, of the Python package of the llama.cpp project, as little-endian
float32; every NaN is 0x7fc00000, since its sign and payload depend on the processor. A sum is over all values.

A type's blocks are of any bits, so scales may be infinite or NaN: they are the SHA-256 sums of `TYPE 0`, `TYPE 1`, …
one after another, cut after 600 blocks (an F32, F16 or BF16 block is one value). With several models, a line
`# MODEL` stands before the tensors of each.

Needs numpy and gguf 0.19.
"""

import argparse
import hashlib
import struct
import sys

try:
    import gguf
    import numpy as np
except ImportError as error:
    sys.exit(f"dequantize-reference: {error}: pip install numpy gguf==0.19")

TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
BLOCKS = 600
NAN = np.uint32(0x7FC00000)
# How many values are dequantized at once: 64 MiB of float32.
VALUES_AT_ONCE = 1 << 24


def canonical_bytes(values):
    """Little-endian float32 bytes of `values`, with every NaN the same."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return np.where(np.isnan(values), NAN, bits).astype("<u4").tobytes()


def dequantize(data, kind):
    """The float32 values of rows of blocks. Infinite scales times zero are NaN by IEEE 754, no mistake."""
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(data, kind)


def tensor_sum(tensor):
    """Hex SHA-256 of the values of a tensor of gguf.GGUFReader, some rows at a time."""
    row_values = int(tensor.shape[0])
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    step = max(1, VALUES_AT_ONCE // row_values)
    sha = hashlib.sha256()
    for first in range(0, len(rows), step):
        sha.update(canonical_bytes(dequantize(rows[first : first + step], tensor.tensor_type)))
    return sha.hexdigest()


def print_sums(models):
    for model in models:
        try:
            reader = gguf.GGUFReader(model)
        except (OSError, ValueError, IndexError, struct.error) as error:
            sys.exit(f"dequantize-reference: cannot read {model}: {error}")
        if len(models) > 1:
            print(f"# {model}")
        for tensor in reader.tensors:
            try:
                print(tensor.name, tensor_sum(tensor), flush=True)
            except NotImplementedError as error:
                sys.exit(f"dequantize-reference: {model}: {tensor.name}: {error}")


def blocks_sum(name):
    """Hex SHA-256 of the values of BLOCKS blocks of any bits."""
    kind = gguf.GGMLQuantizationType[name]
    block_bytes = gguf.GGML_QUANT_SIZES[kind][1]
    size = BLOCKS * block_bytes
    stream = b"".join(hashlib.sha256(f"{name} {k}".encode()).digest() for k in range(-(-size // 32)))
    rows = np.frombuffer(stream[:size], dtype=np.uint8).reshape(BLOCKS, block_bytes)
    return hashlib.sha256(canonical_bytes(dequantize(rows, kind))).hexdigest()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("models", nargs="*", metavar="MODEL")
    models = parser.parse_args().models
    if models:
        return print_sums(models)
    for name in TYPES:
        print(name, blocks_sum(name))


if __name__ == "__main__":
    main()
