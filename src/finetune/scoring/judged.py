"""A judge's replies, on disk, to scores of each row; a row without a verdict has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.recipe.judging import Rubric, resolved
from finetune.recipe.types import Score
from finetune.scoring import files
from finetune.tasks import rubrics
from finetune.tasks.base import Metric

Replies = Sequence[Sequence[str]]  # to each question about an answer, all that was replied
RowScores = list[dict[str, float]]


def judged(score: Score, folder: Path, models: Sequence[str]) -> dict[str, RowScores]:
    """Scores of each row by model; of a pairwise rubric the one to compare with comes first.

    What the judge says is there in rows where its replies about every model have the form;
    `malformed` is there in all.
    """
    assert score.rubric is not None, "the recipe's check wants one"
    rubric = resolved(score.rubric)
    lines = files.read_lines(folder / f"replies-{score.name}.jsonl")
    read = [
        {name: _read(rubric, replies) for name, replies in line["replies"].items()}
        for line in lines
    ]
    whole = [all(scores is not None for scores in row.values()) for row in read]
    found: dict[str, RowScores] = {}
    if score.against:
        even = {rubrics.PREFERRED.name: 50.0}
        found[score.against] = [dict(even) if known else {} for known in whole]
    for name in (name for name in models if name in read[0]):
        found[name] = [
            {
                **((row[name] or {}) if known else {}),
                rubrics.MALFORMED.name: 100.0 if row[name] is None else 0.0,
            }
            for row, known in zip(read, whole, strict=True)
        ]
    return found


def metrics(score: Score) -> tuple[Metric, ...]:
    """The columns that a judge fills, those first that only rows with a verdict have."""
    assert score.rubric is not None, "the recipe's check wants one"
    return rubrics.metrics(resolved(score.rubric))


def _read(rubric: Rubric, replies: Replies) -> dict[str, float] | None:
    """Scores from what was replied last to each question; None where one cannot be read."""
    last = [given[-1] for given in replies]
    if not rubric.is_pairwise:
        return rubrics.read_marks(rubric, last[0])
    ahead, behind = (rubrics.read_better(reply) for reply in last)
    return None if ahead is None or behind is None else rubrics.verdict(ahead, behind)
