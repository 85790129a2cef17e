"""In how many pairs a model prefers the chosen answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune.data.examples import Conversation, Examples, Pair
from finetune.recipe.types import Data
from finetune.tasks.base import Metric
from finetune.tasks.examples import pairs
from finetune.tasks.likely import Found, Item, percent


@dataclass(frozen=True)
class Preference:
    """A tie counts as not preferred.

    `preferred` compares log-probability per token. `reward_accuracy` compares the implicit reward
    of DPO (Rafailov et al. 2023): how much more likely the answer is to the model than to the
    reference.
    """

    name: str = "preference"
    version: int = 1
    metrics: tuple[Metric, ...] = (Metric("preferred"), Metric("reward_accuracy"))

    def examples(self, data: Data) -> Examples[Pair]:
        """Preference pairs."""
        return pairs(data)

    def item(self, example: Pair) -> Item:
        """The prompt with the chosen answer, and with the rejected one."""
        answers = (example.chosen, example.rejected)
        chosen, rejected = (
            Conversation([*example.prompt, *answer], example.tools) for answer in answers
        )
        return (chosen, rejected)

    def counts(self, item: Item) -> dict[str, float]:
        """None."""
        return {}

    def score(
        self, found: Found, reference: Found | None, counts: Mapping[str, float]
    ) -> dict[str, float]:
        """Whether the pair is preferred, by each of the two measures that can be taken."""
        chosen, rejected = found
        scores = {"preferred": percent(chosen.per_token > rejected.per_token)}
        if reference is not None:
            ours = chosen.logprob - rejected.logprob
            theirs = reference[0].logprob - reference[1].logprob
            scores["reward_accuracy"] = percent(ours > theirs)
        return scores
