"""Prompts made to fit: the middle of the longest one goes, visibly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune.data.examples import Message
from finetune.recipe.types import Settings

CUT_MARK = " … "


def longest(settings: Settings) -> int | None:
    """Most tokens of a row as the recipe has it; the architecture may take fewer."""
    return settings.get("max_length", 1024)


def fitting(settings: Settings, context: int | None) -> int | None:
    """Most tokens of a row: what the recipe wants, as far as the architecture takes it."""
    return min((bound for bound in (longest(settings), context) if bound), default=None)


def render(
    tokenizer: Any, messages: Sequence[Message], answer_follows: bool = False, tools: Any = None
) -> list[int]:
    """Token ids of the chat template, with the start of an answer if one follows."""
    ids = tokenizer.apply_chat_template(
        list(messages),
        tools=tools,
        add_generation_prompt=answer_follows,
        tokenize=True,
        return_dict=False,
    )
    return list(ids)


def shorten(
    tokenizer: Any,
    messages: Sequence[Message],
    max_length: int | None,
    answer_follows: bool = False,
    tools: Any = None,
) -> tuple[list[Message], bool]:
    """The messages made to fit `max_length` tokens by cutting the middle of the longest prompt.

    The middle goes, since instructions stand at either end; a mark stays in its place.
    """
    fitted = [dict(message) for message in messages]
    prompts = [each for each in fitted if each["role"] != "assistant" and each.get("content")]
    if max_length is None or not prompts:
        return fitted, False
    excess = len(render(tokenizer, fitted, answer_follows, tools)) - max_length
    if excess <= 0:
        return fitted, False
    largest = max(prompts, key=lambda message: len(message["content"]))
    whole = largest["content"]
    if len(whole) <= len(CUT_MARK):
        return fitted, False
    offsets = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    spans = offsets["offset_mapping"]
    while excess > 0:
        keep = max(0, len(spans) - excess - 1)
        largest["content"] = _without_middle(whole, spans, keep)
        over = len(render(tokenizer, fitted, answer_follows, tools)) - max_length
        if over <= 0 or keep == 0:
            break
        excess += over
    return fitted, True


def shortened_note(shortened: int, of: int, limit: int | None) -> list[str]:
    """A sentence on how many prompts were made to fit, if any was."""
    if not shortened:
        return []
    return [f"{shortened} of {of} prompts lost their middle to fit {limit} tokens"]


def _without_middle(text: str, spans: Sequence[tuple[int, int]], keep: int) -> str:
    head, tail = keep - keep // 2, keep // 2
    start = text[: spans[head - 1][1]] if head else ""
    end = text[spans[len(spans) - tail][0] :] if tail else ""
    return f"{start.rstrip()}{CUT_MARK}{end.lstrip()}"
