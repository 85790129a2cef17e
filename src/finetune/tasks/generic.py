"""Any rows of a prompt and its right answers, judged by metrics of the recipe's choice.

Rows are those that training reads as conversations, in any layout; the last answer is the right
one. Beside a `prompt`, `references` may hold several right answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.examples import BadRow, Conversation
from finetune.data.layouts import LAYOUTS, Layout, shape
from finetune.data.messages import as_messages
from finetune.errors import DataError
from finetune.metrics import mean
from finetune.recipe.types import Data
from finetune.tasks import chosen_metrics
from finetune.tasks.base import Metric, Row

DEFAULT = ("exact_match", "rouge")
ANSWERED = tuple(layout for layout in LAYOUTS if layout.kind is Conversation)


@dataclass(frozen=True)
class Generic:
    """A prompt to one of its references."""

    chosen: tuple[str, ...] = DEFAULT
    name: str = "generic"
    version: int = 2
    needs: tuple[str, ...] = ("prompt", "references")
    prompt_needs: tuple[str, ...] = ("prompt",)
    max_new_tokens: int = 256

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the package; modules from outside name theirs when they have scored."""
        return tuple(m for name in self.chosen for m in chosen_metrics.announced(name))

    def prepare(self, rows: Sequence[Row], data: Data) -> list[Row]:
        """Rows with `prompt` as text or messages and `references` as a list of texts."""
        try:
            return [_prepared(row) for row in rows]
        except BadRow as error:
            raise DataError(str(error)) from error

    def check(self, rows: Sequence[Row]) -> None:
        """Metrics from outside score the first reference of the first row.

        Raises:
            FinetuneError: a metric is not there or cannot be used.
        """
        self.score_rows([rows[0]["references"][0]], rows[:1])

    def prompt(self, row: Row) -> str | list[dict[str, str]]:
        """The prompt as it stands."""
        return row["prompt"]

    def answer(self, row: Row) -> str:
        """The first reference."""
        return row["references"][0]

    def references(self, row: Row) -> list[str]:
        """All right answers."""
        return row["references"]

    def baselines(self, train: Sequence[Row], rows: Sequence[Row]) -> dict[str, list[str]]:
        """None that fits every task."""
        return {}

    def score_rows(self, predictions: Sequence[str], rows: Sequence[Row]) -> list[dict[str, float]]:
        """Every chosen metric of each row."""
        scores: list[dict[str, float]] = [{} for _ in rows]
        for name in self.chosen:
            found = chosen_metrics.score(name, predictions, [_parts(row) for row in rows])
            for mine, new in zip(scores, found, strict=True):
                mine.update(new)
        return scores

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


def _prepared(row: Row) -> Row:
    prompt, right = row.get("prompt"), row.get("references")
    if not (prompt and right) and (layout := _layout(row)):
        *before, last = layout.read(row).messages
        if last["role"] != "assistant" or not before:
            raise DataError(
                "it does not end with an answer of the assistant",
                remedy="Give rows whose last message is the answer to compare with.",
            )
        prompt, right = before, last["content"]
    elif isinstance(prompt, list):
        prompt = as_messages(prompt, "user")
    texts = [right] if isinstance(right, str) else [str(each) for each in right or ()]
    return {**row, "prompt": prompt, "references": [text for text in texts if text.strip()]}


def _layout(row: Row) -> Layout | None:
    """How training would read this row as a conversation: of several, the one of most columns."""
    fitting = [
        layout
        for layout in ANSWERED
        if all(shape(row.get(name)) in wanted for name, wanted in layout.needs.items())
    ]
    return max(fitting, key=lambda layout: len(layout.columns(list(row))), default=None)


def _parts(row: Row) -> tuple[str, list[str]]:
    """What the metrics take of a row: the text of its prompt, and its references."""
    prompt = row["prompt"]
    text = prompt if isinstance(prompt, str) else "\n".join(each["content"] for each in prompt)
    return text, row["references"]
