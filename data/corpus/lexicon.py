"""Reading the word lists of the folder `lexicons`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

LEXICONS = Path(__file__).parent / "lexicons"


@cache
def lines(name: str) -> tuple[str, ...]:
    """The non-empty lines of a lexicon file."""
    text = (LEXICONS / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


@cache
def entries(name: str) -> tuple[str, ...]:
    """The entries of a lexicon: separated by commas where the file has any, else by spaces."""
    text = (LEXICONS / f"{name}.txt").read_text(encoding="utf-8").strip()
    return tuple(part.strip() for part in text.split(",")) if "," in text else tuple(text.split())
