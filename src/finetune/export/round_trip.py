"""An exported model read back and asked the same: token ids and greedy answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from finetune.data.examples import Message
from finetune.data.shorten import render, shorten
from finetune.data.tokens import stop_ids

NEW_TOKENS = 32


@dataclass(frozen=True)
class Answers:
    """Of one model: the token ids of each prompt, and of the greedy answer to it."""

    prompts: list[list[int]]
    answers: list[list[int]]


@dataclass(frozen=True)
class Agreement:
    """Of how many prompts ids and greedy answers are equal, and how much of the answers is.

    `agreed` is the mean share of an answer's tokens before the first that differs.
    """

    prompts: int
    ids_equal: int
    answers_equal: int
    agreed: float

    def facts(self, name: str) -> dict[str, float]:
        """As plain values for the record."""
        values = {key: value for key, value in asdict(self).items() if key != "prompts"}
        return {f"{name}_{key}": value for key, value in values.items()}

    def __str__(self) -> str:
        return (
            f"ids of {self.ids_equal}/{self.prompts} prompts and greedy answers of "
            f"{self.answers_equal}/{self.prompts} are equal, {self.agreed:.1%} of the tokens"
        )


def fitted(
    tokenizer: Any, prompts: Sequence[Sequence[Message]], context: int | None
) -> list[list[Message]]:
    """Prompts that leave room for an answer; the longest lose their middle."""
    limit = context - NEW_TOKENS if context else None
    return [shorten(tokenizer, prompt, limit, answer_follows=True)[0] for prompt in prompts]


def ask(model: Any, tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> Answers:
    """Render each prompt and answer it greedily, one at a time."""
    ids = [render(tokenizer, prompt, answer_follows=True) for prompt in prompts]
    ends = stop_ids(tokenizer)
    return Answers(ids, [greedy(model, each, ends) for each in ids])


def greedy(
    model: Any, prompt: Sequence[int], ends: Sequence[int], most: int = NEW_TOKENS
) -> list[int]:
    """Token ids of the likeliest answer, its end token included."""
    ids = torch.tensor([list(prompt)]).to(model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
        )
    return [int(each) for each in out[0, len(prompt) :]]


def agreement(wanted: Answers, found: Answers) -> Agreement:
    """How far two models agree on the same prompts."""
    pairs = list(zip(wanted.answers, found.answers, strict=True))
    return Agreement(
        prompts=len(pairs),
        ids_equal=sum(a == b for a, b in zip(wanted.prompts, found.prompts, strict=True)),
        answers_equal=sum(a == b for a, b in pairs),
        agreed=sum(_same_start(a, b) for a, b in pairs) / max(1, len(pairs)),
    )


def _same_start(first: Sequence[int], second: Sequence[int]) -> float:
    longest = max(len(first), len(second))
    same = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    return same / longest if longest else 1.0
