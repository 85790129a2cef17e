"""What became of rows on their way to token ids: nothing is lost, or learnt wrongly, uncounted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune.data.shorten import shortened_note
from finetune.errors import DataError

if TYPE_CHECKING:
    import datasets


def losses(rows: datasets.Dataset, max_length: int | None) -> list[str]:
    """Sentences about the columns that `encode_rows` counts in.

    Raises:
        DataError: rows in which nothing is left to learn.
    """
    total = len(rows)
    column: dict[str, Any] = {
        name: rows.data.column(name).to_numpy()
        for name in ("learnt", "shortened", "cut", "unstopped", "apart", "lookalikes")
    }
    empty = (column["learnt"] == 0).nonzero()[0]
    if len(empty):
        raise DataError(
            f"{len(empty)} of {total} rows have no token to learn, first row {empty[0] + 1}",
            remedy=f"Raise train.max_length (now {max_length}), or remove rows without an answer "
            "(`mask` says which answers count).",
        )
    notes = shortened_note(int(column["shortened"].sum()), total, max_length)
    cut = int(column["cut"].sum())
    if cut:
        share = 100 * cut / (cut + int(column["learnt"].sum()))
        number = int((column["cut"] > 0).sum())
        notes.append(f"{number} of {total} answers lost their end: {share:.1f}% of what is learnt")
    open_ends = int(column["unstopped"].sum())
    if open_ends:
        where = _first(column["unstopped"])
        notes.append(f"{open_ends} answers are learnt without a token that ends them, {where}")
    apart = int(column["apart"].sum())
    if apart:
        notes.append(
            f"before {apart} answers the chat template writes other text than it does before an "
            f"answer at inference, {_first(column['apart'])}"
        )
    strange = int(column["lookalikes"].sum())
    if strange:
        notes.append(
            f"{strange} texts within messages read as special tokens, and become those tokens, as "
            f"at inference, {_first(column['lookalikes'])}"
        )
    return notes


def _first(column: Any) -> str:
    rows = (column > 0).nonzero()[0]
    return f"in {len(rows)} rows, first row {rows[0] + 1}"
