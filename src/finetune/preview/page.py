"""A preview as one self-contained page."""

from __future__ import annotations

from finetune.preview.pieces import Piece, Preview
from finetune.report.page import render


def page(preview: Preview) -> str:
    """The page's HTML; every text is escaped, and nothing is fetched."""
    sections = [(f"row-{row.number}", f"row {row.number}") for row in preview.rows]
    return render("preview.html", sections=sections, preview=preview, looks=looks)


def looks(piece: Piece) -> str:
    """A token's classes."""
    names = ("learnt", "special", "lookalike", "gap", "cut")
    return " ".join(["t", *(name for name in names if getattr(piece, name))])
