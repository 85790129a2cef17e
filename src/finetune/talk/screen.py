"""Text of a model made harmless for a terminal."""

from __future__ import annotations

import unicodedata

KEPT = "\n\t"
# Formats that turn the direction of what follows, so that a text reads as another.
TURNS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def harmless(text: str) -> str:
    """The text without control characters: no colours, no moved cursor, no reversed writing."""
    return "".join(each for each in text if each in KEPT or not _controls(each))


def _controls(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or ord(character) in TURNS
