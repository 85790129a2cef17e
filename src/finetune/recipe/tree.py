"""A recipe between text and types: plain values that know the file and line they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

COMMAND_LINE = "command line"
LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Place:
    """A line of a file; line 0 where there are no lines, as on the command line."""

    source: str
    line: int = 0


@dataclass(frozen=True)
class Scalar:
    """One value, `text` as it was written; `removes` when it takes away an inherited one."""

    value: str | int | float | bool | None
    text: str
    place: Place
    removes: bool = False

    @property
    def blank(self) -> bool:
        """Whether nothing at all stands after the colon."""
        return self.value is None and not self.text


@dataclass(frozen=True)
class Listing:
    """A sequence of values."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True)
class Entry:
    """What stands under a key, and where the key stands."""

    place: Place
    node: Node


@dataclass(frozen=True)
class Block:
    """A mapping; keys are texts."""

    entries: dict[str, Entry] = field(default_factory=dict)
    place: Place = Place("")

    def get(self, key: str) -> Node | None:
        """The value under a key, if the key is there."""
        entry = self.entries.get(key)
        return entry.node if entry else None

    def without(self, *keys: str) -> Block:
        """The same block lacking some keys."""
        kept = {key: entry for key, entry in self.entries.items() if key not in keys}
        return replace(self, entries=kept)

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return iter(self.entries.items())


Node = Scalar | Listing | Block


def plain(node: Node) -> Any:
    """The value without its places."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    return {key: plain(entry.node) for key, entry in node}


def shown(node: Node) -> str:
    """A value as a message quotes it: as written, a text in quotes, a long one cut."""
    if isinstance(node, Scalar):
        text = repr(node.value) if isinstance(node.value, str) else node.text or "nothing"
        return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 2]}…'"
    return "a list" if isinstance(node, Listing) else "a mapping"
