#!/usr/bin/env python3
r"""Writes what llama.cpp makes of texts: the expected tokens of tests/tokenizer.

It needs llama-cpp-python (`pip install llama-cpp-python`, which builds llama.cpp;
0.3.36 made the files that are here) and the models of scripts/get-models.sh.

    scripts/tokenizer-reference.py                 # tests/tokenizer/expected-*.jsonl
    scripts/tokenizer-reference.py --random 5000 --seed 7 --into DIR
    RINGFIELD_TOKENIZER_REFERENCE=DIR cargo test --release --test tokenizer reference \
        -- --include-ignored

The second form makes random texts instead of reading the corpus, and the third
line compares with them; DIR then has the corpus too. It also makes a model for each
way of cutting words: its tokens are the 256 bytes and all pairs of bytes, so that a
word that is cut at another place has other tokens.

A line of corpus.jsonl is a text. The same line of an expected file has two lists
of tokens: the bare text, and with add_special and parse_special.
"""

import argparse
import json
import pathlib
import random
import struct
import sys
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "tokenizer"
MODELS = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma": "gemma-3-270m-q4_k_m.gguf",
}

# A name of each rule of src/engine/model/tokenizer/pre_tokenizer.rs.
PRE_TOKENIZERS = [
    "default", "gpt-2", "smollm", "llama-bpe", "dbrx", "glm4", "qwen2", "qwen35",
    "llama4", "tekken", "deepseek-coder", "falcon",
]

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

# Few characters, of every class that a rule knows: runs and neighbours of all kinds.
DENSE = (
    "   \t\n\n\r\u000b\u0085\u00a0\u1680\u3000''sStTrReEvVmMlLdDaA\u00e9\u00c9\u017f\u01c5"
    "1122\u0663\u00bd\u2167\u0301\u093f\u20dd./!_-$+<|`~^\u4e00\u9fa6\u30fc\uac00\u0e01"
    "\u0627\u05d0\u200d\U0001f3fd\ue000\u0378\uffff"
)


def is_old(character):
    """llama.cpp's tables are those of Unicode 15.1: what came later is a letter here
    and nothing there. Python 3.11 knows 14.0, and noncharacters stay what they are."""
    code = ord(character)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return is_noncharacter or unicodedata.category(character) != "Cn"


def random_text(source):
    if source.random() < 0.3:
        return "".join(source.choices(DENSE, k=source.choice([2, 3, 5, 8, 20, 60])))
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


def byte_letters():
    """The letters of byte-level vocabularies: GPT-2's."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    letters.update({byte: chr(0x100 + n) for n, byte in enumerate(others)})
    return [letters[byte] for byte in range(256)]


def write_pairs_model(path, pre):
    letters = byte_letters()
    # An odd factor: every pair once, in no order.
    pairs = [divmod(rank * 40503 % 65536, 256) for rank in range(65536)]
    tokens = letters + [letters[a] + letters[b] for a, b in pairs]
    merges = [letters[a] + " " + letters[b] for a, b in pairs]

    def string(text):
        text = text.encode()
        return struct.pack("<Q", len(text)) + text

    def strings(texts):
        return struct.pack("<IQ", 8, len(texts)) + b"".join(map(string, texts))

    def flag(value):
        return struct.pack("<?", value)

    keys = [
        ("general.architecture", 8, string("llama")),
        ("tokenizer.ggml.model", 8, string("gpt2")),
        ("tokenizer.ggml.pre", 8, string(pre)),
        ("tokenizer.ggml.add_bos_token", 7, flag(False)),
        ("tokenizer.ggml.tokens", 9, strings(tokens)),
        ("tokenizer.ggml.merges", 9, strings(merges)),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    body = (string(key) + struct.pack("<I", kind) + value for key, kind, value in keys)
    path.write_bytes(header + b"".join(body))


def write_expected(model, texts, path):
    from llama_cpp import Llama

    model = Llama(str(model), vocab_only=True, verbose=False)
    with open(path, "w") as expected:
        for text in texts:
            text = text.encode()
            bare = model.tokenize(text, add_bos=False, special=False)
            whole = model.tokenize(text, add_bos=True, special=True)
            expected.write(json.dumps([bare, whole], separators=(",", ":")) + "\n")


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

    for name, file in MODELS.items():
        expected = arguments.into / f"expected-{name}.jsonl"
        write_expected(ROOT / "models" / file, texts, expected)
    for pre in PRE_TOKENIZERS if arguments.random else []:
        model = arguments.into / f"pairs-{pre}.gguf"
        write_pairs_model(model, pre)
        write_expected(model, texts, arguments.into / f"expected-pairs-{pre}.jsonl")


if __name__ == "__main__":
    main()
