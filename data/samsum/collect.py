"""Draws the rows of each split and keeps splits apart: nothing twice, nothing near a test row."""

import random
from dataclasses import dataclass, field
from typing import Any

from .compose import Chat, Composer
from .measure import Overlap, novel_bigram_share
from .pairs import draw_kinds, make_pair

MAX_OVERLAP = 0.35
MIN_NOVEL = 0.6


@dataclass
class Collector:
    """Every chat and summary taken so far, and an index of the test chats."""

    dialogues: set[str] = field(default_factory=set)
    summaries: set[str] = field(default_factory=set)
    tests: Overlap = field(default_factory=Overlap)

    def accepts(self, chat: Chat) -> bool:
        if chat.dialogue in self.dialogues or chat.summary in self.summaries:
            return False
        if novel_bigram_share(chat.summary, chat.dialogue) < MIN_NOVEL:
            return False
        return self.tests.closest(chat.dialogue) <= MAX_OVERLAP

    def take(self, chat: Chat, split: str) -> None:
        self.dialogues.add(chat.dialogue)
        self.summaries.add(chat.summary)
        if split == "test":
            self.tests.add(chat.dialogue)


def take_chats(
    composer: Composer, collector: Collector, split: str, count: int, rng: random.Random
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        chat = composer.chat(rng)
        if collector.accepts(chat):
            collector.take(chat, split)
            rows.append(
                {
                    "id": f"{split}-{len(rows):04}",
                    "dialogue": chat.dialogue,
                    "summary": chat.summary,
                }
            )
    return rows


def take_pairs(
    composer: Composer, collector: Collector, split: str, count: int, rng: random.Random
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    kinds = draw_kinds(count, rng)
    while len(rows) < count:
        chat = composer.chat(rng)
        pair = make_pair(composer, chat, kinds[len(rows)], rng) if collector.accepts(chat) else None
        if pair:
            collector.take(chat, split)
            rows.append({"prompt_id": f"pair-{split}-{len(rows):04}", **pair})
    return rows
