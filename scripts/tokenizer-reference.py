#!/usr/bin/env python3
"""Writes what llama.cpp makes of texts: the expected tokens of tests/tokenizer.

It needs llama-cpp-python (`pip install llama-cpp-python`, which builds llama.cpp;
0.3.36 made the files that are here) and the models of scripts/get-models.sh.

    scripts/tokenizer-reference.py                 # tests/tokenizer/expected-*.jsonl
    scripts/tokenizer-reference.py --random 5000 --seed 7 --into DIR
    RINGFIELD_TOKENIZER_REFERENCE=DIR cargo test --release --test tokenizer reference

The second form makes random texts instead of reading the corpus, and the third
line compares with them; DIR then has the corpus too.

A line of corpus.jsonl is a text. The same line of an expected file has two lists
of tokens: the bare text, and with add_special and parse_special.
"""

import argparse
import json
import pathlib
import random
import sys
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "tokenizer"
MODELS = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma": "gemma-3-270m-q4_k_m.gguf",
}

# What random texts are made of, beside any character at all.
BLOCKS = [
    (0x20, 0x7F), (0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370),
    (0x370, 0x400), (0x400, 0x530), (0x590, 0x600), (0x600, 0x700), (0x900, 0x980),
    (0xE00, 0xE80), (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2070),
    (0x2190, 0x2400), (0x2600, 0x27C0), (0x3000, 0x3100), (0x4E00, 0xA000),
    (0xAC00, 0xD7A4), (0xFF00, 0xFFF0), (0x1F300, 0x1F700), (0x1F900, 0x1FA00),
]
SNIPPETS = [
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", "\u00a0", "\u3000", "'s", "'S",
    "'re", "'LL", "'", "123", "4567", "\u200d", "\ufe0f", "\U0001f3fd", "the ", " and",
    "ing", "tion", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>",
    "<eos>", "<bos>", "</s>", "<h1>", "</strong>", "<table>", "<unused7>", "<0x0A>",
    "\u2581", "\u2581\u2581", "\u0120", "...", "--", "==", "//", "://", "www.", "\\n", "0",
    "the quick reader ", "Speicher ", "память ", "メモリ", "模型", "메모리", "\n" * 7, " " * 9,
]


def is_old(character):
    """llama.cpp's tables are those of Unicode 15.1: what came later is a letter here
    and nothing there. Python 3.11 knows 14.0, and noncharacters stay what they are."""
    code = ord(character)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return is_noncharacter or unicodedata.category(character) != "Cn"


def random_text(source):
    parts = []
    for _ in range(source.choice([1, 2, 3, 5, 8, 20, 60])):
        kind = source.random()
        if kind < 0.35:
            parts.append(source.choice(SNIPPETS))
        elif kind < 0.9:
            first, end = source.choice(BLOCKS)
            for _ in range(source.choice([1, 1, 2, 3, 6])):
                parts.append(chr(source.randrange(first, end)))
        else:
            code = source.randrange(0, 0x110000)
            if not 0xD800 <= code < 0xE000:
                parts.append(chr(code))
    return "".join(character for character in "".join(parts) if is_old(character))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--random", type=int, metavar="TEXTS")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--into", type=pathlib.Path, default=TESTS)
    arguments = arguments.parse_args()

    corpus = arguments.into / "corpus.jsonl"
    if arguments.random:
        if arguments.into == TESTS:
            sys.exit("random texts go elsewhere: --into DIR")
        source = random.Random(arguments.seed)
        arguments.into.mkdir(parents=True, exist_ok=True)
        texts = [random_text(source) for _ in range(arguments.random)]
        corpus.write_text("".join(json.dumps(text) + "\n" for text in texts))
    texts = [json.loads(line) for line in corpus.read_text().split("\n") if line]

    from llama_cpp import Llama

    for name, file in MODELS.items():
        model = Llama(str(ROOT / "models" / file), vocab_only=True, verbose=False)
        with open(arguments.into / f"expected-{name}.jsonl", "w") as expected:
            for text in texts:
                text = text.encode()
                bare = model.tokenize(text, add_bos=False, special=False)
                whole = model.tokenize(text, add_bos=True, special=True)
                expected.write(json.dumps([bare, whole], separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
