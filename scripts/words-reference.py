#!/usr/bin/env python3
"""Writes how published regular expressions cut texts: tests/tokenizer/words.json.

It needs `pip install regex`. The expressions are those of the models' own
tokenizer.json; `(?i:'s)` is written out, as in llama.cpp, because it would match
U+017F too. `--into DIR` reads DIR/corpus.jsonl, such as the random texts of
tokenizer-reference.py, and

    RINGFIELD_TOKENIZER_REFERENCE=DIR cargo test --release --test tokenizer words

compares with it. For each rule and text there are the words' lengths in bytes.
"""

import argparse
import json
import pathlib

import regex

TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "tokenizer"

CONTRACTIONS = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
RULES = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [
        CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        + SPACES
    ],
    "qwen2": [
        CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        + SPACES
    ],
    "qwen35": [
        CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
        + SPACES
    ],
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
