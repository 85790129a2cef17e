"""Rows of any source as plain dictionaries, each needed column checked by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.data.lines import first_wrong_line
from finetune.data.locate import Source, locate
from finetune.errors import DataError
from finetune.recipe.types import Data

Row = dict[str, Any]


def read(data: Data) -> list[Row]:
    """All rows that `data` asks for, columns renamed, in the order of the file.

    Raises:
        DataError: the source is missing, empty, or not what its extension says.
    """
    source = locate(data)
    dataset: Any = _load(source, data.split) if _holds_anything(source) else ()
    if len(dataset) == 0:
        raise DataError("there are no rows", where=str(source), remedy="Give a file with rows.")
    if data.rows is not None:
        dataset = dataset.select(range(min(data.rows, len(dataset))))
    _check_columns(data.columns, dataset.column_names, source)
    return [_renamed(row, data.columns) for row in dataset]


def describe(data: Data) -> str:
    """The source in the words of the recipe, for messages."""
    return data.path or f"{data.sample or data.task} ({data.split})"


def need(rows: Sequence[Row], columns: Iterable[str], data: Data) -> None:
    """Refuse rows in which a needed column is absent or empty, naming the first ten."""
    wanted = tuple(columns)
    bad = [
        (number, column)
        for number, row in enumerate(rows, start=1)
        for column in wanted
        if _is_empty(row.get(column))
    ]
    if not bad:
        return
    has = ", ".join(sorted(rows[0]))
    listed = ", ".join(f"row {number} ({column!r})" for number, column in bad[:10])
    raise DataError(
        f"{len(bad)} needed values are missing or empty: {listed}",
        where=describe(data),
        remedy=f"Columns here: {has}. Rename with data.columns: {{{wanted[0]}: NAME}}.",
    )


def _is_empty(value: Any) -> bool:
    return not value.strip() if isinstance(value, str) else value in (None, [])


def _holds_anything(source: Source) -> bool:
    """False for empty files, at which the library fails with words about something else."""
    return not source.files or any(file.stat().st_size for file in source.files)


def _load(source: Source, split: str) -> Any:
    import datasets

    try:
        if source.hub:
            return datasets.load_dataset(source.hub, revision=source.revision, split=split)
        options: dict[str, Any] = {}
        if source.builder == "csv" and ".tsv" in source.files[0].suffixes:
            options["delimiter"] = "\t"
        return datasets.load_dataset(
            source.builder,
            data_files=[str(file) for file in source.files],
            split="train",
            **options,
        )
    except Exception as error:
        # The library raises many kinds here; what matters is which file, and its own first words.
        raise _unreadable(source, error) from error


def _unreadable(source: Source, error: BaseException) -> DataError:
    if source.hub:
        return DataError(
            f"cannot be read from the hub: {_first_line(error)}",
            where=source.hub,
            remedy="Check the name and the network (HF_HUB_OFFLINE switches it off), or give a "
            f"file; no folder of this name lies in {Path.cwd()}.",
        )
    if source.builder == "json":
        for file in source.files:
            if wrong := first_wrong_line(file):
                remedy = "A .jsonl file has one JSON object per line: mend or remove this line."
                return DataError(wrong[1], where=f"{file} line {wrong[0]}", remedy=remedy)
    return DataError(
        f"cannot be read: {_first_line(error)}",
        where=str(source),
        remedy="Check that the file is what its extension says and is not cut short.",
    )


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def _check_columns(columns: Mapping[str, str], names: list[str], source: Source) -> None:
    absent = [name for name in columns.values() if name not in names]
    if absent:
        raise DataError(
            f"no column {absent[0]!r}",
            where=str(source),
            remedy=f"data.columns maps our name to the file's; it has: {', '.join(names)}.",
        )


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    taken = set(columns.values())
    kept = {name: value for name, value in row.items() if name not in taken}
    return {**kept, **{ours: row[theirs] for ours, theirs in columns.items()}}
