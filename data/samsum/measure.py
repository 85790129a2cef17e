"""Measures on chats and summaries: words, bigrams new to the summary, 8-grams two chats share."""

import re
from collections import Counter

WORD = re.compile(r"\w+(?:[:'’]\w+)*")


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def spoken_words(dialogue: str) -> list[str]:
    """The words of a chat without the speakers' names in front."""
    return words(" ".join(line.partition(": ")[2] for line in dialogue.split("\n")))


def grams(tokens: list[str], size: int) -> set[tuple[str, ...]]:
    return set(zip(*(tokens[start:] for start in range(size)), strict=False))


def novel_bigram_share(summary: str, dialogue: str) -> float:
    """Share of the summary's bigrams that the chat does not contain: 0 for a copy."""
    mine = grams(words(summary), 2)
    return len(mine - grams(words(dialogue), 2)) / max(len(mine), 1)


class Overlap:
    """An index of chats that says how much of its 8-grams a further chat shares with the closest.

    The share is of the shorter chat of the two, so it is the same from either side.
    """

    SIZE = 8

    def __init__(self) -> None:
        self.owners: dict[tuple[str, ...], list[int]] = {}
        self.sizes: list[int] = []

    def add(self, dialogue: str) -> None:
        mine = grams(spoken_words(dialogue), self.SIZE)
        for gram in mine:
            self.owners.setdefault(gram, []).append(len(self.sizes))
        self.sizes.append(len(mine))

    def closest(self, dialogue: str) -> float:
        mine = grams(spoken_words(dialogue), self.SIZE)
        hits = Counter(owner for gram in mine for owner in self.owners.get(gram, ()))
        return max(
            (count / min(len(mine), self.sizes[owner]) for owner, count in hits.items()),
            default=0.0,
        )
