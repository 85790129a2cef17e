"""What a task is: the one place for its prompt, its answer and its score.

Training, evaluation and rewards word a row through the same functions, so that a model is asked
in evaluation exactly what it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from finetune.recipe.types import Data

Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A column of the table. Shares and ROUGE are in percent, 0 to 100.

    `better` is the direction of progress; "neither" describes the answers without judging them.
    A data set's score is the mean of its rows' scores, weighted by the row score named `weight`
    where one is named; the geometric mean for what multiplies, such as perplexity.
    What is not `in_table` stands in the record and the report alone.
    """

    name: str
    better: Literal["higher", "lower", "neither"] = "higher"
    unit: str = "%"
    weight: str = ""
    average: Literal["arithmetic", "geometric"] = "arithmetic"
    in_table: bool = True


class Task(Protocol):
    """A task of writing answers; rows are those that `prepare` returns.

    `needs` are the columns that training and scoring need, `prompt_needs` those of the prompt
    alone (preference pairs bring their own answers). The first of `metrics` is the headline.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int:
        """Raised when the same row would give another prompt, answer or score."""
        ...

    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def prompt_needs(self) -> tuple[str, ...]: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    def prepare(self, rows: Sequence[Row], data: Data) -> list[Row]:
        """Rows with what lies beside their file added; the given rows stay as they are.

        Comes before the check for `needs`, and may fill a needed column from others.

        Raises:
            DataError: something that belongs to a row is missing.
        """
        ...

    def check(self, rows: Sequence[Row]) -> None:
        """Find rows that could not be scored, before a model has answered any.

        Raises:
            DataError: naming the row.
        """
        ...

    def prompt(self, row: Row) -> str | list[dict[str, str]]:
        """The user's message, or all messages before the answer."""
        ...

    def answer(self, row: Row) -> str:
        """The text to learn."""
        ...

    def references(self, row: Row) -> list[str]:
        """All texts that count as right."""
        ...

    def baselines(self, train: Sequence[Row], rows: Sequence[Row]) -> dict[str, list[str]]:
        """Answers that cost no model, one per row, by the baseline's name.

        `train` are prepared rows to learn from, none where no training split is known.
        """
        ...

    def score_rows(self, predictions: Sequence[str], rows: Sequence[Row]) -> list[dict[str, float]]:
        """All `metrics` of each row; the score of a data set is their mean."""
        ...

    def details(
        self, predictions: Mapping[str, Sequence[str]], rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """What else a person wants to see of each row, as plain data; nothing where none is.

        `predictions` are the answers of each model by its name.
        """
        ...

    def groups(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        """Labels of the rows, one list for each way to tell them apart; nothing where none is.

        Scores are also reported for each label, as accuracy by hardness.
        """
        ...

    def score(self, predictions: Sequence[str], rows: Sequence[Row]) -> dict[str, float]:
        """The means of `score_rows`."""
        ...
