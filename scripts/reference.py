#!/usr/bin/env python3
"""A forward pass in float64 numpy that shares no code with ringfield, to judge its results by.

    reference.py logits MODEL --tokens IDS --out FILE.npy [--last] [--dtype float64|float32]
    reference.py perplexity MODEL --tokens IDS [--ctx 512]
    reference.py generate MODEL --tokens IDS -n N
    reference.py compare A.npy B.npy [--tokens IDS]
    reference.py make-model --arch llama|qwen2|qwen3|gemma3 --out FILE.gguf [--type TYPE] [--seed N] [--layers N]
                            [--tied | --untied] [--rope-scaling none|linear|yarn] [--rope-freqs]

IDS is 1,2,3 or @FILE of token ids between commas or white space; nothing is added to them. Weights are dequantized
by gguf.quants; all arithmetic is float64, and so are the logits unless --dtype says otherwise. Architectures:
llama, qwen2, qwen3, gemma3, dense. make-model writes a tiny random model of one of them.

Needs numpy and gguf 0.19 (`pip install numpy gguf==0.19`); keeps four bytes for each weight in memory.
"""

import argparse
import os
import re
import sys

try:
    import gguf  # noqa: F401, reference.model uses it
    import numpy as np
except ImportError as error:
    sys.exit(f"reference: {error}: pip install numpy gguf==0.19")

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from reference import Refused, scoring, tiny
from reference.config import ARCHITECTURES
from reference.model import Model


class Parser(argparse.ArgumentParser):
    def error(self, message):
        sys.exit(f"reference: {message}")


def token_ids(text):
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    words = re.split(r"[\s,]+", text.strip(" \t\r\n,"))
    if not all(re.fullmatch(r"[0-9]+", word) for word in words):
        bad = next(word for word in words if not re.fullmatch(r"[0-9]+", word))
        raise Refused(f"expected token ids, got {bad[:40]!r}")
    return [int(word) for word in words]


def run_logits(options):
    tokens = token_ids(options.tokens)
    shape = scoring.write_logits(Model(options.model), tokens, options.out, options.last, options.dtype)
    print(f"{options.out}: {shape[0]} × {shape[1]} {options.dtype}")


def run_perplexity(options):
    def report(chunk, chunks, so_far):
        print(f"chunk {chunk} of {chunks}: {so_far:.8f}", file=sys.stderr)

    tokens = token_ids(options.tokens)
    value, scored = scoring.perplexity(Model(options.model), tokens, options.ctx, report)
    print(f"perplexity {value:.8f} over {scored} tokens, context {options.ctx}")


def run_generate(options):
    model = Model(options.model)
    tokens = token_ids(options.tokens)
    print("token logit gap")
    for token, logit, gap in scoring.generate(model, tokens, options.n):
        print(f"{token} {logit:.8f} {gap:.8f}", flush=True)


def run_compare(options):
    a, b = np.load(options.a, mmap_mode="r"), np.load(options.b, mmap_mode="r")
    tokens = options.tokens and np.array(token_ids(options.tokens))
    for name, value in scoring.compare(a, b, tokens).items():
        print(f"{name}: {'none' if value is None else format(value, '.8g')}")


def run_make_model(options):
    tiny.write(options)
    print(f"{options.out}: {os.path.getsize(options.out)} bytes")


def parser():
    top = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def command(name, run, about):
        sub = commands.add_parser(name, description=about, help=about)
        sub.set_defaults(run=run)
        return sub

    logits = command("logits", run_logits, "logits of every position")
    logits.add_argument("model")
    logits.add_argument("--tokens", required=True)
    logits.add_argument("--out", required=True)
    logits.add_argument("--last", action="store_true", help="those of the last position only")
    logits.add_argument("--dtype", choices=["float64", "float32"], default="float64")

    perplexity = command("perplexity", run_perplexity, "as llama-perplexity computes it")
    perplexity.add_argument("model")
    perplexity.add_argument("--tokens", required=True)
    perplexity.add_argument("--ctx", type=int, default=512)

    generate = command("generate", run_generate, "greedy tokens, their logits and the gap to the second")
    generate.add_argument("model")
    generate.add_argument("--tokens", required=True)
    generate.add_argument("-n", type=int, required=True)

    compare = command("compare", run_compare, "how far B is from A")
    compare.add_argument("a")
    compare.add_argument("b")
    compare.add_argument("--tokens", help="also the perplexity of these tokens, which the logits follow")

    make = command("make-model", run_make_model, "a tiny random model with every feature of its architecture")
    make.add_argument("--arch", choices=ARCHITECTURES, required=True)
    make.add_argument("--out", required=True)
    make.add_argument("--type", default="F32", help=f"of the matrices: {', '.join(tiny.TYPES)}")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--layers", type=int, help="2, or 7 for gemma3, of which the 6th is global")
    tied = make.add_mutually_exclusive_group()
    tied.add_argument("--tied", dest="tied", action="store_true", default=None, help="default for qwen3 and gemma3")
    tied.add_argument("--untied", dest="tied", action="store_false", help="default for llama and qwen2")
    make.add_argument("--rope-scaling", choices=["none", "linear", "yarn"], default="none")
    make.add_argument("--rope-freqs", action="store_true", help="llama only")
    return top


def main():
    options = parser().parse_args()
    try:
        options.run(options)
    except BrokenPipeError:
        sys.exit(1)
    except (OSError, ValueError) as error:
        sys.exit(f"reference: {error}")


if __name__ == "__main__":
    main()
