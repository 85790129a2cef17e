"""Rows in Arrow on disk, mapped into memory: a million of them weigh no more than a few.

They lie in a scratch folder for as long as something reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from finetune.data.scratch import Scratch

if TYPE_CHECKING:
    import datasets

BATCH_ROWS = 1000
BATCH_CHARACTERS = 16_000_000  # of long rows fewer go together


class Shelf:
    """A place for one Arrow file; gone with this object, or with the process."""

    def __init__(self) -> None:
        self._scratch = Scratch()
        self.file = self._scratch.folder / "rows.arrow"

    def fill(self, rows: Iterable[tuple[str, str, int]]) -> datasets.Dataset:
        """Write (example, file, line) of each row; returns them mapped into memory."""
        import datasets
        import pyarrow

        value = datasets.Value
        features = datasets.Features(
            {"example": value("large_string"), "file": value("string"), "line": value("int64")}
        )
        schema = features.arrow_schema
        with (
            pyarrow.OSFile(str(self.file), "wb") as sink,
            pyarrow.ipc.new_stream(sink, schema) as s,
        ):
            for batch in _batches(rows):
                columns = [list(column) for column in zip(*batch, strict=True)]
                s.write_table(pyarrow.table(dict(zip(schema.names, columns, strict=True)), schema))
        return datasets.Dataset.from_file(str(self.file))


def _batches(rows: Iterable[tuple[str, str, int]]) -> Iterable[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row[0])
        if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
