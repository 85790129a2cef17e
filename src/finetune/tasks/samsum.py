"""Summaries of messenger dialogues, in the layout of SAMSum and DialogSum.

Columns: `dialogue`, and `summary` or several references as `summary1`, `summary2`, …
SAMSum: Gliwa et al. 2019; DialogSum: Chen et al. 2021.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.metrics import mean
from finetune.metrics.extractiveness import fragments
from finetune.metrics.lengths import counting
from finetune.metrics.rouge import scoring as rouge
from finetune.recipe.types import Data
from finetune.tasks.base import Metric, Row

_NUMBERED = re.compile(r"summary(\d+)")


@dataclass(frozen=True)
class Samsum:
    """Dialogue to summary. `novel_bigrams` tells a copy (0) from the author's own words."""

    name: str = "samsum"
    version: int = 1
    needs: tuple[str, ...] = ("dialogue", "summary")
    prompt_needs: tuple[str, ...] = ("dialogue",)
    max_new_tokens: int = 128
    metrics: tuple[Metric, ...] = (
        Metric("rouge1"),
        Metric("rouge2"),
        Metric("rougeL"),
        Metric("rougeLsum"),
        Metric("novel_bigrams", "neither"),
        Metric("length", "neither", "words"),
        Metric("empty", "lower"),
    )

    def prepare(self, rows: Sequence[Row], data: Data) -> list[Row]:
        """Rows whose `summary` is the first of several references where there is none."""
        return [_with_summary(row) for row in rows]

    def check(self, rows: Sequence[Row]) -> None:
        """Any dialogue with a summary can be scored, and `needs` has seen to both."""

    def prompt(self, row: Row) -> str:
        """A short instruction and the dialogue."""
        return f"Summarize this dialogue:\n\n{_clean(row['dialogue'])}"

    def answer(self, row: Row) -> str:
        """The first reference."""
        return _clean(row["summary"])

    def references(self, row: Row) -> list[str]:
        """`summary`, then the numbered ones, each text once."""
        texts = [row.get("summary"), *(row[name] for name in _numbered(row))]
        return list(dict.fromkeys(_clean(text) for text in texts if text))

    def score_rows(self, predictions: Sequence[str], rows: Sequence[Row]) -> list[dict[str, float]]:
        """ROUGE against the best reference; extractiveness against the dialogue."""
        answers = [_clean(prediction) for prediction in predictions]
        overlaps = rouge.score_rows(answers, [self.references(row) for row in rows])
        copies = fragments.score_rows(answers, [_clean(row["dialogue"]) for row in rows])
        lengths = counting.score_rows(answers)
        return [
            {**overlap, "novel_bigrams": copy["novel_bigrams"], **length}
            for overlap, copy, length in zip(overlaps, copies, lengths, strict=True)
        ]

    def baselines(self, train: Sequence[Row], rows: Sequence[Row]) -> dict[str, list[str]]:
        """The first three utterances, and the three longest in the order they were said.

        Both are baselines of Gliwa et al. 2019.
        """
        said = [_utterances(row["dialogue"]) for row in rows]
        return {
            "lead-3": ["\n".join(each[:3]) for each in said],
            "longest-3": ["\n".join(_longest(each, 3)) for each in said],
        }

    def details(
        self, predictions: Mapping[str, Sequence[str]], rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """Nothing beside the scores."""
        return []

    def groups(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        """No way to tell rows apart."""
        return {}

    def score(self, predictions: Sequence[str], rows: Sequence[Row]) -> dict[str, float]:
        """The means of `score_rows`."""
        return mean(self.score_rows(predictions, rows))


def _with_summary(row: Row) -> Row:
    first = next(iter(_numbered(row)), None)
    return {**row, "summary": row[first]} if first and not row.get("summary") else row


def _numbered(row: Row) -> list[str]:
    """The columns summary1, summary2, … that hold a text, by number."""
    found = [(int(m[1]), name) for name in row if (m := _NUMBERED.fullmatch(name)) and row[name]]
    return [name for _, name in sorted(found)]


def _utterances(dialogue: str) -> list[str]:
    """Its lines, each with its speaker: one line is one utterance."""
    return [line.strip() for line in _clean(dialogue).split("\n") if line.strip()]


def _longest(utterances: Sequence[str], number: int) -> list[str]:
    """The longest in characters, the earlier of two alike."""
    by_length = sorted(range(len(utterances)), key=lambda at: -len(utterances[at]))
    return [utterances[at] for at in sorted(by_length[:number])]


def _clean(text: str) -> str:
    """One kind of line end (SAMSum has both), no space around the text."""
    return text.replace("\r\n", "\n").strip()
