"""What two texts have in common, word by word."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

# Words, single characters of scripts that are written without spaces, signs; or white space.
UNSPACED = "\\u3040-\\u30ff\\u3400-\\u9fff\\uf900-\\ufaff"
PIECES = re.compile(rf"\s+|[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A stretch of a text; `gap` stands where words of the other text are missing."""

    text: str
    kind: Literal["same", "new", "gap"]


def marked(text: str, reference: str) -> list[Piece]:
    """`text` in pieces, those `new` that the reference does not have there.

    Case does not count, white space neither. Joined, all but the gaps are the text again.
    """
    if not reference.strip():
        return [Piece(text, "same")]
    own, other = PIECES.findall(text), [p for p in PIECES.findall(reference) if not p.isspace()]
    places = [index for index, piece in enumerate(own) if not piece.isspace()]
    matcher = difflib.SequenceMatcher(
        None,
        [own[index].casefold() for index in places],
        [piece.casefold() for piece in other],
        autojunk=False,
    )
    found: list[Piece] = []
    at = 0
    for kind, _, end, other_start, other_end in matcher.get_opcodes():
        if kind != "insert":
            stop = places[end] if end < len(places) else len(own)
            stretch = "".join(own[at:stop])
            found += _spaced(stretch, "same" if kind == "equal" else "new")
            at = stop
        else:
            found.append(Piece(" ".join(other[other_start:other_end]), "gap"))
    rest = "".join(own[at:])
    return [*found, *([Piece(rest, "same")] if rest else [])]


def _spaced(text: str, kind: Literal["same", "new"]) -> list[Piece]:
    """A stretch with the white space after it apart, so that marks end with the last word."""
    words = text.rstrip()
    space = text[len(words) :]
    found = [Piece(words, kind)] if words else []
    return [*found, Piece(space, "same")] if space else found
