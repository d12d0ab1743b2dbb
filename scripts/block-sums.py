#!/usr/bin/env python3
"""What blocks of any bits are worth, by an implementation that is not ours: the constants of tests/kernels/formats.rs.

    block-sums.py      one line `TYPE SHA256` a type

A type's blocks are the SHA-256 sums of `TYPE 0`, `TYPE 1`, … one after another, cut after 600 blocks (an F32, F16 or
BF16 block is one element). The sum printed is that of their elements by gguf.quants.dequantize, of the Python package of
the llama.cpp project, as little-endian float32, every NaN as 0x7fc00000.

Needs numpy and gguf 0.19.
"""

import hashlib

import gguf
import numpy as np

TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
BLOCKS = 600


def blocks(name, size):
    sums = -(-size // 32)
    stream = b"".join(hashlib.sha256(f"{name} {k}".encode()).digest() for k in range(sums))
    return np.frombuffer(stream[:size], dtype=np.uint8)


for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    block_bytes = gguf.GGML_QUANT_SIZES[kind][1]
    rows = blocks(name, BLOCKS * block_bytes).reshape(BLOCKS, block_bytes)
    with np.errstate(all="ignore"):
        values = np.ascontiguousarray(gguf.quants.dequantize(rows, kind), dtype=np.float32)
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    print(name, hashlib.sha256(bits.astype("<u4").tobytes()).hexdigest())
