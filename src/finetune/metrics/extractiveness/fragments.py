"""Coverage and density of copied fragments, and the share of n-grams that are new.

Coverage and density: Grusky et al. 2018 ("Newsroom", section 4). Novel n-grams over distinct
n-grams, as in Fabbri et al. 2021 (SummEval). Words are runs of letters and digits in lower case.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

WORD = re.compile(r"\w+(?:[:'’]\w+)*")  # keeps "don't" and "5:30" whole
NGRAMS = {"novel_unigrams": 1, "novel_bigrams": 2, "novel_trigrams": 3, "novel_4grams": 4}


def words(text: str) -> list[str]:
    """The words of a text in lower case, punctuation aside."""
    return WORD.findall(text.lower())


def score_rows(predictions: Sequence[str], documents: Sequence[str]) -> list[dict[str, float]]:
    """Per row: `coverage` (0 to 1), `density` and `words` (words), novel n-grams (percent).

    A text too short for an n-gram has 0 percent novel ones; an empty one scores 0 everywhere.
    """
    if len(predictions) != len(documents):
        raise ValueError(f"{len(predictions)} predictions, but {len(documents)} documents")
    return [_score(words(p), words(d)) for p, d in zip(predictions, documents, strict=True)]


def fragment_lengths(summary: Sequence[str], document: Sequence[str]) -> list[int]:
    """Lengths in words of the fragments shared with the document, longest first at each word.

    The paper's pseudo-code skips ahead in the document and misses a longer match that overlaps a
    shorter one ("a a b" in "a a a b"); here the longest is always found, as the text has it.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(document):
        places[word].append(place)
    lengths, start = [], 0
    while start < len(summary):
        at = places.get(summary[start], [])
        longest = max((_shared(summary, start, document, place) for place in at), default=0)
        if longest:
            lengths.append(longest)
        start += max(longest, 1)
    return lengths


def novel_share(summary: Sequence[str], document: Sequence[str], size: int) -> float:
    """Percent of the summary's distinct n-grams that the document does not contain."""
    mine = _ngrams(summary, size)
    return 100 * len(mine - _ngrams(document, size)) / len(mine) if mine else 0.0


def _score(summary: Sequence[str], document: Sequence[str]) -> dict[str, float]:
    lengths = fragment_lengths(summary, document)
    size = max(len(summary), 1)
    return {
        "coverage": sum(lengths) / size,
        "density": sum(length**2 for length in lengths) / size,
        **{name: novel_share(summary, document, n) for name, n in NGRAMS.items()},
        "words": float(len(summary)),
    }


def _shared(summary: Sequence[str], start: int, document: Sequence[str], place: int) -> int:
    """Words in common from `start` and `place` on."""
    most = min(len(summary) - start, len(document) - place)
    for length in range(most):
        if summary[start + length] != document[place + length]:
            return length
    return most


def _ngrams(tokens: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}
