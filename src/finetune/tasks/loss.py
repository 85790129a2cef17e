"""Mean negative log-likelihood of the answers in held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune.data.examples import Conversation, Examples
from finetune.recipe.types import Data
from finetune.tasks.base import Metric
from finetune.tasks.examples import conversations
from finetune.tasks.likely import Found, Item


@dataclass(frozen=True)
class Loss:
    """Nats per token over all tokens of all rows, so that long answers weigh more."""

    name: str = "loss"
    version: int = 1
    metrics: tuple[Metric, ...] = (Metric("loss", "lower", "nats per token", weight="tokens"),)

    def examples(self, data: Data) -> Examples[Conversation]:
        """Conversations."""
        return conversations(data)

    def item(self, example: Conversation) -> Item:
        """The whole conversation."""
        return (example,)

    def counts(self, item: Item) -> dict[str, float]:
        """None."""
        return {}

    def score(
        self, found: Found, reference: Found | None, counts: Mapping[str, float]
    ) -> dict[str, float]:
        """Loss of one row, weighed by its tokens."""
        (answer,) = found
        return {"loss": -answer.per_token, "tokens": float(answer.tokens)}
