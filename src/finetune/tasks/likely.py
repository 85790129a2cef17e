"""What a task is that asks how likely a model finds given texts, rather than what it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from finetune.data.examples import Conversation, Examples
from finetune.recipe.types import Data
from finetune.tasks.base import Metric

# What is measured of one row: conversations by their answers, plain texts whole.
Item = tuple[Conversation | str, ...]


@dataclass(frozen=True)
class Likelihood:
    """Log-probability (nats) of the tokens that count, and how many they are."""

    logprob: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Mean log-probability of a token."""
        return self.logprob / max(self.tokens, 1)


Found = tuple[Likelihood, ...]  # of one row, in the order of its item


class LikelyTask(Protocol):
    """A task over likelihoods."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    def examples(self, data: Data) -> Examples[Any]:
        """The rows to measure.

        Raises:
            DataError: they cannot be read or understood.
        """
        ...

    def item(self, example: Any) -> Item:
        """What to measure of one row."""
        ...

    def counts(self, item: Item) -> dict[str, float]:
        """What scoring must know of a row beside its likelihoods."""
        ...

    def score(
        self, found: Found, reference: Found | None, counts: Mapping[str, float]
    ) -> dict[str, float]:
        """Metrics of one row and their weights; `reference` is the reference model's."""
        ...


def percent(flag: bool) -> float:
    """A yes or no as a share of one row."""
    return 100.0 if flag else 0.0
