#!/usr/bin/env python3
"""Runs a model from its GGUF file and from the packed field that is made of it in turn, under the memory limits of
scripts/compare-llama.sh, and prints tokens a second and the ratio.

    sudo scripts/compare-packed.py [--rounds N] [--page-size SIZE] [--model FILE]...

Needs root (for the memory control groups), the release build of the command, and room beside the models.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
spec = importlib.util.spec_from_file_location("compare_llama", os.path.join(HERE, "compare-llama.py"))
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)

# llama.cpp's own memory for these models and 512 tokens, as compare-llama.sh measures it.
BESIDE_BYTES = 34_000_000


def rounds_of(model, options):
    plain = compare.Ringfield(model, options.threads, "eight-bit")
    plain.plan_once = plain.plan()
    field = f"{model}.{os.getpid()}.rf"
    size = os.path.getsize(model)
    kv = compare.CONTEXT * plain.plan_once["kv_bytes_per_token"]
    rows = {"1/2": [], "1/4": []}
    try:
        compare.run(["target/release/ringfield", "pack", model, "--out", field,
                     "--page-size", options.page_size])
        packed = compare.Ringfield(field, options.threads, "eight-bit")
        packed.plan_once = plain.plan_once
        for number in range(options.rounds):
            for name, share in (("1/2", 0.5), ("1/4", 0.25)):
                limit = int(BESIDE_BYTES + share * size)
                dram = (limit - kv - plain.plan_once["beside_bytes"] - compare.PROGRAM_BYTES) // compare.MIB * compare.MIB
                # Who runs first takes turns.
                sides = [plain, packed] if number % 2 == 0 else [packed, plain]
                got = [side.run(200, ["-p", compare.PROMPT], dram=dram, limit=limit) for side in sides]
                got = got if number % 2 == 0 else got[::-1]
                if got[0]["tokens"] != got[1]["tokens"]:
                    raise compare.Failed("the packed model says something else")
                rows[name].append([run["tok_per_s"] for run in got])
                print(".", end="", file=sys.stderr, flush=True)
    finally:
        if os.path.exists(field):
            os.remove(field)
    return rows


def main():
    parser = argparse.ArgumentParser(prog="compare-packed.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--page-size", default="256KiB")
    parser.add_argument("--model", action="append")
    options = parser.parse_args()
    models = [os.path.realpath(model) for model in options.model or []]
    os.chdir(os.path.join(HERE, ".."))
    try:
        for model in models or compare.MODELS:
            rows = rounds_of(model, options)
            print(file=sys.stderr)
            for name, pairs in rows.items():
                plain, packed = ([pair[k] for pair in pairs] for k in (0, 1))
                ratios = [b / a for a, b in pairs]
                print(f"{os.path.basename(model)}, pages of {options.page_size}, limit: its memory and {name} of the file: "
                      f"file {statistics.median(plain):.1f}, packed {statistics.median(packed):.1f} tokens/s, "
                      f"ratio {compare.spread(ratios, 2)}")
    except (compare.Failed, OSError, json.JSONDecodeError) as why:
        sys.exit(f"compare-packed: {why}")


if __name__ == "__main__":
    main()
