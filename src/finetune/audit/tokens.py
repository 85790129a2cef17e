"""Rows as token ids: what was cut, what is learnt, and whether answers end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune.audit.findings import Measured


def checks(rows: Any, bos: int | None) -> Iterator[Measured]:
    """All checks of rows as `encode_rows` makes them; `bos` is the tokenizer's start token."""
    column = {
        name: rows.data.column(name).to_numpy()
        for name in ("learnt", "shortened", "cut", "unstopped", "apart", "lookalikes")
    }
    total, learnt, cut = len(rows), int(column["learnt"].sum()), int(column["cut"].sum())
    yield Measured("cut_tokens", cut, cut + learnt, _rows(column["cut"]), "learnt tokens")
    yield _over("shortened", column["shortened"], total)
    yield _over("nothing_learnt", column["learnt"] == 0, total)
    yield _over("unstopped", column["unstopped"], total)
    yield _over("apart", column["apart"], total)
    yield _over("lookalikes", column["lookalikes"], total)
    if bos is not None:
        yield _double_bos(rows, bos)


def _over(check: str, column: Any, total: int) -> Measured:
    rows = _rows(column)
    return Measured(check, len(rows), total, rows)


def _rows(column: Any) -> list[int]:
    return [int(each) for each in (column > 0).nonzero()[0]]


def _double_bos(rows: Any, bos: int) -> Measured:
    """Read from the file, not through its map: what is mapped stays in memory as it is read."""
    import pyarrow

    found, at = [], 0
    (file,) = rows.cache_files
    with pyarrow.OSFile(file["filename"]) as source, pyarrow.ipc.open_stream(source) as stream:
        for batch in stream:
            ids = batch.column("input_ids")
            starts, values = ids.offsets.to_numpy(), ids.values.to_numpy()
            long = (starts[1:] - starts[:-1] > 1).nonzero()[0]
            first = starts[long]
            double = (values[first] == bos) & (values[first + 1] == bos)
            found += [at + int(row) for row in long[double]]
            at += len(batch)
    return Measured("double_bos", len(found), len(rows), found)
