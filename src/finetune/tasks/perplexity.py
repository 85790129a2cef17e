"""How well a model predicts plain text: per token, per word and per byte.

Only per word and per byte can models of different tokenizers be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from finetune.data.examples import Examples, Text
from finetune.recipe.types import Data
from finetune.tasks.base import Metric
from finetune.tasks.examples import texts
from finetune.tasks.likely import Found, Item

LARGEST_EXPONENT = 690.0  # e to it is the largest round number that a float holds


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean loss over all tokens (or words, or bytes) of all rows.

    Every token counts once, the first one after the tokenizer's begin or end token. Words are what
    stands between white space, bytes those of UTF-8.
    """

    name: str = "perplexity"
    version: int = 1
    metrics: tuple[Metric, ...] = (
        Metric("perplexity", "lower", "per token", weight="tokens", average="geometric"),
        Metric("word_perplexity", "lower", "per word", weight="words", average="geometric"),
        Metric("byte_perplexity", "lower", "per byte", weight="bytes", average="geometric"),
        Metric("bits_per_byte", "lower", "bits per byte", weight="bytes"),
    )

    def examples(self, data: Data) -> Examples[Text]:
        """Plain texts."""
        return texts(data)

    def item(self, example: Text) -> Item:
        """The text."""
        return (example.text,)

    def counts(self, item: Item) -> dict[str, float]:
        """Words and bytes of the text."""
        (text,) = item
        assert isinstance(text, str)
        return {"words": float(len(text.split())), "bytes": float(len(text.encode()))}

    def score(
        self, found: Found, reference: Found | None, counts: Mapping[str, float]
    ) -> dict[str, float]:
        """The perplexities of one text, with what each is weighed by."""
        (text,) = found
        nats, tokens = -text.logprob, float(text.tokens)
        words, size = counts["words"], counts["bytes"]
        return {
            "perplexity": _exp(nats, tokens),
            "word_perplexity": _exp(nats, words),
            "byte_perplexity": _exp(nats, size),
            "bits_per_byte": nats / math.log(2) / size,
            "tokens": tokens,
            "words": words,
            "bytes": size,
        }


def _exp(nats: float, of: float) -> float:
    return math.exp(min(nats / max(of, 1.0), LARGEST_EXPONENT))
