"""What is said of logits: perplexity, greedy tokens, and how far two sets of logits are apart."""

import math

import numpy as np

from . import Refused
from .model import LOGITS_AT_ONCE, Sequence


def write_logits(model, tokens, out, last_only, dtype):
    """Writes logits to an .npy file of [positions, vocabulary], a few positions at a time."""
    hidden = model.hidden(tokens)
    if last_only:
        hidden = hidden[-1:]
    file = np.lib.format.open_memmap(out, mode="w+", dtype=dtype, shape=(len(hidden), model.vocabulary))
    for first, logits in model.logits_in_groups(hidden):
        file[first : first + len(logits)] = logits
    file.flush()
    return file.shape


def perplexity(model, tokens, context, report=None):
    """exp of the mean negative log-likelihood, as llama-perplexity defines it; (perplexity, tokens scored).

    llama.cpp, tools/perplexity/perplexity.cpp, perplexity(): the text is cut into chunks of `context` tokens, the
    rest is dropped. Each chunk is a sequence of its own; where the model adds BOS it replaces the first token.
    The logits at positions context/2 to context-2 are scored on the token after each.
    """
    chunks = len(tokens) // context
    if context < 3 or chunks < 1:
        raise Refused(f"{len(tokens)} tokens make no chunk of {context}; a chunk has at least 3")
    if model.config.adds_bos and model.config.bos is None:
        raise Refused("the model adds BOS but names none")
    loss, scored = 0.0, 0
    for chunk in range(chunks):
        text = list(tokens[chunk * context : (chunk + 1) * context])
        if model.config.adds_bos:
            text[0] = model.config.bos
        hidden = model.hidden(text)[context // 2 : context - 1]
        targets = np.array(text[context // 2 + 1 :])
        for first, logits in model.logits_in_groups(hidden):
            right = targets[first : first + len(logits)]
            loss -= log_softmax(logits)[np.arange(len(right)), right].sum()
        scored += len(targets)
        if report:
            report(chunk + 1, chunks, math.exp(loss / scored))
    return math.exp(loss / scored), scored


def generate(model, tokens, count):
    """Yields (token, its logit, gap to the second largest logit): greedy, the lowest id of equals, past any EOS."""
    sequence = Sequence(model)
    hidden = sequence.extend(tokens)
    for step in range(count):
        logits = model.logits(hidden[-1:])[0]
        token = int(np.argmax(logits))
        yield token, float(logits[token]), float(top_gap(logits[None])[0])
        if step + 1 < count:
            hidden = sequence.extend([token])


def compare(a, b, tokens=None):
    """Distances of two [positions, vocabulary] arrays; A is taken as the truth.

    With the tokens that the logits follow, also the perplexity that each gives them, the first one not counted.

    Kullback-Leibler divergence of B from A in nats, and the gap between A's two largest logits where A and B
    disagree on the largest: a small one is a near tie, a large one a mistake.
    """
    if a.ndim != 2 or a.shape != b.shape:
        raise Refused(f"shapes {a.shape} and {b.shape} are not two equal [positions, vocabulary]")
    if tokens is not None and len(tokens) != len(a):
        raise Refused(f"{len(tokens)} tokens are not those of {len(a)} rows of logits")
    largest, divergence, same, gaps, losses = 0.0, 0.0, 0, [], np.zeros(2)
    for first in range(0, len(a), LOGITS_AT_ONCE):
        x = a[first : first + LOGITS_AT_ONCE].astype(np.float64)
        y = b[first : first + LOGITS_AT_ONCE].astype(np.float64)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise Refused(f"logits at positions {first} to {first + len(x) - 1} are not all finite")
        largest = max(largest, np.abs(x - y).max())
        p, q = log_softmax(x), log_softmax(y)
        divergence += (np.exp(p) * (p - q)).sum()
        agree = x.argmax(axis=1) == y.argmax(axis=1)
        same += agree.sum()
        gaps.extend(top_gap(x[~agree]))
        if tokens is not None:
            following = tokens[first + 1 : first + len(x) + 1]
            rows = np.arange(len(following))
            losses -= p[rows, following].sum(), q[rows, following].sum()
    perplexities = {}
    if tokens is not None and len(tokens) > 1:
        of_a, of_b = np.exp(losses / (len(tokens) - 1))
        perplexities = {"perplexity of A": of_a, "perplexity of B": of_b, "B to A, less 1": of_b / of_a - 1}
    return {
        "max |Δlogit|": largest,
        "mean KLD": divergence / len(a),
        "same top-1": same / len(a),
        "smallest top-2 gap where they differ": min(gaps, default=None),
        "largest top-2 gap where they differ": max(gaps, default=None),
    } | perplexities


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def top_gap(logits):
    """Largest minus second largest of each row."""
    best = np.partition(logits, -2, axis=-1)[:, -2:]
    return best[:, 1] - best[:, 0]
