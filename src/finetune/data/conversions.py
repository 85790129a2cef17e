"""One kind of example as another, where that makes sense; what it costs is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finetune.data.examples import BadRow, Conversation, Pair, Prompt, Text, Unpaired

NAMES: dict[type, str] = {
    Text: "plain text",
    Conversation: "conversations",
    Pair: "preference pairs",
    Unpaired: "labelled answers",
    Prompt: "prompts",
}
Convert = Callable[[Any], list[Any]]


def _waiting(talk: Conversation) -> list[Prompt]:
    last = max(at for at, turn in enumerate(talk.messages) if turn["role"] == "assistant")
    if last == 0:
        raise BadRow("has no prompt before its last answer")
    return [Prompt(talk.messages[:last], talk.tools)]


def _both(pair: Pair) -> list[Unpaired]:
    return [Unpaired(pair.prompt, pair.chosen, True), Unpaired(pair.prompt, pair.rejected, False)]


def _joined(talk: Conversation) -> list[Text]:
    return [Text("\n\n".join(turn["content"] for turn in talk.messages if turn["content"]))]


# (from, to) -> what is made of one example, and how that is said.
CONVERSIONS: dict[tuple[type, type], tuple[Convert, str]] = {
    (Pair, Conversation): (
        lambda pair: [Conversation([*pair.prompt, *pair.chosen], pair.tools)],
        "taken as conversations that end with the chosen answer",
    ),
    (Pair, Prompt): (
        lambda pair: [Prompt(pair.prompt, pair.tools)],
        "taken as prompts without their answers",
    ),
    (Pair, Unpaired): (_both, "taken as two labelled answers each, chosen good, rejected bad"),
    (Conversation, Prompt): (_waiting, "taken as prompts up to their last answer"),
    (Conversation, Text): (_joined, "taken as plain text, turns one after another without roles"),
    (Unpaired, Prompt): (
        lambda row: [Prompt(row.prompt)],
        "taken as prompts without their answers",
    ),
}


def conversion(found: type, wanted: type) -> tuple[Convert, str] | None:
    """How examples of one kind become those of another; None where they cannot."""
    if found is wanted:
        return (lambda example: [example]), ""
    return CONVERSIONS.get((found, wanted))
