"""Rows of CSV and TSV files, values as they stand: no "007" becomes 7, no "NA" becomes nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from finetune.data.documents import Row
from finetune.data.lines import NOT_UTF8, Broken, numbered
from finetune.errors import DataError

Line = tuple[int, str]
DELIMITERS = ",;\t"


def csv_rows(file: Path) -> Iterator[tuple[int, Row | Broken]]:
    """(line it begins at, row) of each record; a record that does not fit costs its first line.

    So a quote that is never closed loses one line, not all that follow.

    Raises:
        DataError: the first line does not name the columns.
    """
    csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KB a value
    # Bytes that are no UTF-8 become lone surrogates, which no valid text has.
    lines = _Lines((n, line.decode(errors="surrogateescape")) for n, line in numbered(file))
    first = lines.peek()
    if first is None:
        return
    delimiter = "\t" if ".tsv" in file.suffixes else max(DELIMITERS, key=first[1].count)
    names = _names(lines, delimiter, file)
    while (start := lines.peek()) is not None:
        taken, values = lines.record(delimiter)
        if values == []:
            continue
        fault = values if isinstance(values, str) else _misfit(values, names, taken)
        if fault:
            lines.give_back(taken[1:])
            yield start[0], Broken(fault, start[1].rstrip("\r\n"))
        else:
            yield start[0], dict(zip(names, values, strict=True))


class _Lines:
    """Lines that can be given back."""

    def __init__(self, source: Iterator[Line]) -> None:
        self.source = source
        self.back: list[Line] = []

    def peek(self) -> Line | None:
        if not self.back and (line := next(self.source, None)) is not None:
            self.back.append(line)
        return self.back[-1] if self.back else None

    def give_back(self, lines: list[Line]) -> None:
        self.back.extend(reversed(lines))

    def record(self, delimiter: str) -> tuple[list[Line], list[str] | str]:
        """The lines of the next record, and its values or what is wrong with it."""
        taken: list[Line] = []

        def feed() -> Iterator[str]:
            while self.peek() is not None:
                taken.append(self.back.pop())
                yield taken[-1][1]

        try:
            return taken, next(csv.reader(feed(), delimiter=delimiter, strict=True))
        except csv.Error as error:
            return taken, f"is not CSV: {error}"


def _names(lines: _Lines, delimiter: str, file: Path) -> list[str]:
    taken, names = lines.record(delimiter)
    if isinstance(names, list) and names and all(names) and len(set(names)) == len(names):
        return names
    what = names if isinstance(names, str) else "the first line does not name each column once"
    raise DataError(
        what,
        where=f"{file} line {taken[0][0]}",
        remedy="The first line of a table has the names of its columns, each another one.",
    )


def _misfit(values: list[str], names: list[str], taken: list[Line]) -> str:
    if len(values) != len(names):
        over = f", read over {len(taken)} lines" if len(taken) > 1 else ""
        return f"has {len(values)} values for {len(names)} columns{over}"
    for name, value in zip(names, values, strict=True):
        if not value.isascii() and any("\udc80" <= character <= "\udcff" for character in value):
            return f"is {NOT_UTF8} in column {name!r}"
    return ""
