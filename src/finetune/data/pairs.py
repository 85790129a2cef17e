"""How DPO sees a pair: prompts made to fit, and the token ids that TRL makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.examples import Message, Pair
from finetune.data.shorten import render, shorten, shortened_note
from finetune.errors import DataError

LEAST = 16  # tokens left of a prompt whose answers take all the room


def answered(pair: Pair) -> tuple[list[Message], list[Message]]:
    """The two conversations of a pair, the better one first."""
    return [*pair.prompt, *pair.chosen], [*pair.prompt, *pair.rejected]


@dataclass(frozen=True)
class Fitted:
    """A pair, its prompt made to fit, and the tokens of its longer side before that.

    `parts`: tokens that both sides begin alike, and those that follow in each, as the pair now is.
    `cut`: its answers take all the room, so that they lose their end as well.
    """

    pair: Pair
    length: int
    parts: tuple[int, int, int]
    shortened: bool = False
    cut: bool = False


def fit(tokenizer: Any, pair: Pair, max_length: int | None) -> Fitted:
    """The pair with a prompt that leaves room for the longer answer."""
    chosen, rejected = (render(tokenizer, talk, tools=pair.tools) for talk in answered(pair))
    length = max(len(chosen), len(rejected))
    common = _shared(chosen, rejected)
    answers = len(chosen) - common, len(rejected) - common
    if max_length is None or length <= max_length:
        return Fitted(pair, length, (common, *answers))
    answers = min(answers[0], max_length), min(answers[1], max_length)
    parts = (max_length - max(answers), *answers)
    room = max_length - (length - len(render(tokenizer, pair.prompt, True, pair.tools)))
    prompt, _ = shorten(tokenizer, pair.prompt, max(room, LEAST), True, pair.tools)
    return Fitted(replace(pair, prompt=prompt), length, parts, shortened=True, cut=room <= 0)


def costs(fitted: Sequence[Fitted], max_length: int | None) -> list[str]:
    """Sentences on what it cost to make pairs fit.

    Raises:
        DataError: no pair leaves room for a prompt.
    """
    cut = sum(each.cut for each in fitted)
    if cut == len(fitted):
        raise DataError(
            f"no pair leaves room for a prompt within {max_length} tokens",
            remedy="Raise train.max_length.",
        )
    notes = shortened_note(sum(each.shortened for each in fitted), len(fitted), max_length)
    if cut:
        notes.append(
            f"{cut} of {len(fitted)} pairs have answers longer than {max_length} tokens: cut"
        )
    return notes


def token_ids(tokenizer: Any, pair: Pair) -> tuple[list[int], list[int], list[int]]:
    """Ids of prompt, chosen and rejected answer, divided as TRL 1.16's DPOTrainer does.

    An answer begins where it parts from the prompt as the template renders that alone.
    """
    prompt = render(tokenizer, pair.prompt, True, pair.tools)
    chosen, rejected = (render(tokenizer, talk, tools=pair.tools) for talk in answered(pair))
    shared = min(_shared(prompt, chosen), _shared(prompt, rejected))
    return prompt[:shared], chosen[shared:], rejected[shared:]


def _shared(first: list[int], second: list[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
