"""Text in pieces of one token each, and rows made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """The text of a token, or of several that share a character (their ids in order).

    `special` tokens stand for themselves; a `lookalike` is one that was written in a message.
    `cut` tokens do not reach the trainer; at a `gap` the middle of a prompt was taken out.
    """

    text: str
    ids: tuple[int, ...]
    learnt: bool = False
    special: bool = False
    lookalike: bool = False
    gap: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Part:
    """A titled stretch of a row; the rows of sft and pretrain are one part without a title."""

    pieces: tuple[Piece, ...]
    title: str = ""

    @property
    def tokens(self) -> int:
        """How many tokens reach the trainer."""
        return sum(len(piece.ids) for piece in self.pieces if not piece.cut)

    @property
    def learnt(self) -> int:
        """How many of them are learnt."""
        return sum(len(piece.ids) for piece in self.pieces if piece.learnt and not piece.cut)

    def runs(self) -> Iterator[list[Piece]]:
        """Neighbours that look alike but for their borders."""
        for _, run in groupby(self.pieces, key=lambda piece: replace(piece, text="", ids=())):
            yield list(run)


@dataclass(frozen=True)
class Row:
    """One row: its number in the data (from 1), where it comes from, and sentences about it."""

    number: int
    origin: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> str:
        """Tokens, and the share that is learnt."""
        tokens = sum(part.tokens for part in self.parts)
        learnt = sum(part.learnt for part in self.parts)
        share = f" ({100 * learnt / tokens:.0f}%)" if tokens else ""
        return f"{tokens:,} tokens, {learnt:,} learnt{share}"


@dataclass(frozen=True)
class Preview:
    """Some of a stage's rows; `total` says how many it has, `notes` what holds for all."""

    title: str
    total: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marks:
    """What is to be shown of a text: places of its characters, numbers of its tokens."""

    learnt: Sequence[bool]
    special: frozenset[int]
    lookalikes: Sequence[Span] = ()
    gaps: Sequence[Span] = ()
    limit: int | None = None  # tokens behind this one are cut


def pieces(text: str, encoding: Any, marks: Marks) -> tuple[Piece, ...]:
    """A text in the pieces of its `tokenizers.Encoding`; together they are the text."""
    found: list[Piece] = []
    end = 0
    for number, (token, place) in enumerate(zip(encoding.ids, encoding.offsets, strict=True)):
        start, until = end, max(end, place[1])
        end = until
        if start == until and found:  # one more token of a character that is shown already
            found[-1] = replace(found[-1], ids=(*found[-1].ids, token))
            continue
        special = token in marks.special
        found.append(
            Piece(
                text[start:until],
                (token,),
                learnt=marks.learnt[number],
                special=special,
                lookalike=special and _touches((start, until), marks.lookalikes),
                gap=_touches((start, until), marks.gaps),
                cut=marks.limit is not None and number >= marks.limit,
            )
        )
    return tuple(found)


def _touches(span: Span, places: Iterable[Span]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in places)
