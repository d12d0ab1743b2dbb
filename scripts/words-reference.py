#!/usr/bin/env python3
"""Writes how published regular expressions cut texts: tests/tokenizer/words.json.

    pip install regex
    scripts/words-reference.py

The expressions are those that llama.cpp's `llama-vocab.cpp` has for each rule, word
for word; the engine is not llama.cpp's. `--into DIR` reads DIR/corpus.jsonl, such as
the random texts of tokenizer-reference.py, and

    RINGFIELD_TOKENIZER_REFERENCE=DIR cargo test --release --test tokenizer words

compares with it. For each rule and text there are the words' lengths in bytes.
"""

import argparse
import json
import pathlib

import regex

TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "tokenizer"

CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
# A letter that is not a small one, and one that is not a capital one, of ASCII.
NOT_SMALL = r"((?=[\p{L}])([^a-z]))"
NOT_CAPITAL = r"((?=[\p{L}])([^A-Z]))"


def llama3(digits):
    return (
        CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        + SPACES
    )


def cased(contractions, digits):
    before = r"[^\r\n\p{L}\p{N}]?"
    return (
        f"{before}{NOT_SMALL}*{NOT_CAPITAL}+{contractions}"
        f"|{before}{NOT_SMALL}+{NOT_CAPITAL}*{contractions}|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
        + SPACES
    )


# By one name of each rule. What one expression leaves is cut by the next.
RULES = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [llama3(r"\p{N}{1,3}")],
    "qwen2": [llama3(r"\p{N}")],
    "qwen35": [
        CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
        + SPACES
    ],
    "llama4": [cased(CONTRACTIONS + "?", r"\p{N}{1,3}")],
    "tekken": [cased("", r"\p{N}")],
    "deepseek-coder": [
        r"[\r\n]",
        r"\s?\p{L}+",
        r"\s?\p{P}+",
        # llama.cpp reads all white space beyond ASCII as U+000B, which is not among these.
        r"(?:(?!\s)[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff])+",
        r"\p{N}",
    ],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
}


def cut(text, expressions):
    parts = [text]
    for expression in expressions:
        cut = []
        for part in parts:
            done = 0
            for match in regex.finditer(expression, part):
                cut += [part[done : match.start()], match.group()]
                done = match.end()
            cut.append(part[done:])
        parts = [part for part in cut if part]
    return [len(part.encode()) for part in parts]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--into", type=pathlib.Path, default=TESTS)
    into = arguments.parse_args().into
    lines = (into / "corpus.jsonl").read_text().split("\n")
    texts = [json.loads(line) for line in lines if line]
    words = {rule: [cut(text, RULES[rule]) for text in texts] for rule in RULES}
    (into / "words.json").write_text(json.dumps(words, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
