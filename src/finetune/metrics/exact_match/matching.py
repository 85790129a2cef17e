"""Exact match up to white space at the ends and between words."""

from __future__ import annotations

from collections.abc import Sequence


def score_rows(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[dict[str, float]]:
    """100 where a prediction is one of its references, else 0."""
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    return [
        {"exact_match": 100.0 if _plain(answer) in {_plain(each) for each in right} else 0.0}
        for answer, right in zip(predictions, references, strict=True)
    ]


def _plain(text: str) -> str:
    return " ".join(text.split())
