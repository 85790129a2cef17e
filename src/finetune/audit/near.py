"""Rows that are nearly the same: MinHash finds the candidates, exact comparison decides.

MinHash with bands: Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy

from finetune.audit.findings import Measured
from finetune.audit.words import ngrams

SAME = 0.8  # share of common n-grams (Jaccard) from which two texts are nearly the same
SIZE = 3  # words
BANDS, PER_BAND = 12, 2  # at 0.8 a pair goes unseen in 0.2% of all cases
COMPARED = 8  # rows of one bucket that another is compared with
MIXER = numpy.uint64(0xBF58476D1CE4E5B9)


def near_duplicates(texts: Sequence[tuple[str, str]], total: int, seed: int = 0) -> Measured:
    """Rows whose question and answer are both nearly those of one row before, but not quite.

    `texts` may be a sample of `total` rows, in which case the share is that of the sample.
    """
    rows = [(ngrams(asked, SIZE), ngrams(answered, SIZE)) for asked, answered in texts]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    coefficients = _coefficients(seed)
    found = []
    for number, row in enumerate(rows):
        keys = _keys(row, coefficients)
        near = {each for key in keys for each in buckets[key]}
        if any(_near(rows[each], row) and texts[each] != texts[number] for each in near):
            found.append(number)
        for key in keys:
            if len(buckets[key]) < COMPARED:
                buckets[key].append(number)
    more = f"{len(texts):,} of {total:,} looked at" if len(texts) < total else ""
    return Measured("near_duplicates", len(found), len(texts), found, more=more)


def _near(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    return all(_jaccard(a, b) >= SAME for a, b in zip(first, second, strict=True))


def _jaccard(first: Any, second: Any) -> float:
    if not len(first) or not len(second):
        return float(len(first) == len(second))
    common = len(numpy.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def _coefficients(seed: int) -> Any:
    generator = numpy.random.default_rng(seed)
    draws = generator.integers(1, 2**63, BANDS * PER_BAND, dtype=numpy.uint64)
    return draws | numpy.uint64(1)


def _keys(row: tuple[Any, Any], coefficients: Any) -> list[tuple[int, bytes]]:
    signatures = [_signature(part, coefficients) for part in row]
    pieces = [each.reshape(BANDS, PER_BAND) for each in signatures]
    return [(band, b"".join(piece[band].tobytes() for piece in pieces)) for band in range(BANDS)]


def _signature(grams: Any, coefficients: Any) -> Any:
    """The smallest hash under each of the permutations; zeros of no words at all."""
    if not len(grams):
        return numpy.zeros(len(coefficients), dtype=numpy.uint64)
    with numpy.errstate(over="ignore"):
        mixed = grams[:, None] * coefficients[None, :]
        mixed = (mixed ^ (mixed >> numpy.uint64(31))) * MIXER
    return mixed.min(axis=0)
