"""A preview as lines of text: with colours where they are wanted, with brackets elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from finetune.preview.pieces import Part, Piece, Preview, Row
from finetune.report.text import visible

# What a run of pieces is, by the first that holds: (ANSI codes of its tokens in turn; brackets).
LOOKS = {
    "cut": (("9;31", "9;91"), ("✂{", "}")),
    "lookalike": (("7;31", "7;91"), ("‼{", "}")),
    "gap": (("7;33", "7;93"), ("✂", "")),
    "special": (("7", "7;2"), ("", "")),
    "plain": (("", "2"), ("", "")),
}
LEARNT = (("32", "1;32"), ("⟦", "⟧"))


def wants_colour(asked: bool) -> bool:
    """Whether to colour: when asked to, else on a terminal, unless NO_COLOR is set to anything."""
    return asked or (sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def text(preview: Preview, colour: bool) -> str:
    """The whole preview."""
    lines = [f"{preview.title}, {preview.total}", _legend(colour)]
    lines += [f"note: {note}" for note in preview.notes]
    for row in preview.rows:
        lines += ["", *_row(row, colour)]
    return "\n".join(lines)


def _legend(colour: bool) -> str:
    if not colour:
        return "⟦learnt⟧  ✂ middle of a prompt taken out  ✂{cut off}  ‼{token's name in a message}"
    shown = [
        _painted("learnt", LEARNT[0][0]),
        _painted("<special>", LOOKS["special"][0][0]),
        _painted("special in a message", LOOKS["lookalike"][0][0]),
        _painted("middle taken out", LOOKS["gap"][0][0]),
        _painted("cut off", LOOKS["cut"][0][0]),
    ]
    return "  ".join(shown) + "; tokens take turns in brightness"


def _row(row: Row, colour: bool) -> Iterator[str]:
    yield f"row {row.number}  {visible(row.origin)}  {row.counts}"
    yield from (f"  {visible(note)}" for note in row.notes)
    for part in row.parts:
        if part.title:
            yield f"{part.title}: {part.tokens:,} tokens"
        yield "".join(_run(run, colour) for run in part.runs()) if colour else _bracketed(part)


def _run(run: list[Piece], colour: bool) -> str:
    codes, _ = _look(run[0])
    if run[0].special and run[0].learnt and not run[0].cut and not run[0].lookalike:
        codes = ("7;32", "7;92")
    return "".join(_painted(_shown(each), codes[at % 2]) for at, each in enumerate(run))


def _look(piece: Piece) -> tuple[tuple[str, str], tuple[str, str]]:
    for name in ("cut", "lookalike", "gap", "special"):
        if getattr(piece, name):
            return LOOKS[name]
    return LEARNT if piece.learnt else LOOKS["plain"]


def _bracketed(part: Part) -> str:
    made, inside = [], False
    for run in part.runs():
        learnt = run[0].learnt and not run[0].cut
        if learnt != inside:
            made.append(LEARNT[1][not learnt])
            inside = learnt
        _, (opening, closing) = _look(run[0])
        if (opening, closing) == LEARNT[1]:
            opening = closing = ""
        made += [opening, *map(_shown, run), closing]
    return "".join(made) + (LEARNT[1][1] if inside else "")


def _shown(piece: Piece) -> str:
    return str(visible(piece.text)).replace("\n", "↵\n").replace("\t", "⇥")


def _painted(shown: str, code: str) -> str:
    """Each line coloured by itself, so that a pager's lines stand alone."""
    if not code or not shown:
        return shown
    return "\n".join(f"\x1b[{code}m{line}\x1b[0m" if line else "" for line in shown.split("\n"))
