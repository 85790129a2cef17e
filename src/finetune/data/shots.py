"""Answers shown before the question, and the options an answer is chosen from.

As in the FLAN collection (Longpre et al. 2023, arXiv:2301.13688): a share of the rows comes with
exemplars of its own source, and a share of those that have options lists them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from finetune.data.examples import Conversation, Examples, Message, encode
from finetune.data.store import Shelf
from finetune.recipe.types import Rows


def dress(found: Examples[Conversation], rows: Rows, seed: str) -> Examples[Conversation]:
    """The same rows, as many as the shares say with exemplars, and with their options listed.

    Exemplars are turns before the row's own, drawn from rows with another question, and are not
    learnt; options stand under the question in an order of their own. All is the seed's alone.
    """
    if not rows.few_shot and not _have_options(found):
        return found
    shelf = Shelf()
    dataset = shelf.fill(_dressed(found, rows, seed))
    few = _count(rows.few_shot, len(found))
    said = f"{found.said}; {few:,} with exemplars" if few else found.said
    return replace(found, dataset=dataset, said=said, kept_by=(*found.kept_by, shelf))


def _have_options(found: Examples[Conversation]) -> bool:
    from pyarrow import compute

    texts = found.dataset.data.column("example")
    return bool(compute.any(compute.match_substring(texts, '"options":[')).as_py())


def _dressed(
    found: Examples[Conversation], rows: Rows, seed: str
) -> Iterator[tuple[str, str, int]]:
    shown = set(_some(len(found), rows.few_shot, f"{seed}/shots"))
    listed = set(_some(len(found), rows.options, f"{seed}/options"))
    for at, talk in enumerate(found):
        generator = random.Random(f"{seed}/{at}")
        made = _with_options(talk, generator) if at in listed else talk
        if at in shown:
            before = exemplars(found, at, rows.exemplars, generator)
            made = replace(made, messages=[*before, *made.messages])
        origin = found.origin(at)
        yield encode(replace(made, options=None)), origin.file, origin.line


def exemplars(
    found: Examples[Conversation], at: int, between: tuple[int, ...], generator: random.Random
) -> list[Message]:
    """Turns of other rows, none of which asks what the row `at` asks; their answers not learnt."""
    target = _question(found[at])
    wanted = generator.randint(between[0], between[-1])
    turns: list[Message] = []
    tried = generator.sample(range(len(found)), min(len(found), wanted + 20))
    for row in tried:
        if wanted == 0:
            break
        if row == at or _question(found[row]) == target:
            continue
        turns += [
            {**turn, "train": False} if turn["role"] == "assistant" else turn
            for turn in found[row].messages
            if turn["role"] != "system"
        ]
        wanted -= 1
    return turns


def _question(talk: Conversation) -> list[str]:
    return [str(turn["content"]) for turn in talk.messages if turn["role"] != "assistant"]


def _with_options(talk: Conversation, generator: random.Random) -> Conversation:
    if not talk.options:
        return talk
    listed = list(talk.options)
    generator.shuffle(listed)
    messages = [dict(turn) for turn in talk.messages]
    asked = [turn for turn in messages if turn["role"] == "user"][-1]
    lines = "".join(f"\n- {option}" for option in listed)
    asked["content"] = f"{asked['content']}\n\nOptions:{lines}"
    return replace(talk, messages=messages)


def _some(total: int, share: float, seed: str) -> list[int]:
    rows = list(range(total))
    random.Random(seed).shuffle(rows)
    return rows[: _count(share, total)]


def _count(share: float, total: int) -> int:
    return round(share * total)
