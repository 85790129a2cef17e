"""ROUGE-1, -2, -L and -Lsum: F1 in percent, with Porter stemming, by the `rouge_score` package.

`rouge_score` 0.1.2 keeps the letters a-z and digits only, so scores say nothing about texts in
other scripts. ROUGE-L reads a text as one sequence, ROUGE-Lsum line by line (Lin 2004, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def score_rows(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[dict[str, float]]:
    """The four scores of each prediction; of several references, each score takes its best.

    An empty prediction or reference scores 0.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    return [_score(*row) for row in zip(predictions, references, strict=True)]


def _score(prediction: str, references: Sequence[str]) -> dict[str, float]:
    if not references:
        raise ValueError("a prediction without a reference cannot be scored")
    best = _scorer().score_multi(references, prediction)
    return {name: 100 * float(best[name].fmeasure) for name in ROUGES}


@cache
def _scorer() -> Any:
    # The stemmer is code, not data: nothing is downloaded.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGES), use_stemmer=True)
