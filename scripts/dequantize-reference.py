#!/usr/bin/env python3
"""What every quantized block is worth, by an implementation that is not ours.

    dequantize-reference.py MODEL…                 one line `NAME SHA256` a tensor, in the file's order
    dequantize-reference.py --random TYPE N SEED   writes blocks.bin and values.f32 (--out DIR)

The values are those of gguf.quants.dequantize, of the Python package of the llama.cpp project, as
little-endian float32; every NaN is written as 0x7fc00000, since its sign and payload depend on the
processor. A sum is over all values of a tensor, row after row. With several models, a line `# MODEL`
stands before the tensors of each.

The random blocks take every bit pattern, so scales may be infinite or NaN. blocks.bin holds N blocks of
TYPE one after another (an F32, F16 or BF16 block is one value), values.f32 all their values.

Needs numpy and gguf 0.19.
"""

import argparse
import hashlib
import os
import struct
import sys

try:
    import gguf
    import numpy as np
except ImportError as error:
    sys.exit(f"dequantize-reference: {error}: pip install numpy gguf==0.19")

TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
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


def write_random(kind, count, seed, folder):
    if kind not in TYPES:
        sys.exit(f"dequantize-reference: unknown type {kind}, expected one of {' '.join(TYPES)}")
    kind = gguf.GGMLQuantizationType[kind]
    block_bytes = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = np.frombuffer(np.random.default_rng(seed).bytes(count * block_bytes), dtype=np.uint8)
    values = dequantize(blocks.reshape(count, block_bytes), kind)
    os.makedirs(folder, exist_ok=True)
    blocks.tofile(os.path.join(folder, "blocks.bin"))
    with open(os.path.join(folder, "values.f32"), "wb") as file:
        file.write(canonical_bytes(values))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--random", nargs=3, metavar=("TYPE", "N", "SEED"))
    parser.add_argument("--out", default=".", metavar="DIR")
    arguments = parser.parse_args()
    if bool(arguments.models) == bool(arguments.random):
        sys.exit("dequantize-reference: expected either models or --random TYPE N SEED")
    if arguments.models:
        return print_sums(arguments.models)
    kind, count, seed = arguments.random
    if not (count.isdecimal() and int(count) > 0 and seed.isdecimal()):
        sys.exit(f"dequantize-reference: N must be at least 1 and SEED at least 0, got {count} and {seed}")
    try:
        write_random(kind, int(count), int(seed), arguments.out)
    except OSError as error:
        sys.exit(f"dequantize-reference: cannot write into {arguments.out}: {error}")


if __name__ == "__main__":
    main()
