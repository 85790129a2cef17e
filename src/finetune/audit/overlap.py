"""Evaluation rows that stand among the training rows, whole or in large part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy

from finetune.audit.findings import Measured
from finetune.audit.words import ngrams, plain

SIZE = 13  # words, as in Brown et al. 2020 (GPT-3), appendix C
BOILERPLATE = 10  # n-grams in more training rows than that are wording of the prompt, or a schema
SEEN = 0.5  # share of a row's own n-grams from which it counts as seen


def overlap(evaluation: Sequence[str], training: Iterable[str]) -> Measured:
    """Rows of `evaluation` that equal a training row word by word, or share half their n-grams.

    N-grams that occur in more than ten training rows are left out of the count: prompts share
    instructions, and rows of one database share its schema. A row that has fewer than thirteen
    left counts only word by word. Training rows are read once.
    """
    grams = [ngrams(text, SIZE) for text in evaluation]
    every = numpy.unique(numpy.concatenate(grams)) if grams else numpy.empty(0, numpy.uint64)
    rows_with = numpy.zeros(len(every), dtype=numpy.int64)
    whole = set()
    for text in training:
        whole.add(_key(text))
        if not len(every):
            continue
        found = ngrams(text, SIZE)
        at = numpy.searchsorted(every, found).clip(max=len(every) - 1)
        rows_with[at[every[at] == found]] += 1
    seen = [
        number
        for number, text in enumerate(evaluation)
        if _key(text) in whole or _is_seen(rows_with[numpy.searchsorted(every, grams[number])])
    ]
    exact = sum(_key(text) in whole for text in evaluation)
    more = f"{exact:,} of them word by word" if seen else ""
    return Measured("overlap", len(seen), len(evaluation), seen, "evaluation rows", more=more)


def _is_seen(rows_with: numpy.ndarray) -> bool:
    own = rows_with[rows_with <= BOILERPLATE]
    return len(own) >= SIZE and float((own > 0).mean()) >= SEEN


def _key(text: str) -> bytes:
    return hashlib.blake2b(plain(text).encode(), digest_size=12).digest()
