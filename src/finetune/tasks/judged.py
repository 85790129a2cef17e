"""Answers that a judge marks or compares: prompts, with or without right answers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from finetune.recipe.judging import Rubric
from finetune.tasks.base import Metric, Row
from finetune.tasks.generic import Generic


@dataclass(frozen=True)
class Judged(Generic):
    """A prompt to any answer; its marks come from a judge's replies, not from the answer."""

    rubric: Rubric = field(default_factory=Rubric)
    name: str = "judge"
    version: int = 1
    needs: tuple[str, ...] = ("prompt",)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """None that the answer alone tells."""
        return ()

    def check(self, rows: Sequence[Row]) -> None:
        """Any row can be judged."""

    def score_rows(self, predictions: Sequence[str], rows: Sequence[Row]) -> list[dict[str, float]]:
        """Nothing: see `scoring.judged`."""
        return [{} for _ in rows]
