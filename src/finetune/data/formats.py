"""What rows mean: conversations to learn from, preference pairs, or plain text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.rows import Row, describe, need
from finetune.errors import DataError
from finetune.recipe.types import Data

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """Messages whose assistant turns are learnt, in the form chat templates take."""

    messages: list[Message]


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the better one first."""

    prompt: list[Message]
    chosen: str
    rejected: str


def turn(prompt: Any, answer: Any) -> Conversation:
    """One question and its answer, each a text or a list of messages."""
    return Conversation([*as_messages(prompt, "user"), *as_messages(answer, "assistant")])


def conversations(rows: Sequence[Row], data: Data) -> list[Conversation]:
    """Rows of `prompt` and `completion`, or of `messages`.

    Raises:
        DataError: the columns fit neither, or a row lacks a value.
    """
    columns = set(rows[0])
    if {"prompt", "completion"} <= columns:
        need(rows, ("prompt", "completion"), data)
        _refuse_misshapen(rows, ("prompt", "completion"), data)
        return [turn(row["prompt"], row["completion"]) for row in rows]
    if "messages" in columns:
        need(rows, ("messages",), data)
        _refuse_misshapen(rows, ("messages",), data, text=False)
        _refuse_unanswered(rows, data)
        return [Conversation([_message(each) for each in row["messages"]]) for row in rows]
    raise DataError(
        f"cannot tell what the columns mean: {', '.join(sorted(columns))}",
        where=describe(data),
        remedy="Wanted: prompt and completion, or messages. Name them with data.columns "
        "({prompt: NAME, completion: NAME}), or the whole layout with data.task.",
    )


def pairs(
    rows: Sequence[Row], data: Data, prompt: Callable[[Row], Any], needed: Sequence[str]
) -> list[Pair]:
    """Rows of `chosen` and `rejected` answers to what `prompt` makes of the `needed` columns.

    Raises:
        DataError: a row lacks a value, or its two answers are the same text.
    """
    need(rows, (*needed, "chosen", "rejected"), data)
    _refuse_misshapen(rows, ("chosen", "rejected", *({"prompt"} & set(needed))), data)
    same = [number for number, row in enumerate(rows, 1) if row["chosen"] == row["rejected"]]
    if same:
        raise DataError(
            f"'chosen' and 'rejected' are the same text in {len(same)} of {len(rows)} rows, "
            f"first in row {same[0]}",
            where=describe(data),
            remedy="Remove these rows: they say nothing about which answer is better.",
        )
    return [
        Pair(as_messages(prompt(row), "user"), _answer(row["chosen"]), _answer(row["rejected"]))
        for row in rows
    ]


def texts(rows: Sequence[Row], data: Data) -> list[str]:
    """Rows of `text`."""
    need(rows, ("text",), data)
    return [str(row["text"]) for row in rows]


def as_messages(content: Any, role: str) -> list[Message]:
    """Messages as they are; a text becomes one message of `role`."""
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    return [_message(each) for each in content]


def _refuse_misshapen(
    rows: Sequence[Row], columns: Sequence[str], data: Data, text: bool = True
) -> None:
    """Refuse what is neither a text (where one will do) nor a list of messages."""
    for number, row in enumerate(rows, start=1):
        for column in columns:
            value = row[column]
            if not (text and isinstance(value, str)) and not _are_messages(value):
                wanted = "a text, or a list of messages" if text else "a list of messages"
                raise DataError(
                    f"row {number}: {column!r} is {str(value)[:60]!r}, wanted is {wanted}",
                    where=describe(data),
                    remedy="A message is {role: user or assistant, content: TEXT}.",
                )


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, dict)
            and isinstance(each.get("role"), str)
            and isinstance(each.get("content"), str)
            for each in value
        )
    )


def _refuse_unanswered(rows: Sequence[Row], data: Data) -> None:
    silent = [
        number
        for number, row in enumerate(rows, start=1)
        if not any(each["role"] == "assistant" for each in row["messages"])
    ]
    if silent:
        raise DataError(
            f"{len(silent)} of {len(rows)} conversations have no message of the assistant, "
            f"first in row {silent[0]}",
            where=describe(data),
            remedy="Remove these rows, or call the role that is to be learnt 'assistant'.",
        )


def _answer(content: Any) -> str:
    """The text of an answer given as text or as messages that end with the assistant's."""
    return content if isinstance(content, str) else str(content[-1]["content"])


def _message(each: Any) -> Message:
    return {"role": str(each["role"]), "content": str(each["content"])}
