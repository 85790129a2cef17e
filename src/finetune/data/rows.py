"""Rows of any source as plain dictionaries, one at a time, each with the place it came from.

Text files are read with the standard library, so that values stay as they are and every
complaint has its line; tables in binary and what lies on the hub, with `datasets`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.data.documents import Row, json_rows
from finetune.data.examples import Origin
from finetune.data.lines import NOT_UTF8, Broken, numbered
from finetune.data.locate import Source, locate
from finetune.data.tables import csv_rows
from finetune.errors import DataError
from finetune.recipe.types import Rows

READERS = {"json": json_rows, "csv": csv_rows}


@dataclass(frozen=True, slots=True)
class Raw:
    """One row as its file has it: columns renamed, nothing else done."""

    origin: Origin
    row: Row | Broken


def describe(rows: Rows) -> str:
    """The source in the words of the recipe, for messages."""
    mixed = getattr(rows, "mix", ())
    if mixed:
        return " + ".join(describe(part) for part in mixed)
    return rows.path or f"{rows.sample or rows.task} ({rows.split})"


def stream(rows: Rows) -> Iterator[Raw]:
    """All rows of the source in the order of its files.

    Raises:
        DataError: the source is missing, or cannot be read as what its extension says.
    """
    source = locate(rows)
    for raw in _hub(source, rows) if source.hub else _files(source):
        row = raw.row
        yield raw if isinstance(row, Broken) else Raw(raw.origin, _renamed(row, rows.columns))


def _files(source: Source) -> Iterator[Raw]:
    for file in source.files:
        name = shown(file)
        for line, row in _read(file, source.kind):
            yield Raw(Origin(name, line), row)


def shown(file: Path) -> str:
    """A path as short as it can be given from the current folder."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _read(file: Path, kind: str) -> Iterator[tuple[int, Row | Broken]]:
    if kind in READERS:
        return READERS[kind](file)
    return _texts(file) if kind == "text" else _table(file, kind)


def _texts(file: Path) -> Iterator[tuple[int, Row | Broken]]:
    for number, line in numbered(file):
        if line.isspace():
            continue
        text = line.rstrip(b"\r\n")
        try:
            yield number, {"text": text.decode()}
        except UnicodeDecodeError as error:
            reason = f"is {NOT_UTF8} at byte {error.start + 1}"
            yield number, Broken(reason, text.decode(errors="backslashreplace"))


def _table(file: Path, kind: str) -> Iterator[tuple[int, Row | Broken]]:
    import datasets

    number = 0
    try:
        table = datasets.load_dataset(kind, data_files=str(file), split="train", streaming=True)
        for number, row in enumerate(table, start=1):
            yield number, {name: _without_padding(value) for name, value in row.items()}
    except Exception as error:
        # The library raises many kinds here; what matters is where, and its own first words.
        raise DataError(
            f"cannot be read: {_first_line(error)}",
            where=f"{shown(file)} row {number + 1}",
            remedy="Check that the file is what its extension says and is not cut short.",
        ) from error


def _hub(source: Source, rows: Rows) -> Iterator[Raw]:
    import datasets

    name = str(source.hub)
    try:
        table = datasets.load_dataset(
            name, revision=source.revision, split=rows.split, streaming=rows.streaming
        )
        for number, row in enumerate(table, start=1):
            plain = {column: _without_padding(value) for column, value in row.items()}
            yield Raw(Origin(name, number), plain)
    except Exception as error:
        raise DataError(
            f"cannot be read from the hub: {_first_line(error)}",
            where=name,
            remedy="Check the name and the network (HF_HUB_OFFLINE switches it off), or give a "
            f"file; no folder of this name lies in {Path.cwd()}.",
        ) from error


def _without_padding(value: Any) -> Any:
    """Nested values as they were written: Arrow fills a key that one row lacks with null."""
    if isinstance(value, list):
        return [_without_padding(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_padding(each) for key, each in value.items() if each is not None}
    return value


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    if not columns:
        return row
    taken = set(columns.values())
    # Ours goes as well: where theirs is absent, another column of our name is not what is meant.
    kept = {name: value for name, value in row.items() if name not in taken and name not in columns}
    return {**kept, **{ours: row[theirs] for ours, theirs in columns.items() if theirs in row}}
