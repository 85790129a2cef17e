"""How DPO sees a pair: prompts made to fit, and the token ids that TRL makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from finetune.data.examples import Message, Pair
from finetune.data.shorten import render, shorten, shortened_note
from finetune.errors import DataError

LEAST = 16  # tokens left of a prompt whose answers take all the room


def answered(pair: Pair) -> tuple[list[Message], list[Message]]:
    """The two conversations of a pair, the better one first."""
    return [*pair.prompt, *pair.chosen], [*pair.prompt, *pair.rejected]


def fit(
    tokenizer: Any, pairs: Sequence[Pair], max_length: int | None
) -> tuple[list[Pair], list[int], list[str]]:
    """Pairs whose prompts leave room for the longer answer, their lengths, and what that cost.

    Raises:
        DataError: no pair leaves room for a prompt.
    """
    fitted, lengths, shortened, cut = [], [], 0, 0
    for pair in pairs:
        room = max(len(render(tokenizer, talk, tools=pair.tools)) for talk in answered(pair))
        prompt = pair.prompt
        if max_length and room > max_length:
            of_prompt = len(render(tokenizer, pair.prompt, True, pair.tools))
            limit = max_length - (room - of_prompt)
            cut += limit <= 0
            prompt, _ = shorten(tokenizer, pair.prompt, max(limit, LEAST), True, pair.tools)
            shortened += 1
        fitted.append(replace(pair, prompt=prompt))
        lengths.append(room)
    if cut == len(pairs):
        raise DataError(
            f"no pair leaves room for a prompt within {max_length} tokens",
            remedy="Raise train.max_length.",
        )
    notes = shortened_note(shortened, len(pairs), max_length)
    if cut:
        notes.append(
            f"{cut} of {len(pairs)} pairs have answers longer than {max_length} tokens: cut"
        )
    return fitted, lengths, notes


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
