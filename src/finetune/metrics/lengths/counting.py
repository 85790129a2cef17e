"""Length in words, empty answers, and the share that ended with a stop token.

An answer that did not stop was cut at `max_new_tokens`: its other scores say less than they seem.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetune.metrics.extractiveness.fragments import words


def score_rows(
    predictions: Sequence[str], stopped: Sequence[bool] | None = None
) -> list[dict[str, float]]:
    """`length` of each row in words; `empty` and, where it is known, `stopped` in percent."""
    if stopped is not None and len(predictions) != len(stopped):
        raise ValueError(f"{len(predictions)} predictions, but {len(stopped)} in stopped")
    rows = [
        {"length": float(len(words(each))), "empty": 0.0 if each.strip() else 100.0}
        for each in predictions
    ]
    for row, ended in zip(rows, stopped or (), strict=False):
        row["stopped"] = 100.0 if ended else 0.0
    return rows
